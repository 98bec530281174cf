//! The audit: filtered by its address, every id a link, exported so that no spreadsheet runs it.

use accounts::StaffRole;
use serde_json::json;
use testkit::system::Side;

use super::browser::Console;

testkit::both_sides!(
    the_audit_is_filtered_by_its_address,
    an_export_holds_no_formula_and_is_itself_in_the_audit,
);

async fn the_audit_is_filtered_by_its_address(side: Side) {
    let console = Console::start(side).await;
    let (id, _, _) = console.account(None).await;
    let mut member = console.member(StaffRole::Operator).await;
    let now = console.latchkey.clock.now();
    console.accounts.block(id, "first of all", "ada", now).await.unwrap();
    console.latchkey.advance(60);
    console.accounts.unblock(id, "grace", console.latchkey.clock.now()).await.unwrap();
    let day = &now.to_string()[..10];
    let later = now.plus_secs(2 * 86_400).to_string()[..10].to_owned();
    let rows = async |query: &str, browser: &mut super::browser::Browser| {
        let page = browser.get(&format!("/console/audit{query}")).await.expect(200);
        (page.text.contains(">blocked the account<"), page.text.contains(">unblocked the account<"))
    };
    let browser = &mut member.browser;
    for (query, found) in [
        (String::new(), (true, true)),
        (format!("?subject={id}"), (true, true)),
        ("?actor=ada".to_owned(), (true, false)),
        ("?actor=grace".to_owned(), (false, true)),
        ("?act=user_blocked".to_owned(), (true, false)),
        ("?act=signed_in".to_owned(), (false, false)),
        (format!("?subject={id}&actor=grace&act=user_unblocked"), (false, true)),
        (format!("?subject={id}&actor=ada&act=user_unblocked"), (false, false)),
        (format!("?since={day}"), (true, true)),
        (format!("?since={later}"), (false, false)),
        (format!("?until={later}"), (true, true)),
        (format!("?until={day}"), (false, false)),
        (format!("?since={}", now.plus_secs(30)), (false, true)),
        ("?actor=nobody%27%20OR%201=1".to_owned(), (false, false)),
    ] {
        assert_eq!(rows(&query, browser).await, found, "{query}");
    }
    let page = browser.get(&format!("/console/audit?subject={id}")).await.expect(200);
    page.shows(&format!("<a href=\"/console/users/{id}\">Ada Lovelace</a>"));
    page.shows("reason: first of all");
}

async fn an_export_holds_no_formula_and_is_itself_in_the_audit(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let now = console.latchkey.clock.now();
    for actor in ["=cmd|'/C calc'!A0", "+1+1", "-1", "@SUM(A1)", "\tx", "a\"b,=1"] {
        console.audit.add(now, actor, "tested", "all", &json!({ "x": actor })).await.unwrap();
    }
    let browser = &mut member.browser;
    let page = browser.get("/console/audit?act=tested").await.expect(200);
    let csv = browser.submit(&page, "/console/audit/export?act=tested", &[]).await.expect(200);
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.header("content-disposition").starts_with("attachment"));
    let lines: Vec<_> = csv.text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("id,at,actor,act,subject,detail", 7));
    for field in csv.text.split(['\n', ',']).map(|field| field.trim_start_matches('"')) {
        let first = field.chars().next();
        assert!(!first.is_some_and(|c| "=+-@\t".contains(c)) || field.starts_with("=1"), "{field}");
    }
    csv.shows("\"a\"\"b,=1\"");
    csv.shows("\"'=cmd|'/C calc'!A0\"");
    let noted = browser.get("/console/audit?act=audit_exported").await.expect(200);
    noted.shows("exported the audit");
    noted.shows("entries: 6");
}
