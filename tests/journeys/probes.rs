//! The whole content of the engines as bytes, for the search.

use std::sync::{Arc, Mutex};

use deadpool_redis::redis::{self, Value};
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::task::JoinHandle;

use testkit::postgres;

/// Every key of a Redis database with its value.
pub(crate) async fn redis_bytes(url: &str) -> Vec<u8> {
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut connection =
        crate::redis_connection(&client).await.expect("connect to the test's Redis");
    let keys: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
        let mut read = match kind.as_str() {
            // Deleted since it was listed.
            "none" => continue,
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "set" => redis::cmd("SMEMBERS"),
            "list" => redis::cmd("LRANGE"),
            "zset" => redis::cmd("ZRANGE"),
            "stream" => redis::cmd("XRANGE"),
            other => panic!("the search cannot read a {other}"),
        };
        read.arg(&key);
        match kind.as_str() {
            "list" | "zset" => read.arg(0).arg(-1),
            "stream" => read.arg("-").arg("+"),
            _ => &mut read,
        };
        all.extend_from_slice(&key);
        all.push(b' ');
        flatten(&read.query_async(&mut connection).await.unwrap(), &mut all);
        all.push(b'\n');
    }
    all
}

fn flatten(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::BulkString(bytes) => into.extend_from_slice(bytes),
        Value::SimpleString(text) => into.extend_from_slice(text.as_bytes()),
        Value::Int(number) => into.extend_from_slice(number.to_string().as_bytes()),
        Value::Array(values) | Value::Set(values) => {
            for value in values {
                flatten(value, into);
            }
        }
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, into);
            flatten(value, into);
        }),
        _ => {}
    }
    into.push(b' ');
}

/// Every row of every table as JSON, without the columns that may hold a phone or a name (contract, P10). Columns added
/// by later migrations are searched.
pub(crate) async fn database_bytes(url: &str) -> Vec<u8> {
    let mut connection = postgres::connect(url).await.expect("connect to the test's database");
    let tables = sqlx::query(
        "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
    );
    let tables = tables.fetch_all(&mut connection).await.unwrap();
    let mut all = Vec::new();
    for table in tables {
        let name: String = table.get("name");
        let spared = match name.as_str() {
            "users" => " - 'phone_number' - 'first_name' - 'last_name'",
            "sms_ledger" => " - 'phone_number'",
            _ => "",
        };
        let sql = AssertSqlSafe(format!("SELECT (to_jsonb(t){spared})::text AS row FROM {name} t"));
        all.extend_from_slice(format!("\n-- {name}\n").as_bytes());
        for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
            all.extend_from_slice(row.get::<String, _>("row").as_bytes());
            all.push(b'\n');
        }
    }
    all
}

/// A private queue that gets a copy of every message on the exchange.
pub(crate) struct Spy {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    reader: JoinHandle<()>,
    connection: Connection,
}

impl Spy {
    pub async fn on(amqp_url: &str) -> Self {
        let connection =
            Connection::connect(amqp_url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue =
            channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
        let (name, bind) = (queue.name().clone(), QueueBindOptions::default());
        channel
            .queue_bind(name.clone(), "latchkey".into(), "#".into(), bind, FieldTable::default())
            .await
            .unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut messages = channel
            .basic_consume(name, "spy".into(), options, FieldTable::default())
            .await
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let reader = tokio::spawn(async move {
            let _channel = channel;
            while let Some(Ok(message)) = messages.next().await {
                let mut bytes =
                    format!("{} {:?} ", message.routing_key, message.properties).into_bytes();
                bytes.extend_from_slice(&message.data);
                into.lock().unwrap().push(bytes);
            }
        });
        Self { seen, reader, connection }
    }

    /// The messages that passed the exchange so far.
    pub fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }

    /// How many messages passed so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The messages in a queue, headers included. They return to the queue when the channel closes.
pub(crate) async fn queue_bytes(connection: &Connection, queue: &str) -> Vec<Vec<u8>> {
    let channel = connection.create_channel().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) =
        channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
    {
        let mut bytes = format!("{:?} ", message.properties).into_bytes();
        bytes.extend_from_slice(&message.data);
        found.push(bytes);
    }
    channel.close(200, "done".into()).await.unwrap();
    found
}
