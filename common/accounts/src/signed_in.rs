//! Whether somebody signed in with a code that was sent: the ledger does not know it.

use serde_json::json;

use super::Accounts;
use domain::engine_error::EngineError;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use sql::{Row, args};

/// A number, and the time in which a sign-in is looked for, its ends included.
#[derive(Clone, Copy, Debug)]
pub struct SignInSpan<'a> {
    pub phone_number: &'a E164,
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Accounts {
    /// For each of these, in their order, whether the account that has the number now began a session by code in that time.
    pub async fn signed_in(&self, spans: &[SignInSpan<'_>]) -> Result<Vec<bool>, EngineError> {
        let mut found = vec![false; spans.len()];
        if spans.is_empty() {
            return Ok(found);
        }
        let rows: Vec<_> = spans
            .iter()
            .enumerate()
            .map(|(place, it)| {
                json!([place, it.phone_number.expose(), it.from.ms(), it.until.ms()])
            })
            .collect();
        let rows = json!(rows).to_string();
        let sql = if self.pool.is_postgres() {
            "SELECT (r->>0)::bigint AS place FROM jsonb_array_elements($1::jsonb) AS r
             WHERE EXISTS (SELECT 1 FROM users u JOIN sessions s ON s.user_id = u.id
                 WHERE u.phone_number = r->>1 AND s.method IN ('sms', 'call')
                     AND s.created_at BETWEEN (r->>2)::bigint AND (r->>3)::bigint)"
        } else {
            "SELECT json_extract(value, '$[0]') AS place FROM json_each($1)
             WHERE EXISTS (SELECT 1 FROM users u JOIN sessions s ON s.user_id = u.id
                 WHERE u.phone_number = json_extract(value, '$[1]') AND s.method IN ('sms', 'call')
                     AND s.created_at BETWEEN json_extract(value, '$[2]') AND json_extract(value, '$[3]'))"
        };
        let place = |row: &Row| row.get::<i64>("place");
        for place in self.pool.rows("look for sign-ins", sql, args![&rows], place).await? {
            if let Some(found) = usize::try_from(place).ok().and_then(|place| found.get_mut(place))
            {
                *found = true;
            }
        }
        Ok(found)
    }
}
