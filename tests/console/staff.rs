//! Staff: who has which role, and how an owner with a fresh sign-in changes it.

use accounts::{RoleChange, RoleChanged, StaffRole};
use domain::ids::UserId;
use reqwest::Method;
use testkit::system::Side;

use super::browser::{Browser, Console, Page};

testkit::both_sides!(
    staff_are_listed_with_their_role_sign_in_and_sessions,
    an_owner_grants_and_removes_roles_and_a_removed_one_ends_at_once,
    roles_change_only_by_an_owner_with_a_fresh_sign_in,
    one_owner_always_stays,
    a_role_that_a_command_removes_ends_the_sessions_too,
);

const PATH: &str = "/console/staff";

async fn change(browser: &mut Browser, who: &str, role: &str, reason: &str) -> Page {
    let page = browser.get("/console").await.expect(200);
    browser.submit(&page, PATH, &[("user", who), ("role", role), ("reason", reason)]).await
}

async fn staff_are_listed_with_their_role_sign_in_and_sessions(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let (away, phone, _) = console.account(Some(StaffRole::Operator)).await;
    let (other, ..) = console.account(None).await;
    let page = viewer.browser.get(PATH).await.expect(200);
    let own = row(&page, viewer.id);
    for shown in ["Ada Lovelace", "viewer", "Firefox/1 &#60;b&#62;bold", "127.0.0.0", "since"] {
        assert!(own.contains(shown), "{shown}: {own}");
    }
    let theirs = row(&page, away);
    assert!(theirs.contains("operator") && theirs.contains("never"), "{theirs}");
    page.hides(&phone[3..]);
    page.hides(&other.to_string());
    // Who may only look is offered nothing.
    page.hides("Grant a role");
    page.hides("Change the role");
    // The matrix is the one table.
    page.shows(
        "grant and remove roles</td><td data-label=\"viewer\"><span class=\"muted\">no</span></td>",
    );
    page.shows("look at what staff see</td><td data-label=\"viewer\">yes</td>");
    // A list of one each.
    let first = viewer.browser.get("/console/staff?limit=1").await.expect(200);
    let next = &first.text[first.text.find("rel=\"next\"").unwrap() - 80..];
    let next = &next[next.find("href=\"").unwrap() + 6..];
    let next = next[..next.find('"').unwrap()].replace("&#38;", "&");
    let second = viewer.browser.get(&next).await.expect(200);
    second.hides("rel=\"next\"");
    assert_eq!(first.text.matches("href=\"/console/users/").count(), 1 + 1, "{}", first.text);
    assert_ne!(first.text.contains(&away.to_string()), second.text.contains(&away.to_string()));
}

/// The row of an account.
fn row(page: &Page, id: UserId) -> &str {
    let table = &page.text[page.text.find("id=\"members\"").unwrap()..];
    let from =
        table.find(&format!("<td data-label=\"Who\"><a href=\"/console/users/{id}\"")).unwrap();
    let rest = &table[from..];
    &rest[..rest.find("</tr>").unwrap()]
}

async fn an_owner_grants_and_removes_roles_and_a_removed_one_ends_at_once(side: Side) {
    let console = Console::start(side).await;
    let mut owner = console.member(StaffRole::Owner).await;
    let (id, phone, _) = console.account(None).await;
    let reason = "<script>alert(1)</script> joins the team";
    let granted =
        change(&mut owner.browser, &format!("00{}", &phone[1..]), "support", reason).await;
    assert_eq!(granted.leads_to(), "/console/staff?done=granted");
    let page = owner.browser.get(granted.leads_to()).await.expect(200);
    page.shows("The role is granted");
    assert!(row(&page, id).contains("support"));
    let mut theirs = console.browser();
    assert_eq!(theirs.sign_in(&phone).await.leads_to(), "/console");
    let entry = &console.acts(&id.to_string()).await[1];
    assert_eq!(
        (entry.act.as_str(), entry.actor.as_str()),
        ("role_granted", &*owner.id.to_string())
    );
    for part in ["support", "joins the team", "null"] {
        assert!(entry.detail.contains(part), "{}", entry.detail);
    }
    owner.browser.get("/console/audit?act=role_granted").await.expect(200).hides("<script>");
    // Another role holds from the next request on.
    let changed = change(&mut owner.browser, &id.to_string(), "viewer", "less").await;
    assert_eq!(changed.leads_to(), "/console/staff?done=granted");
    theirs.get("/console/users/new").await.expect(403);
    let again = change(&mut owner.browser, &id.to_string(), "viewer", "less").await;
    assert_eq!(again.leads_to(), "/console/staff?done=nothing");
    // A removed one opens nothing, also when it is granted again.
    let removed = change(&mut owner.browser, &id.to_string(), "none", "left").await;
    assert_eq!(removed.leads_to(), "/console/staff?done=removed");
    assert!(theirs.get("/console").await.leads_to().starts_with("/console/login"));
    change(&mut owner.browser, &id.to_string(), "viewer", "back").await;
    assert!(theirs.get("/console").await.leads_to().starts_with("/console/login"));
    // What cannot be done is said, and nothing is done.
    for (who, role, reason, status, said) in [
        ("not a phone", "viewer", "x", 400, "This is not a mobile number"),
        (&*UserId::new(&console.latchkey.clock).to_string(), "viewer", "x", 404, "no such account"),
        (&*phone, "admin", "x", 400, "Choose a role"),
        (&*phone, "owner", " ", 400, "Give a reason"),
        (&*owner.id.to_string(), "viewer", "x", 400, "Nobody changes their own role"),
        (&*owner.id.to_string(), "none", "x", 400, "Nobody changes their own role"),
    ] {
        change(&mut owner.browser, who, role, reason).await.expect(status).shows(said);
    }
    assert_eq!(console.count(&owner.id.to_string(), "role_revoked").await, 0);
}

async fn roles_change_only_by_an_owner_with_a_fresh_sign_in(side: Side) {
    let console = Console::start(side).await;
    let (id, _, _) = console.account(None).await;
    let who = id.to_string();
    for role in [StaffRole::Viewer, StaffRole::Support, StaffRole::Operator] {
        let mut member = console.member(role).await;
        change(&mut member.browser, &who, "owner", "x").await.expect(403).shows("Your role");
    }
    let mut owner = console.member(StaffRole::Owner).await;
    let page = owner.browser.get(PATH).await.expect(200);
    page.shows("Change the role");
    // A form of another site, and one without the token.
    let fields = [("user", &*who), ("role", "owner"), ("reason", "x")];
    owner.browser.send(Method::POST, PATH, Some(&fields), &[]).await.expect(403);
    let token = page.field("token");
    let all = [&[("token", &*token)][..], &fields].concat();
    let elsewhere = [("sec-fetch-site", "cross-site")];
    owner.browser.send(Method::POST, PATH, Some(&all), &elsewhere).await.expect(403);
    // Ten minutes after the sign-in it takes a new one, however often the session was used.
    console.latchkey.advance(300);
    owner.browser.get(PATH).await.expect(200).shows("Change the role");
    console.latchkey.advance(300);
    let page = owner.browser.get(PATH).await.expect(200);
    page.hides("Change the role");
    page.shows("/console/login?next=/console/staff");
    change(&mut owner.browser, &who, "owner", "x").await.expect(403).shows("Sign in again first");
    assert_eq!(console.count(&who, "role_granted").await, 0);
}

async fn one_owner_always_stays(side: Side) {
    let console = Console::start(side).await;
    let (one, ..) = console.account(Some(StaffRole::Owner)).await;
    let (two, ..) = console.account(Some(StaffRole::Owner)).await;
    let now = console.latchkey.clock.now();
    let remove = async |by, user| {
        let change = RoleChange { by, user, role: None, reason: "a race" };
        console.accounts.change_role(change, now).await.unwrap()
    };
    // Whoever is first.
    let ended = tokio::join!(remove(one, two), remove(two, one));
    assert!(
        [(RoleChanged::Done, RoleChanged::NotOwner), (RoleChanged::NotOwner, RoleChanged::Done)]
            .contains(&ended),
        "{ended:?}"
    );
    let staff = console.accounts.staff().await.unwrap();
    assert_eq!(staff.len(), 1);
    assert_eq!(staff[0].staff_role(), Some(StaffRole::Owner));
    assert_eq!(remove(staff[0].id, staff[0].id).await, RoleChanged::Own);
    // One who is blocked changes nothing.
    console.accounts.block(staff[0].id, "x", "test", now).await.unwrap();
    let (other, ..) = console.account(Some(StaffRole::Viewer)).await;
    assert_eq!(remove(staff[0].id, other).await, RoleChanged::NotOwner);
}

async fn a_role_that_a_command_removes_ends_the_sessions_too(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Support).await;
    let now = console.latchkey.clock.now();
    assert!(console.accounts.revoke_role(member.id, "ops", now).await.unwrap());
    assert!(console.accounts.grant_role(member.id, StaffRole::Viewer, "ops", now).await.unwrap());
    assert!(member.browser.get("/console").await.leads_to().starts_with("/console/login"));
}
