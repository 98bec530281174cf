//! The bare parts of a sign-in, each as lean as its client library allows. The load generator starts this program,
//! tells it what to make, and reads its CPU time and the engine's.

mod broker;
mod parts;

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::parts::Bare;

/// Makes bare parts of a sign-in when asked over HTTP: `POST /run` with a part, a count and how many at once; `POST /echo`.
#[derive(Parser)]
pub struct Arguments {
    #[arg(long)]
    listen: String,
    /// The URL of an empty PostgreSQL database.
    #[arg(long)]
    database: String,
    #[arg(long)]
    redis: String,
    /// The URL of an empty RabbitMQ vhost.
    #[arg(long)]
    broker: String,
    /// Where calls to a provider go.
    #[arg(long)]
    provider: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    let bare = Arc::new(Bare::connect(&arguments).await?);
    let routes = Router::new()
        .route("/ready", get(async || "ready"))
        .route("/echo", post(echo))
        .route("/run", post(run))
        .with_state(bare);
    let listener = TcpListener::bind(&arguments.listen).await.context("listen")?;
    axum::serve(listener, routes).await.context("serve")
}

async fn echo(Json(body): Json<Value>) -> Json<Value> {
    Json(body)
}

async fn run(State(bare): State<Arc<Bare>>, Json(body): Json<Value>) -> (StatusCode, String) {
    let number = |name: &str| body[name].as_u64().and_then(|number| usize::try_from(number).ok());
    let (Some(part), Some(count), Some(at_once)) =
        (body["part"].as_str(), number("count"), number("at_once"))
    else {
        return (StatusCode::BAD_REQUEST, "part, count, at_once".to_owned());
    };
    match bare.make(part, count, at_once).await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}
