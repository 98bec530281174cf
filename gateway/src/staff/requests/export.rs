//! Texts and calls as CSV.

use std::time::Duration;

use domain::timestamp::Timestamp;
use domain::vocabulary::Reason;
use tokio::time::Instant;

use super::{Filter, MessageRow, cursor, list};
use crate::app::App;
use crate::http::error::ApiError;
use crate::staff::export::{self, Export};

/// How long is looked for what a filter lets through, if it is rare.
const LONGEST: Duration = Duration::from_secs(2);

/// What was exported.
pub(crate) struct Exported {
    pub csv: String,
    /// Until when was looked, if the time was over before everything was found.
    pub looked_until: Option<Timestamp>,
}

/// What the filter finds as CSV, the newest first, phones masked: 10,000 at most, and what is found within two seconds or by the
/// first look.
///
/// # Errors
/// 404 if the filter names an account that does not exist.
pub(crate) async fn export(
    app: &App,
    actor: &str,
    filter: Filter<'_>,
    filtered_by: &[&'static str],
) -> Result<Exported, ApiError> {
    let (until, most) = (Instant::now() + LONGEST, export::MOST as usize);
    let (mut found, mut before, mut looked_until) = (Vec::<MessageRow>::new(), None, None);
    loop {
        let left = u32::try_from(most - found.len()).unwrap_or(export::MOST);
        let page = Box::pin(list(app, filter, before, left)).await?;
        found.extend(page.items);
        before = page.next.as_deref().and_then(cursor);
        if before.is_none() || found.len() >= most {
            break;
        }
        if Instant::now() >= until {
            looked_until = page.looked_until;
            break;
        }
    }
    let export = Export { actor, act: "requests_exported", filtered_by };
    let columns = [
        "id",
        "created_at",
        "phone_number",
        "country",
        "channel",
        "provider",
        "status",
        "reason",
        "is_notice",
    ];
    let csv = export.write(app, columns, &found, fields).await?;
    Ok(Exported { csv, looked_until })
}

fn fields(message: &MessageRow) -> [String; 9] {
    [
        message.id.to_string(),
        message.created_at.to_string(),
        message.phone_number.clone().unwrap_or_default(),
        message.country.clone(),
        message.channel.as_str().to_owned(),
        message.provider.clone().unwrap_or_default(),
        message.status.as_str().to_owned(),
        message.reason.map(Reason::as_str).unwrap_or_default().to_owned(),
        message.is_notice.to_string(),
    ]
}
