//! The columns of counts, and the statements that name them all. They are put together once from [`BOUNDS_MS`].

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::{BOUNDS_MS, Figures, Spread};
use sql::Row;

/// The counts that are no part of a spread.
const COUNTS: [&str; 9] = [
    "messages",
    "requests",
    "segments",
    "sending",
    "sent",
    "delivered",
    "undelivered",
    "failed",
    "dropped",
];
const SPREADS: [&str; 2] = ["sent", "delivered"];

/// Every column of counts.
fn all() -> Vec<String> {
    let mut columns: Vec<String> = COUNTS.map(str::to_owned).into();
    for spread in SPREADS {
        columns.push(format!("{spread}_known"));
        // Not `sent`: that is a count.
        columns.push(format!("{spread}_ms"));
        columns.extend(BOUNDS_MS.iter().map(|bound| format!("{spread}_in_{bound}")));
    }
    columns
}

/// The sums of all columns, as whole numbers on both engines.
fn sums() -> String {
    let sums =
        all().into_iter().map(|it| format!("CAST(COALESCE(SUM({it}), 0) AS BIGINT) AS {it}"));
    sums.collect::<Vec<_>>().join(", ")
}

/// The milliseconds at which a request was made, from its id.
const MADE_AT_POSTGRES: &str =
    "('x' || substr(replace(l.request_id::text, '-', ''), 1, 12))::bit(48)::bigint";

fn made_at_sqlite() -> String {
    let digit = |at: u32| {
        let place = 16_i64.pow(12 - at);
        format!("instr('123456789ABCDEF', substr(hex(l.request_id), {at}, 1)) * {place}")
    };
    (1..=12).map(digit).collect::<Vec<_>>().join(" + ")
}

/// Counts the messages that were taken up from `$1` to before `$2`, by country, provider and channel.
fn count(made_at: &str) -> String {
    let mut counts = String::from(
        "COUNT(*) AS messages, COUNT(*) FILTER (WHERE requested) AS requests,
         CAST(COALESCE(SUM(segments), 0) AS BIGINT) AS segments,
         COUNT(*) FILTER (WHERE state IN ('accepted', 'issued', 'sending')) AS sending,
         COUNT(*) FILTER (WHERE state IN ('sent', 'verified')) AS sent,
         COUNT(*) FILTER (WHERE state = 'delivered') AS delivered,
         COUNT(*) FILTER (WHERE state = 'undelivered') AS undelivered,
         COUNT(*) FILTER (WHERE state = 'failed') AS failed,
         COUNT(*) FILTER (WHERE state IN ('expired', 'superseded')) AS dropped",
    );
    for spread in SPREADS {
        let ms = format!("{spread}_after");
        write!(
            counts,
            ", COUNT({ms}) AS {spread}_known,
             CAST(COALESCE(SUM(CASE WHEN {ms} > 0 THEN {ms} ELSE 0 END), 0) AS BIGINT) AS {spread}_ms"
        )
        .expect("a text grows");
        for bound in BOUNDS_MS {
            write!(counts, ", COUNT(*) FILTER (WHERE {ms} <= {bound}) AS {spread}_in_{bound}")
                .expect("a text grows");
        }
    }
    format!(
        "SELECT country, provider, channel, {counts} FROM (
             SELECT l.country, COALESCE(l.provider, '') AS provider, l.channel, l.state, l.segments,
                 l.request_id IS NOT NULL AS requested,
                 CASE WHEN l.channel = 'sms' AND l.request_id IS NOT NULL THEN s.at - ({made_at}) END AS sent_after,
                 CASE WHEN l.channel = 'sms' THEN d.at - s.at END AS delivered_after
             FROM sms_ledger l
             LEFT JOIN sms_history s ON s.message_id = l.message_id AND s.rank = 30
             LEFT JOIN sms_history d ON d.message_id = l.message_id AND d.rank = 43
             WHERE l.created_at >= $1 AND l.created_at < $2) message
         GROUP BY country, provider, channel"
    )
}

/// See [`count`].
pub(super) static COUNT_POSTGRES: LazyLock<String> = LazyLock::new(|| count(MADE_AT_POSTGRES));
pub(super) static COUNT_SQLITE: LazyLock<String> = LazyLock::new(|| count(&made_at_sqlite()));

/// Writes rows: `$1` is a JSON array of objects with all columns as members.
pub(super) const WRITE_POSTGRES: &str = "INSERT INTO delivery_hours SELECT * FROM json_populate_recordset(NULL::delivery_hours, $1::json)";
pub(super) static WRITE_SQLITE: LazyLock<String> = LazyLock::new(|| {
    let keys = ["hour", "country", "provider", "channel"].map(str::to_owned);
    let columns: Vec<_> = keys.into_iter().chain(all()).collect();
    let values: Vec<_> =
        columns.iter().map(|it| format!("json_extract(value, '$.{it}')")).collect();
    let (columns, values) = (columns.join(", "), values.join(", "));
    format!("INSERT INTO delivery_hours ({columns}) SELECT {values} FROM json_each($1)")
});

const FILTER: &str =
    "FROM delivery_hours WHERE hour >= $1 AND hour < $2 AND ($3 IS NULL OR country = $3)
    AND ($4 IS NULL OR provider = $4) AND ($5 IS NULL OR channel = $5)";

/// The sums of the hours from `$1` to before `$2`, of country `$3`, provider `$4` and channel `$5` if given.
pub(super) static TOTAL: LazyLock<String> = LazyLock::new(|| format!("SELECT {} {FILTER}", sums()));
/// The same by country and provider.
pub(super) static CELLS: LazyLock<String> = LazyLock::new(|| {
    let sums = sums();
    format!(
        "SELECT country, provider, {sums} {FILTER} GROUP BY country, provider ORDER BY country, provider"
    )
});

/// The same by hour.
pub(super) static BY_HOUR: LazyLock<String> = LazyLock::new(|| {
    let sums = sums();
    format!("SELECT hour, {sums} {FILTER} GROUP BY hour ORDER BY hour")
});

/// The counts of a row.
pub(super) fn figures(row: &Row) -> Result<Figures, sqlx::Error> {
    let spread = |name: &str| -> Result<Spread, sqlx::Error> {
        let mut within = [0; BOUNDS_MS.len()];
        for (count, bound) in within.iter_mut().zip(BOUNDS_MS) {
            *count = row.get(&format!("{name}_in_{bound}"))?;
        }
        let (known, sum_ms) = (row.get(&format!("{name}_known"))?, row.get(&format!("{name}_ms"))?);
        Ok(Spread { known, sum_ms, within })
    };
    Ok(Figures {
        messages: row.get("messages")?,
        requests: row.get("requests")?,
        segments: row.get("segments")?,
        sending: row.get("sending")?,
        sent: row.get("sent")?,
        delivered: row.get("delivered")?,
        undelivered: row.get("undelivered")?,
        failed: row.get("failed")?,
        dropped: row.get("dropped")?,
        to_sent: spread("sent")?,
        to_delivered: spread("delivered")?,
    })
}

/// The counts as members of a row of [`WRITE_POSTGRES`].
pub(super) fn members(figures: &Figures) -> serde_json::Map<String, serde_json::Value> {
    let Figures { to_sent, to_delivered, .. } = figures;
    let counts = [
        figures.messages,
        figures.requests,
        figures.segments,
        figures.sending,
        figures.sent,
        figures.delivered,
        figures.undelivered,
        figures.failed,
        figures.dropped,
    ];
    let spread =
        |it: &Spread| [it.known, it.sum_ms].into_iter().chain(it.within).collect::<Vec<_>>();
    let values = counts.into_iter().chain(spread(to_sent)).chain(spread(to_delivered));
    all().into_iter().zip(values.map(Into::into)).collect()
}
