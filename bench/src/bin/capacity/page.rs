//! The tables of docs/capacity.md, and the section of the page that holds them.

use bench::table::{markdown, number};

use crate::inputs::{Inputs, KeyKind};
use crate::model::{ASSUMED, Assumed, DAY_SECS, GB, Limit, Plan, days, is_of_account, limits};

/// Sign-ins a day, and what they are called.
pub const SCALES: [(&str, f64); 2] = [("10 million a day", 10e6), ("1 billion a day", 1e9)];

const BEGIN: &str = "<!-- bench/capacity writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// All tables.
pub fn text(inputs: &Inputs) -> String {
    let plans = SCALES.map(|(_, a_day)| Plan::of(inputs, ASSUMED, a_day));
    let sections = [
        ("What is assumed", assumptions(&ASSUMED)),
        ("What is measured", measured(inputs)),
        ("Machines", machines(inputs, &plans)),
        ("Redis", redis(inputs, &plans)),
        ("PostgreSQL", database(inputs, &plans)),
        ("RabbitMQ", broker(inputs, &plans)),
        ("What breaks first", order(&limits(inputs, ASSUMED))),
        ("What it costs in a month", price(&plans)),
    ];
    let sections = sections.map(|(title, body)| format!("## {title}\n\n{body}\n"));
    sections.concat()
}

/// The page with these tables in their place; `None` if it has no place for them.
pub fn renewed(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}{END}{after}"))
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
    markdown(&head, rows)
}

/// The heading of a table with a column for each scale.
fn by_scale(first: &str) -> Vec<&str> {
    [first].into_iter().chain(SCALES.iter().map(|(name, _)| *name)).collect()
}

/// One row of it.
fn row(name: &str, plans: &[Plan<'_>], figure: impl Fn(&Plan<'_>) -> String) -> Vec<String> {
    [name.to_owned()].into_iter().chain(plans.iter().map(figure)).collect()
}

/// Three digits that count, with commas.
fn count(value: f64) -> String {
    let digits = match value {
        value if value < 100.0 && value.fract().abs() < f64::EPSILON => number(Some(value), 0),
        value if value >= 100.0 => {
            let scale = 10_f64.powf(value.log10().floor() - 2.0);
            number(Some((value / scale).round() * scale), 0)
        }
        value if value >= 10.0 => number(Some(value), 0),
        value if value >= 1.0 => number(Some(value), 1),
        value => number(Some(value), 2),
    };
    let (whole, rest) = digits.split_once('.').map_or((digits.as_str(), ""), |both| both);
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if rest.is_empty() { text } else { format!("{text}.{rest}") }
}

fn bytes(value: f64) -> String {
    let units = [("PB", 1e15), ("TB", 1e12), ("GB", GB), ("MB", 1e6), ("kB", 1e3)];
    let unit = units.iter().find(|(_, size)| value >= *size);
    unit.map_or_else(
        || format!("{value:.0} B"),
        |(name, size)| format!("{} {name}", count(value / size)),
    )
}

fn assumptions(assumed: &Assumed) -> String {
    let all = [
        ("the busiest second, times the day's mean", count(assumed.peak)),
        ("how busy a core is at the peak", format!("{:.0} %", assumed.busy * 100.0)),
        ("refreshes for each sign-in", count(assumed.refreshes)),
        ("what the provider takes for a text", format!("{} s", assumed.call_secs)),
        ("receipts for a text", count(assumed.receipts)),
        ("an account signs in every so many days", count(assumed.sign_in_every_days)),
        ("the disk of PostgreSQL's log takes a second", bytes(assumed.wal_bytes_a_second)),
        ("cores of the largest machine for PostgreSQL", count(assumed.database_cores)),
        ("`max_connections` of PostgreSQL", count(assumed.connections)),
        ("a table, or one partition of it, at most", bytes(assumed.table_bytes)),
        ("texts a second of one account of a provider", count(assumed.account_texts)),
        ("a core for an hour", format!("{} $", assumed.core_hour_price)),
        ("a GB of disk for a month", format!("{:.2} $", assumed.gb_price)),
        ("a text", format!("{} $", assumed.text_price)),
    ];
    let rows: Vec<_> = all.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect();
    table(&["assumption", "value"], &rows)
}

fn measured(inputs: &Inputs) -> String {
    let mut rows: Vec<_> = inputs
        .costs
        .iter()
        .map(|cost| {
            let sign_in = cost.sign_in(ASSUMED.refreshes) * 1_000.0;
            let figures = [cost.request, cost.login, cost.refresh, sign_in];
            [cost.process.to_owned()]
                .into_iter()
                .chain(figures.map(|one| format!("{one:.3}")))
                .collect()
        })
        .collect::<Vec<Vec<String>>>();
    let total = |of: &dyn Fn(&crate::inputs::Cost) -> f64| {
        format!("{:.3}", inputs.costs.iter().map(of).sum::<f64>())
    };
    rows.push(vec![
        "total".to_owned(),
        total(&|cost| cost.request),
        total(&|cost| cost.login),
        total(&|cost| cost.refresh),
        total(&|cost| cost.sign_in(ASSUMED.refreshes) * 1_000.0),
    ]);
    let head =
        ["CPU seconds per 1,000", "request", "login", "refresh", "sign-in with its refreshes"];
    let [request, login, refresh] = inputs.wal_bytes;
    let log = [
        ("a code request with its text", bytes(request)),
        ("a login", bytes(login)),
        ("a refresh", bytes(refresh)),
    ];
    let log: Vec<_> = log.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect();
    let [one, two] = inputs.queues;
    format!(
        "The cost is that of commit {}.\n\n{}\nPostgreSQL's log:\n\n{}\nOne quorum queue carries {} messages a second, two carry {}; a sms-worker whose provider takes half a second\nsends {} texts a second.\n",
        inputs.cost_commit.chars().take(8).collect::<String>(),
        table(&head, &rows),
        table(&["written by", "bytes"], &log),
        count(one),
        count(two),
        count(inputs.worker_rate)
    )
}

fn machines(inputs: &Inputs, plans: &[Plan<'_>]) -> String {
    let mut rows = vec![
        row("sign-ins a second, mean", plans, |plan| count(plan.mean())),
        row("sign-ins a second, peak", plans, |plan| count(plan.peak())),
    ];
    for cost in &inputs.costs {
        rows.push(row(&format!("{}: cores", cost.process), plans, |plan| count(plan.cores(cost))));
    }
    rows.push(row("all: cores", plans, |plan| count(plan.all_cores())));
    for cost in inputs.costs.iter().take(3) {
        let name = format!("{}: processes", cost.process);
        rows.push(row(&name, plans, |plan| {
            plan.processes(cost).map_or_else(|| "–".to_owned(), count)
        }));
    }
    rows.push(row("connections to PostgreSQL at most", plans, |plan| count(plan.connections())));
    table(&by_scale("figure"), &rows)
}

fn redis(inputs: &Inputs, plans: &[Plan<'_>]) -> String {
    let grows = |kind: &&KeyKind| kind.keys >= 0.1;
    let rows: Vec<_> = inputs
        .keys
        .iter()
        .filter(grows)
        .map(|kind| {
            let kept = if kind.secs > 0.0 {
                format!("{} s", count(kind.secs))
            } else {
                "for good".to_owned()
            };
            vec![format!("`{}`", kind.name), format!("{:.2}", kind.keys), count(kind.bytes), kept]
        })
        .collect();
    let memory = [
        row("accounts", plans, |plan| count(plan.accounts())),
        row("memory for what sign-ins leave", plans, |plan| bytes(plan.redis_bytes())),
        row("memory for the phones that verified lately", plans, |plan| bytes(plan.proven_bytes())),
    ];
    format!(
        "{}\n{}",
        table(&["key", "for a sign-in", "bytes", "stays"], &rows),
        table(&by_scale("figure"), &memory)
    )
}

fn database(inputs: &Inputs, plans: &[Plan<'_>]) -> String {
    let head: Vec<String> = ["table", "rows", "of", "bytes of a row", "with its indexes", "days"]
        .map(str::to_owned)
        .into_iter()
        .chain(SCALES.iter().flat_map(|(name, _)| {
            [format!("rows at {name}"), "bytes".to_owned(), "partitions".to_owned()]
        }))
        .collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for found in &inputs.tables {
        let kept = match days(&found.name) {
            _ if is_of_account(&found.name) => "for good".to_owned(),
            None => "for good: a year".to_owned(),
            Some(days) => count(days),
        };
        let of = if is_of_account(&found.name) { "an account" } else { "a sign-in" };
        let mut cells = vec![
            format!("`{}`", found.name),
            format!("{:.2}", found.rows),
            of.to_owned(),
            count(found.row_bytes),
            count(found.row_bytes + found.index_bytes),
            kept,
        ];
        for plan in plans {
            let figures =
                [count(plan.rows(found)), bytes(plan.bytes(found)), count(plan.partitions(found))];
            cells.extend(figures);
        }
        rows.push(cells);
    }
    let sums = [
        row("all tables and indexes", plans, |plan| bytes(plan.all_bytes())),
        row("log of a day", plans, |plan| bytes(plan.wal_a_day())),
        row("log of a second at the peak", plans, |plan| bytes(plan.wal_at_peak())),
    ];
    format!("{}\n{}", markdown(&head, &rows), table(&by_scale("figure"), &sums))
}

fn broker(inputs: &Inputs, plans: &[Plan<'_>]) -> String {
    let queues = ["otp-worker", "sms-worker"];
    let mut rows = Vec::new();
    for queue in queues {
        let name = format!("`{queue}`: messages a second at the peak");
        rows.push(row(&name, plans, |plan| count(plan.messages(queue))));
        let name = format!("`{queue}`: queues");
        rows.push(row(&name, plans, |plan| count(plan.queues(queue))));
    }
    let [one, two] = inputs.queues;
    format!(
        "{}\nTwo queues carry {:.2} times what one does, on a machine of two cores that the load shares.\n",
        table(&by_scale("figure"), &rows),
        two / one
    )
}

fn order(limits: &[Limit]) -> String {
    let rows: Vec<_> = limits
        .iter()
        .enumerate()
        .map(|(at, limit)| {
            let peak = limit.a_day / DAY_SECS * ASSUMED.peak;
            vec![
                format!("{}. {}", at + 1, limit.what),
                count(limit.a_day / 1e6),
                count(peak),
                limit.remedy.to_owned(),
            ]
        })
        .collect();
    table(
        &["what", "at so many million sign-ins a day", "a second at the peak", "what helps"],
        &rows,
    )
}

fn price(plans: &[Plan<'_>]) -> String {
    let money = |value: f64| format!("{} $", count(value));
    let rows = vec![
        row("cores", plans, |plan| money(plan.prices()[0])),
        row("disk, with one copy", plans, |plan| money(plan.prices()[1])),
        row("texts", plans, |plan| money(plan.prices()[2])),
        row("texts, times everything else", plans, |plan| {
            let [cores, disk, texts] = plan.prices();
            count(texts / (cores + disk))
        }),
    ];
    table(&by_scale("figure"), &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/capacity.md");

    #[test]
    fn the_page_holds_what_the_program_prints() {
        let printed = text(&Inputs::recorded().unwrap());
        let renewed = renewed(PAGE, &printed).expect("the page has a place for the tables");
        assert_eq!(renewed, PAGE, "run `bench/capacity --renew`");
    }

    #[test]
    fn the_pages_own_words_state_no_other_number() {
        let printed = text(&Inputs::recorded().unwrap());
        let (before, rest) = PAGE.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let known = numbers(&printed);
        for own in [before, after] {
            let others: Vec<_> =
                numbers(own).into_iter().filter(|number| !known.contains(number)).collect();
            assert_eq!(others, Vec::<String>::new(), "not printed by the program");
        }
    }

    fn numbers(text: &str) -> Vec<String> {
        let parts = text.split(|c: char| !c.is_ascii_digit() && c != ',' && c != '.');
        let parts = parts.map(|part| part.trim_matches([',', '.']).to_owned());
        parts.filter(|part| part.starts_with(|c: char| c.is_ascii_digit())).collect()
    }

    #[test]
    fn three_digits_count() {
        let written = [0.126, 1.26, 2.0, 12.6, 126.4, 1_264.0, 34_722.0].map(count);
        assert_eq!(written, ["0.13", "1.3", "2", "13", "126", "1,260", "34,700"]);
        assert_eq!(bytes(2.5e9), "2.5 GB");
    }

    #[test]
    fn ten_times_the_sign_ins_need_ten_times_the_cores_and_the_limits_are_in_order() {
        let inputs = Inputs::recorded().unwrap();
        let cores = |a_day| Plan::of(&inputs, ASSUMED, a_day).all_cores();
        assert!((cores(1e8) / cores(1e7) - 10.0).abs() < 1e-6);
        let limits = limits(&inputs, ASSUMED);
        assert!(limits.len() > 6 && limits.is_sorted_by(|one, other| one.a_day <= other.a_day));
    }
}
