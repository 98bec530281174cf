//! `latchkey migrate`.

use super::operator::{Operator, print};

pub(crate) async fn run() -> anyhow::Result<()> {
    Operator::connect().await?;
    print(&format!("the schema is that of latchkey {}\n", env!("CARGO_PKG_VERSION")))
}
