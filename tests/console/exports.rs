//! Lists as CSV: what the filters find, phones masked, nothing that a spreadsheet would run, and each export in the audit.

use accounts::{Block, BlockKind, Blocks, StaffRole};
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::{Browser, Console, Page};

testkit::both_sides!(
    requests_are_exported_as_the_list_shows_them,
    blocks_are_exported_without_a_formula_or_a_phones_key,
    who_may_not_export_sees_no_button_and_gets_no_file,
);

/// Presses the button of a list.
async fn export(browser: &mut Browser, list: &str, address: &str) -> Page {
    let page = browser.get(list).await.expect(200);
    let shown = address.replace('&', "&#38;");
    page.shows(&format!("<form method=\"post\" action=\"{shown}\">"));
    browser.submit(&page, address, &[]).await
}

/// The newest entry of this act: its actor and its detail.
async fn noted(console: &Console, act: &str) -> (String, Value) {
    let filter = accounts::AuditFilter { act: Some(act), ..Default::default() };
    let entry = console.audit.search(filter, None, 1).await.unwrap().remove(0);
    assert_eq!(entry.subject, "all");
    (entry.actor, serde_json::from_str(&entry.detail).unwrap())
}

async fn requests_are_exported_as_the_list_shows_them(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, _) = console.account(None).await;
    let mut member = console.member(StaffRole::Operator).await;
    let browser = &mut member.browser;
    let of_user = format!("/console/requests?user={id}");
    let list = testkit::eventually("the text in the list", PATIENCE, async || {
        let page = browser.get(&of_user).await.expect(200);
        page.text.contains(">sent<").then_some(page)
    })
    .await;
    let address = format!("/console/requests/export?user={id}");
    let csv = export(browser, &of_user, &address).await.expect(200);
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"requests.csv\"");
    assert_eq!(csv.header("cache-control"), "no-store");
    let lines: Vec<_> = csv.text.lines().collect();
    let heading = "id,created_at,phone_number,country,channel,provider,status,reason,is_notice";
    assert_eq!((lines[0], lines.len()), (heading, 2), "{}", csv.text);
    let fields: Vec<_> = lines[1].split(',').map(|field| field.trim_matches('"')).collect();
    list.shows(&format!("/console/requests/{}", fields[0]));
    list.shows(fields[1]);
    // Masked, and no formula.
    list.shows(&format!(">{}<", fields[2].strip_prefix('\'').expect("an apostrophe")));
    assert_eq!(fields[3..], ["IR", "sms", "inbox", "sent", "", "false"]);
    csv.hides(&phone[3..]);
    let (actor, detail) = noted(&console, "requests_exported").await;
    assert_eq!(actor, member.id.to_string());
    assert_eq!(detail, json!({ "entries": 1, "filtered_by": ["user"] }));
    // The names in an address may be anything; those of filters alone are in the audit.
    let browser = &mut member.browser;
    let odd = format!("/console/requests/export?country=DE&%2B{}=1", &phone[1..]);
    let page = browser.get("/console/requests").await.expect(200);
    let none = browser.submit(&page, &odd, &[]).await.expect(200);
    assert_eq!(none.text, format!("{heading}\r\n"));
    let (_, detail) = noted(&console, "requests_exported").await;
    assert_eq!(detail, json!({ "entries": 0, "filtered_by": ["country"] }));
    // A filter that cannot be read must not let everything out.
    for wrong in ["prefix=x", "prefix=989123456789"] {
        let wrong = format!("/console/requests/export?{wrong}");
        browser.submit(&page, &wrong, &[]).await.expect(400).shows("8 at most");
    }
    browser.submit(&page, "/console/requests/export?user=x", &[]).await.expect(404);
    let shown = browser.get("/console/audit?act=requests_exported").await.expect(200);
    shown.shows("exported requests");
    assert_eq!(shown.text.matches("filtered_by: ").count(), 2);
}

async fn blocks_are_exported_without_a_formula_or_a_phones_key(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let now = console.latchkey.clock.now();
    let blocks = Blocks::new(&console.latchkey.engines.sql);
    let block = |value: &str, reason: &str, until| Block {
        kind: BlockKind::Country,
        value: value.to_owned(),
        display: value.to_owned(),
        reason: reason.to_owned(),
        owner: "@SUM(A1)".to_owned(),
        until,
        created_at: now,
    };
    for (value, reason, until) in [
        ("DE", "=cmd|'/C calc'!A0", None),
        ("FR", "a\"b,=1", Some(now.plus_secs(60))),
        ("IT", "<b>bold</b>", Some(now)),
    ] {
        blocks.add(&block(value, reason, until), "test").await.unwrap();
    }
    let (browser, phone) = (&mut member.browser, new_phone());
    let page = browser.get("/console/blocks").await.expect(200);
    let fields = [("kind", "phone"), ("value", &phone), ("hours", "0"), ("reason", "-1")];
    browser.submit(&page, "/console/blocks", &fields).await.leads_to();
    let csv = export(browser, "/console/blocks", "/console/blocks/export").await.expect(200);
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"blocks.csv\"");
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let lines: Vec<_> = csv.text.lines().collect();
    assert_eq!(
        (lines[0], lines.len()),
        ("kind,value,reason,owner,created_at,until,is_in_force", 5)
    );
    for (part, is_in_force) in [
        ("\"country\",\"DE\",\"'=cmd|'/C calc'!A0\",\"'@SUM(A1)\",", true),
        ("\"country\",\"FR\",\"a\"\"b,=1\",", true),
        ("\"country\",\"IT\",\"<b>bold</b>\",", false),
        ("\"'-1\",\"Ada Lovelace\",", true),
    ] {
        let line = lines.iter().find(|line| line.contains(part)).expect(part);
        assert!(line.ends_with(&format!("\"{is_in_force}\"")), "{line}");
    }
    csv.shows("\"phone\",\"'+98");
    csv.hides(&phone[3..]);
    let key = console.latchkey.engines.keys.phone_key(&phone.parse().unwrap()).to_string();
    csv.hides(&key);
    let (actor, detail) = noted(&console, "blocks_exported").await;
    assert_eq!(actor, member.id.to_string());
    assert_eq!(detail, json!({ "entries": 4, "filtered_by": [] }));
}

async fn who_may_not_export_sees_no_button_and_gets_no_file(side: Side) {
    let console = Console::start(side).await;
    for role in [StaffRole::Viewer, StaffRole::Support] {
        let mut member = console.member(role).await;
        let home = member.browser.get("/console").await.expect(200);
        for list in ["/console/requests", "/console/blocks", "/console/audit"] {
            let page = member.browser.get(list).await.expect(200);
            page.hides("Export as CSV");
            let address = format!("{list}/export");
            let refused = member.browser.submit(&home, &address, &[]).await.expect(403);
            refused.shows("Only operator and above may export lists");
            // An export is a form: no link does it.
            let page = member.browser.get(&address).await;
            assert!(matches!(page.status, 404 | 405), "{address}: {}", page.status);
        }
    }
    for act in ["requests_exported", "blocks_exported", "audit_exported"] {
        let filter = accounts::AuditFilter { act: Some(act), ..Default::default() };
        assert!(console.audit.search(filter, None, 1).await.unwrap().is_empty(), "{act}");
    }
}
