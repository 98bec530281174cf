//! Accounts as staff see them: lists, searches, and what stands beside an account.

use super::Accounts;
use super::users::{self, User, select_users, user_columns};
use domain::engine_error::EngineError;
use domain::ids::UserId;
use domain::timestamp::Timestamp;
use sql::{Arg, Row, args};

/// An account, and what a list of accounts shows beside it.
#[derive(Clone, Debug)]
pub struct Person {
    pub user: User,
    /// Its last sign-in; when it was made, if it never signed in.
    pub last_seen: Timestamp,
    pub has_password: bool,
    pub live_sessions: i64,
    pub block: Option<AccountBlock>,
}

/// Why an account is blocked, since when and by whom.
#[derive(Clone, Debug)]
pub struct AccountBlock {
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// Which accounts a list shows.
#[derive(Clone, Copy, Debug)]
pub enum Find<'a> {
    All,
    /// Those whose number ends with these four digits.
    LastDigits(&'a str),
    /// Those whose first or last name begins with this text, or whose names begin with its words; letters of either case.
    /// Of names that begin with one text, 2,000 first ones and as many last ones are looked at, in their order.
    Name(&'a str),
}

/// Above every character: what begins with a text sorts before the text and this.
const ABOVE: char = '\u{10ffff}';

macro_rules! people_columns {
    () => {
        concat!(
            "u.last_seen_at, u.password_hash IS NOT NULL AS has_password, u.blocked_at, u.blocked_by,
             u.block_reason, (SELECT COUNT(*) FROM sessions s
                 WHERE s.user_id = u.id AND s.ended_at IS NULL AND s.expires_at > $1) AS live_sessions, ",
            user_columns!()
        )
    };
}

macro_rules! select_people {
    ($rest:literal) => {
        concat!("SELECT ", people_columns!(), " FROM users u WHERE ", $rest)
    };
}

/// How many names of each kind a search looks at: a single letter begins a tenth of all names, and nobody reads those.
const NAMES: u32 = 2_000;

/// `$from` and `$below` compare texts by their characters, as the indexes of names do, and `$order` sorts by them. First
/// those that match, each span by its index and no more of it than `$10`, then the newest of them: the server would rather
/// read accounts from the newest on until it has enough, which are all accounts when nobody has the name.
macro_rules! by_name {
    ($from:literal, $below:literal, $order:literal) => {
        concat!(
            "WITH found AS MATERIALIZED (
                 SELECT id FROM (SELECT id FROM users WHERE first_name <> '' AND lower(first_name) ",
            $from,
            " $4 AND lower(first_name) ",
            $below,
            " $5 ORDER BY lower(first_name)",
            $order,
            " LIMIT $10) one UNION SELECT id FROM (SELECT id FROM users WHERE last_name <> '' AND lower(last_name) ",
            $from,
            " $4 AND lower(last_name) ",
            $below,
            " $5 ORDER BY lower(last_name)",
            $order,
            " LIMIT $10) other UNION SELECT id FROM users WHERE first_name <> '' AND lower(first_name) ",
            $from,
            " $6 AND lower(first_name) ",
            $below,
            " $7 AND lower(last_name) ",
            $from,
            " $8 AND lower(last_name) ",
            $below,
            " $9)
             SELECT ",
            people_columns!(),
            " FROM (SELECT id FROM found WHERE id < $2 ORDER BY id DESC LIMIT $3) f
             JOIN users u ON u.id = f.id ORDER BY u.id DESC"
        )
    };
}

impl Accounts {
    /// Accounts, the newest first, made before the account `before`.
    pub async fn people(
        &self,
        find: Find<'_>,
        before: Option<UserId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Person>, EngineError> {
        let before = before.unwrap_or(UserId::from_uuid(uuid::Uuid::max()));
        let act = "list accounts";
        match find {
            Find::All => {
                let sql = select_people!("u.id < $2 ORDER BY u.id DESC LIMIT $3");
                self.pool.rows(act, sql, args![now, before, limit], person).await
            }
            Find::LastDigits(digits) => {
                let sql = if self.pool.is_postgres() {
                    select_people!(
                        "u.id < $2 AND right(u.phone_number, 4) = $4 ORDER BY u.id DESC LIMIT $3"
                    )
                } else {
                    select_people!(
                        "u.id < $2 AND substr(u.phone_number, -4) = $4 ORDER BY u.id DESC LIMIT $3"
                    )
                };
                self.pool.rows(act, sql, args![now, before, limit, digits], person).await
            }
            Find::Name(name) => {
                let spans = self.spans(name);
                let mut arguments = args![now, before, limit].to_vec();
                arguments.extend(spans.iter().map(Arg::from));
                arguments.push(Arg::from(NAMES));
                let sql = if self.pool.is_postgres() {
                    by_name!("~>=~", "~<~", " USING ~<~")
                } else {
                    by_name!(">=", "<", "")
                };
                self.pool.rows(act, sql, &arguments, person).await
            }
        }
    }

    /// The texts between which names lie that begin with this one: one name, then the first and the last.
    fn spans(&self, name: &str) -> [String; 6] {
        // SQLite knows the cases of ASCII alone.
        let name =
            if self.pool.is_postgres() { name.to_lowercase() } else { name.to_ascii_lowercase() };
        let span = |text: &str| [text.to_owned(), format!("{text}{ABOVE}")];
        let [one, above_one] = span(&name);
        let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
        // Of one word nothing lies in the second span: it would be everybody with that first name once more.
        let [first, above_first] = if last.is_empty() { Default::default() } else { span(first) };
        let [last, above_last] = span(last.trim());
        [one, above_one, first, above_first, last, above_last]
    }

    /// One account as a list shows it.
    pub async fn person(&self, id: UserId, now: Timestamp) -> Result<Option<Person>, EngineError> {
        let sql = select_people!("u.id = $2");
        self.pool.optional("read an account", sql, args![now, id], person).await
    }

    /// The accounts of these ids that exist, in no order.
    pub async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<User>, EngineError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = if self.pool.is_postgres() {
            select_users!(
                "WHERE u.id IN (SELECT value::uuid FROM json_array_elements_text($1::json))"
            )
        } else {
            select_users!("WHERE u.id IN (SELECT unhex(value, '-') FROM json_each($1))")
        };
        let ids = serde_json::json!(ids).to_string();
        self.pool.rows("read accounts", sql, args![&ids], users::user).await
    }
}

fn person(row: &Row) -> Result<Person, sqlx::Error> {
    let block = match row.maybe_time("blocked_at")? {
        Some(at) => Some(AccountBlock {
            at,
            by: row.get::<Option<String>>("blocked_by")?.unwrap_or_default(),
            reason: row.get::<Option<String>>("block_reason")?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(Person {
        user: users::user(row)?,
        last_seen: row.time("last_seen_at")?,
        has_password: row.get("has_password")?,
        live_sessions: row.get("live_sessions")?,
        block,
    })
}
