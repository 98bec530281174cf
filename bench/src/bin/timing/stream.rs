//! The event stream of a code request, as a client sees it.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::calls::Mode;
use crate::figures::form;

/// Reads a stream to `sent`; in silent mode to its end, which must follow. Returns its events.
pub async fn read(mut answer: reqwest::Response, mode: Mode) -> anyhow::Result<Vec<Event>> {
    let mut text = String::new();
    let mut events = Vec::new();
    while let Some(piece) = answer.chunk().await.context("read the stream")? {
        text.push_str(std::str::from_utf8(&piece)?);
        while let Some((block, rest)) = text.split_once("\n\n") {
            events.extend(Event::parse(block)?);
            text = rest.to_owned();
        }
        if mode == Mode::SignUp && events.last().is_some_and(Event::is_sent) {
            return Ok(events);
        }
    }
    ensure!(events.last().is_some_and(Event::is_sent), "the stream ended with {events:?}");
    Ok(events)
}

#[derive(Debug)]
pub struct Event {
    status: String,
    /// All its lines, without the values that are its request's own.
    form: String,
}

impl Event {
    /// Returns `None` for a heartbeat.
    fn parse(block: &str) -> anyhow::Result<Option<Self>> {
        let (mut status, mut lines) = (None, Vec::new());
        for line in block.lines().filter(|line| !line.starts_with(':')) {
            let Some(data) = line.strip_prefix("data:") else {
                lines.push(line.to_owned());
                continue;
            };
            let data: Value = serde_json::from_str(data).context("read an event")?;
            status = data["status"].as_str().map(str::to_owned);
            lines.push(form(data).to_string());
        }
        let form = lines.join("\n");
        Ok(status.map(|status| Self { status, form }))
    }

    fn is_sent(&self) -> bool {
        self.status == "sent"
    }
}

/// What each status looks like as an event. Both classes must see the same.
#[derive(Default)]
pub struct Forms(BTreeMap<String, String>);

impl Forms {
    /// # Errors
    /// Fails for a status that no stream may show in this mode, and for an event that differs from an earlier one of
    /// the same status.
    pub fn check(&mut self, mode: Mode, events: Vec<Event>) -> anyhow::Result<()> {
        let shown: &[&str] = match mode {
            Mode::SignUp => &["accepted", "issued", "sending", "sent"],
            Mode::Silent => &["accepted", "sent"],
        };
        for Event { status, form } in events {
            ensure!(shown.contains(&status.as_str()), "an event says {status}");
            let first = self.0.entry(status).or_insert_with(|| form.clone());
            ensure!(*first == form, "events of one status differ: {first} and {form}");
        }
        Ok(())
    }
}
