//! `latchkey users`: user accounts, for staff with shell access.

pub(super) mod account;
mod block;
mod create;
mod delete;
mod export;
mod file;
mod import;
mod show;
mod undo_phone;

use clap::Subcommand;

use super::operator::Operator;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Finds the account of a phone number.
    Find(show::Find),
    /// Shows an account.
    Show(show::Show),
    /// Creates an account without a sign-in.
    Create(create::Create),
    /// Blocks an account: its sessions end, and a sign-in with a correct code is refused with 403.
    Block(block::Block),
    /// Unblocks an account.
    Unblock(block::Unblock),
    /// Unlocks a phone that is locked after too many failed attempts.
    Unlock(block::Unlock),
    /// Removes the password of an account and ends the sessions that it started; sign-in by code stays.
    ClearPassword(block::ClearPassword),
    /// Restores the number that an account had before its last change of phone, within 24 hours of the change. All
    /// sessions end and the password is removed, because the person who changed the number may have both.
    UndoPhone(undo_phone::UndoPhone),
    /// Lists the live sessions of an account.
    Sessions(show::Sessions),
    /// Exports everything stored about an account as JSON, or all accounts as CSV.
    Export(export::Export),
    /// Imports accounts from a CSV file or a Django dump. Passwords in Django's PBKDF2 format keep working.
    Import(import::Import),
    /// Deletes an account and all data about its phone.
    Delete(delete::Delete),
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    match command {
        Command::Find(find) => find.run(&operator).await,
        Command::Show(show) => show.run(&operator).await,
        Command::Create(create) => create.run(&operator).await,
        Command::Block(block) => block.run(&operator).await,
        Command::Unblock(unblock) => unblock.run(&operator).await,
        Command::Unlock(unlock) => unlock.run(&operator).await,
        Command::ClearPassword(clear) => clear.run(&operator).await,
        Command::UndoPhone(undo) => undo.run(&operator).await,
        Command::Sessions(sessions) => sessions.run(&operator).await,
        Command::Export(export) => export.run(&operator).await,
        Command::Import(import) => import.run(&operator).await,
        Command::Delete(delete) => delete.run(&operator).await,
    }
}
