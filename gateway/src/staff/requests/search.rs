//! The list of texts and calls: what staff filter by, found within a bounded time whatever the filter.

use accounts::SignInSpan;
use domain::ids::{MessageId, RequestId};
use domain::timestamp::Timestamp;
use ledger::hours::{HoursFilter, hour_of, hour_start};
use ledger::{Cursor, Message, MessageFilter};
use uuid::Uuid;

use crate::app::App;
use crate::http::error::ApiError;
use crate::staff::figures::covered;

/// How often a list looks on before it leaves it to whoever reads to look further.
const LOOKS: usize = 4;
/// Messages whose sign-ins are looked for at a time.
const BATCH: u32 = 250;
/// A sign-in counts until so long after the code's life: a code that is right at its end is answered a little later.
const GRACE_MS: i64 = 60 * 1000;
/// The fewest and most digits of a prefix. More digits would be nearly a number, which no address may hold.
const PREFIX_DIGITS: std::ops::RangeInclusive<usize> = 1..=8;

/// What a list shows; `None` shows all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    pub messages: MessageFilter<'a>,
    /// As the filter of a list has it.
    pub is_unverified: bool,
}

/// A page of the list.
#[derive(Debug)]
pub(super) struct Found {
    /// Newest first.
    pub messages: Vec<Message>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<Cursor>,
    /// Until when was looked, if there may be more and the page is not full: what is searched for is rare.
    pub looked_until: Option<Timestamp>,
}

/// The digits of a prefix: with or without `+` or `00`, and 8 at most. `None` if it is no prefix.
pub(crate) fn prefix(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('+').or(text.strip_prefix("00")).unwrap_or(text);
    let is_prefix = PREFIX_DIGITS.contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && !digits.starts_with('0');
    is_prefix.then_some(digits)
}

/// A page of `rows` messages before the cursor.
pub(super) async fn read(
    app: &App,
    filter: Wanted<'_>,
    before: Option<Cursor>,
    rows: u32,
    now: Timestamp,
) -> Result<Found, ApiError> {
    let wanted = rows as usize;
    let mut messages: Vec<Message> = Vec::new();
    let mut before = before;
    for _ in 0..LOOKS {
        let (found, next) = look(app, filter, before, wanted - messages.len(), now).await?;
        messages.extend(found);
        before = next;
        if messages.len() >= wanted || next.is_none() {
            break;
        }
    }
    let is_full = messages.len() >= wanted;
    let looked_until = before.filter(|_| !is_full).map(|at| at.created_at);
    Ok(Found { messages, next: before, looked_until })
}

/// What one look finds, and where the next one begins.
async fn look(
    app: &App,
    filter: Wanted<'_>,
    before: Option<Cursor>,
    wanted: usize,
    now: Timestamp,
) -> Result<(Vec<Message>, Option<Cursor>), ApiError> {
    // One more than is wanted tells whether there are more.
    let one_more = u32::try_from(wanted).unwrap_or(u32::MAX).saturating_add(1);
    let limit = if filter.is_unverified { BATCH } else { one_more };
    let stretch = app.ledger.page(filter.messages, before, limit).await?;
    let is_cut = stretch.messages.len() >= limit as usize;
    let end = stretch.messages.last().filter(|_| is_cut).map(Message::cursor);
    let mut found = stretch.messages;
    if filter.is_unverified {
        found = unverified(app, found).await?;
    }
    if found.len() > wanted || (is_cut && !filter.is_unverified) {
        found.truncate(wanted);
        let last = found.last().map(Message::cursor);
        return Ok((found, last));
    }
    match (end, stretch.stopped) {
        (Some(end), _) => Ok((found, Some(end))),
        (None, Some(stopped)) => {
            Ok((found, passed_over(app, filter.messages, stopped, now).await?))
        }
        (None, None) => Ok((found, None)),
    }
}

/// Those of these messages with whose code nobody signed in.
async fn unverified(app: &App, messages: Vec<Message>) -> Result<Vec<Message>, ApiError> {
    let spans = messages.iter().filter_map(|it| {
        let phone_number = it.phone_number.as_ref()?;
        let requested = it.request_id.map_or(it.created_at.ms(), RequestId::made_at_ms);
        let from = Timestamp::from_ms(requested.min(it.created_at.ms()));
        Some(SignInSpan { phone_number, from, until: it.not_after.plus_ms(GRACE_MS) })
    });
    let spans: Vec<_> = spans.collect();
    let mut signed_in = app.accounts.signed_in(&spans).await?.into_iter();
    // An erased number tells nothing.
    let is_unused = |it: &Message| {
        it.phone_number.is_some() && signed_in.next().is_some_and(|signed_in| !signed_in)
    };
    let keep: Vec<bool> = messages.iter().map(is_unused).collect();
    Ok(messages.into_iter().zip(keep).filter_map(|(it, keep)| keep.then_some(it)).collect())
}

/// Where to look on after a stretch with too little: the hours that have nothing by the counters are passed over, if all
/// hours are counted. `None`: no hour has anything.
async fn passed_over(
    app: &App,
    filter: MessageFilter<'_>,
    stopped: Cursor,
    now: Timestamp,
) -> Result<Option<Cursor>, ApiError> {
    let hour = hour_of(stopped.created_at);
    let from = filter.since.map_or(0, hour_of);
    let counted_from = from.max(hour_of(now) - 30 * 24 + 2);
    if covered(app, counted_from, hour + 1, now).await?.hours_missing > 0 {
        return Ok(Some(stopped));
    }
    let MessageFilter { status, reason, provider, country, channel, .. } = filter;
    let hours = HoursFilter { from, to: hour + 1, country, provider, channel };
    let newest = app.hours.newest(status, reason, hours).await?;
    Ok(newest.map(|newest| if newest < hour { end_of(newest) } else { stopped }))
}

/// Before everything that came after this hour.
fn end_of(hour: i64) -> Cursor {
    let id = MessageId::from_uuid(Uuid::nil());
    Cursor { created_at: hour_start(hour + 1), id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_eight_digits_at_most() {
        for (text, digits) in [
            ("98912", Some("98912")),
            ("+98912", Some("98912")),
            ("0098912", Some("98912")),
            ("1", Some("1")),
            ("98912345", Some("98912345")),
            ("989123456", None),
            ("+", None),
            ("", None),
            ("0912", None),
            ("98 912", None),
            ("98%", None),
            ("٩٨", None),
        ] {
            assert_eq!(prefix(text), digits, "{text}");
        }
    }
}
