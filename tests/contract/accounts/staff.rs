//! Run-time blocks, roles.

use accounts::{Block, BlockKind, StaffRole};
use domain::ids::UserId;

use super::contract;
use super::fixture::{AccountsFixture, Phone, Raw};

contract!(
    a_block_is_in_force_until_its_end_or_its_removal,
    a_shut_provider_is_no_row_that_a_former_program_reads,
    granting_and_revoking_a_role_is_audited,
    an_account_is_blocked_once_and_unblocked_once,
);

async fn a_block_is_in_force_until_its_end_or_its_removal(fixture: AccountsFixture) {
    let now = fixture.now();
    let block = |kind, value: &str, until| Block {
        kind,
        value: value.to_owned(),
        display: value.to_owned(),
        reason: "pumping".to_owned(),
        owner: "ada".to_owned(),
        until,
        created_at: now,
    };
    let phone = Block { display: "+98912***89".to_owned(), ..block(BlockKind::Phone, "key", None) };
    let prefix = block(BlockKind::Prefix, "989123", Some(now.plus_secs(60)));
    for block in [&phone, &prefix] {
        fixture.db.blocks.add(block, "cli").await.unwrap();
    }
    let sorted = |mut blocks: Vec<Block>| {
        blocks.sort_by_key(|block| block.kind.as_str());
        blocks
    };
    let both = [phone.clone(), prefix.clone()];
    assert_eq!(sorted(fixture.db.blocks.active(now).await.unwrap()), both);
    assert_eq!(fixture.db.blocks.active(now.plus_secs(60)).await.unwrap(), [phone]);
    assert_eq!(sorted(fixture.db.blocks.all().await.unwrap()), both);
    let longer = Block { until: Some(now.plus_secs(600)), reason: "again".to_owned(), ..prefix };
    fixture.db.blocks.add(&longer, "cli").await.unwrap();
    assert!(fixture.db.blocks.active(now.plus_secs(60)).await.unwrap().contains(&longer));
    assert!(fixture.db.blocks.remove(BlockKind::Phone, "key", "cli", now).await.unwrap());
    assert!(!fixture.db.blocks.remove(BlockKind::Phone, "key", "cli", now).await.unwrap());
    assert_eq!(fixture.another().await.blocks.active(now).await.unwrap(), [longer]);
    let lines = fixture.db.audit.page(Some("key"), None, 10).await.unwrap();
    let acts: Vec<_> = lines.iter().map(|line| line.act.as_str()).collect();
    assert_eq!(acts, ["block_removed", "block_added"]);
}

/// A program of the release before refuses the whole list for a kind that it does not know.
async fn a_shut_provider_is_no_row_that_a_former_program_reads(fixture: AccountsFixture) {
    let now = fixture.now();
    let shut = Block {
        kind: BlockKind::Provider,
        value: "twilio".to_owned(),
        display: "twilio".to_owned(),
        reason: "loses texts".to_owned(),
        owner: "ada".to_owned(),
        until: Some(now.plus_secs(60)),
        created_at: now,
    };
    let blocks = &fixture.db.blocks;
    blocks.add(&shut, "cli").await.unwrap();
    let again = Block { until: Some(now.plus_secs(90)), ..shut };
    blocks.add(&again, "cli").await.unwrap();
    let mut raw = fixture.raw().await;
    assert_eq!(raw.number("SELECT count(*) FROM blocks").await, 0);
    assert_eq!(blocks.of_providers(now).await.unwrap(), std::slice::from_ref(&again));
    assert_eq!(blocks.active(now).await.unwrap(), std::slice::from_ref(&again));
    assert!(blocks.of_requests(now).await.unwrap().is_empty());
    assert!(blocks.of_providers(now.plus_secs(90)).await.unwrap().is_empty());
    // And a kind of the release after is passed by.
    let id = raw.id(domain::rng::id_v4());
    let unchecked = match &raw {
        Raw::Postgres(_) => "ALTER TABLE blocks DROP CONSTRAINT blocks_kind_check",
        Raw::Sqlite(_) => "PRAGMA ignore_check_constraints = ON",
    };
    raw.run(unchecked).await.unwrap();
    raw.run(&format!(
        "INSERT INTO blocks (id, kind, value, display, reason, owner, until, created_at)
         VALUES ({id}, 'planet', 'x', 'x', 'x', 'x', NULL, 0)"
    ))
    .await
    .unwrap();
    assert!(blocks.of_requests(now).await.unwrap().is_empty());
    assert_eq!(blocks.all().await.unwrap(), [again]);
    assert!(blocks.remove(BlockKind::Provider, "twilio", "cli", now).await.unwrap());
    assert!(!blocks.remove(BlockKind::Provider, "twilio", "cli", now).await.unwrap());
    let lines = fixture.db.audit.page(Some("twilio"), None, 10).await.unwrap();
    let acts: Vec<_> = lines.iter().map(|line| line.act.as_str()).collect();
    assert_eq!(acts, ["block_removed", "block_added", "block_added"]);
}

async fn granting_and_revoking_a_role_is_audited(fixture: AccountsFixture) {
    let (user, session) = fixture.signed_in(&Phone::new()).await;
    let now = fixture.now();
    assert!(fixture.db.accounts.staff().await.unwrap().is_empty());
    assert!(fixture.db.accounts.grant_role(user.id, StaffRole::Support, "cli", now).await.unwrap());
    assert!(fixture.db.accounts.grant_role(user.id, StaffRole::Owner, "cli", now).await.unwrap());
    let staff = fixture.db.accounts.staff().await.unwrap();
    assert_eq!((staff.len(), staff[0].role.as_deref()), (1, Some("owner")));
    let live = fixture.db.sessions.live(session.id, now).await.unwrap().unwrap();
    assert_eq!(live.user.role.as_deref(), Some("owner"));
    assert!(fixture.db.accounts.revoke_role(user.id, "cli", now).await.unwrap());
    assert!(!fixture.db.accounts.revoke_role(user.id, "cli", now).await.unwrap());
    let nobody = UserId::new(&fixture.clock);
    assert!(!fixture.db.accounts.grant_role(nobody, StaffRole::Owner, "cli", now).await.unwrap());
    let lines = fixture.db.audit.page(Some(&user.id.to_string()), None, 3).await.unwrap();
    let acts: Vec<_> = lines.iter().map(|line| line.act.as_str()).collect();
    assert_eq!(acts, ["role_revoked", "role_granted", "role_granted"]);
}

async fn an_account_is_blocked_once_and_unblocked_once(fixture: AccountsFixture) {
    let (user, session) = fixture.signed_in(&Phone::new()).await;
    let now = fixture.now();
    fixture.events().await;
    assert!(fixture.db.accounts.block(user.id, "fraud", "cli", now).await.unwrap());
    assert!(!fixture.db.accounts.block(user.id, "fraud", "cli", now).await.unwrap());
    assert!(fixture.db.accounts.get(user.id).await.unwrap().unwrap().blocked);
    assert_eq!(fixture.kinds().await, ["session.ended.v1"]);
    assert!(fixture.db.accounts.unblock(user.id, "cli", now).await.unwrap());
    assert!(!fixture.db.accounts.unblock(user.id, "cli", now).await.unwrap());
    assert!(
        fixture.db.sessions.live(session.id, now).await.unwrap().is_none(),
        "its sessions stay ended"
    );
}
