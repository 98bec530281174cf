//! Who may open and do what: every page and every form, for every role and for strangers.

use accounts::StaffRole;
use reqwest::Method;
use testkit::system::Side;

use super::browser::Console;

testkit::both_sides!(each_role_may_do_what_its_table_says_and_nothing_else);

const PAGES: &[&str] = &[
    "/console",
    "/console/users",
    "/console/users/{id}",
    "/console/delivery",
    "/console/delivery?country=IR",
    "/console/requests",
    "/console/requests/{request}",
    "/console/blocks",
    "/console/audit",
    "/console/guard?days=7",
    "/console/limits",
    "/console/settings",
    "/console/developers",
    "/console/developers/latchkey.postman_collection.json",
    "/console/developers/latchkey.postman_environment.json",
    "/console/staff",
    "/console/engines",
    "/console/queues",
    "/console/queues/otp-worker/{id}",
    "/console/providers",
    "/console/find/{id}",
    "/console/users/new",
];

/// A form, the least role for it, and its fields.
type Form<'a> = (&'a str, StaffRole, &'a [(&'a str, &'a str)]);

const FORMS: &[Form<'static>] = &[
    ("/console/find", StaffRole::Viewer, &[("what", "Ada")]),
    ("/console/limits", StaffRole::Viewer, &[("address", "203.0.113.7")]),
    ("/console/users/{id}/reveal", StaffRole::Support, &[("reason", "a test")]),
    ("/console/users", StaffRole::Support, &[("phone_number", "nobody's")]),
    ("/console/users/{id}/end-sessions", StaffRole::Support, &[]),
    ("/console/users/{id}/unlock", StaffRole::Support, &[]),
    ("/console/users/{id}/resend", StaffRole::Support, &[]),
    ("/console/users/{id}/clear-password", StaffRole::Support, &[]),
    ("/console/users/{id}/note", StaffRole::Support, &[("note", "a test")]),
    ("/console/users/{id}/export", StaffRole::Operator, &[("reason", "a test")]),
    (
        "/console/users/{id}/delete",
        StaffRole::Operator,
        &[("reason", "a test"), ("digits", "none")],
    ),
    ("/console/users/{id}/block", StaffRole::Operator, &[("reason", "a test")]),
    ("/console/users/{id}/unblock", StaffRole::Operator, &[]),
    ("/console/blocks/end", StaffRole::Operator, &[("kind", "phone"), ("value", "x")]),
    (
        "/console/guard/open",
        StaffRole::Operator,
        &[("kind", "prefix"), ("name", "1"), ("reason", "a test")],
    ),
    ("/console/audit/export", StaffRole::Operator, &[]),
    ("/console/requests/export", StaffRole::Operator, &[]),
    ("/console/blocks/export", StaffRole::Operator, &[]),
    (
        "/console/staff",
        StaffRole::Owner,
        &[("user", "{id}"), ("role", "none"), ("reason", "a test")],
    ),
    ("/console/queues", StaffRole::Operator, &[("queue", "otp-worker"), ("act", "replay")]),
    ("/console/queues", StaffRole::Operator, &[("queue", "otp-worker"), ("act", "drop")]),
    ("/console/queues/otp-worker/{id}", StaffRole::Operator, &[("act", "replay")]),
    ("/console/providers", StaffRole::Operator, &[("provider", "http"), ("act", "open")]),
];

async fn each_role_may_do_what_its_table_says_and_nothing_else(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, _) = console.account(None).await;
    let request = console.latchkey.api().otp(&phone).await.expect(202).text("request_id");
    let path =
        |template: &str| template.replace("{id}", &id.to_string()).replace("{request}", &request);
    for role in StaffRole::ALL {
        let mut member = console.member(role).await;
        let browser = &mut member.browser;
        for page in PAGES.iter().copied() {
            let least = if page.ends_with("/new") { StaffRole::Support } else { StaffRole::Viewer };
            let answer = browser.get(&path(page)).await;
            let is_let_in = matches!(answer.status, 200 | 303);
            assert_eq!(is_let_in, least <= role, "{role} at {page}: {}", answer.status);
            assert!(!answer.header("location").starts_with("/console/login"), "{page}");
        }
        let home = browser.get("/console").await.expect(200);
        for (form, least, fields) in FORMS.iter().copied() {
            let answer = browser.submit(&home, &path(form), fields).await;
            // A form that its role allows may still be refused for what it holds.
            assert_eq!(answer.status != 403, least <= role, "{role} at {form}: {}", answer.status);
            if answer.status == 403 {
                answer.shows("Your role does not allow this");
            }
        }
    }
    let mut stranger = console.browser();
    for page in PAGES.iter().copied() {
        let answer = stranger.get(&path(page)).await;
        assert!(answer.leads_to().starts_with("/console/login"), "{page}");
        assert!(answer.text.is_empty(), "{page}");
    }
    for (form, _, fields) in FORMS.iter().copied() {
        let answer = stranger.send(Method::POST, &path(form), Some(fields), &[]).await;
        assert!(answer.leads_to().starts_with("/console/login"), "{form}");
        // Whatever it sends.
        let answer = stranger.send(Method::POST, &path(form), None, &[]).await;
        assert!(answer.leads_to().starts_with("/console/login"), "{form}");
    }
}
