//! Lists and searches: whatever staff have in hand leads to the account or the request, a page at a time.

use accounts::StaffRole;
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::{Console, Page};

testkit::both_sides!(
    one_box_finds_an_account_by_whatever_staff_have_in_hand,
    lists_come_in_pages_and_no_page_is_large,
);

async fn one_box_finds_an_account_by_whatever_staff_have_in_hand(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let (api, phone) = (console.latchkey.api(), new_phone());
    let request = api.signup(&phone, "Zoë", "van der Berg").await.expect(202).text("request_id");
    let code = api.code(&phone, 1).await;
    let user =
        api.login(&phone, &code).await.expect(200).body["user"]["id"].as_str().unwrap().to_owned();
    let home = member.browser.get("/console").await.expect(200);
    let mut find = async |what: &str| -> Page {
        member.browser.submit(&home, "/console/find", &[("what", what)]).await
    };
    let (address, rest) = (format!("/console/users/{user}"), &phone[3..]);
    for writing in [
        phone.clone(),
        format!("0098{rest}"),
        format!("+98 {} {} {}", &rest[..3], &rest[3..6], &rest[6..]),
        format!("  +98-{}.{}  ", &rest[..3], &rest[3..]),
        user.clone(),
        user.to_uppercase(),
    ] {
        assert_eq!(find(&writing).await.leads_to(), address, "{writing}");
    }
    assert_eq!(find(&request).await.leads_to(), format!("/console/requests/{request}"));
    let last = &phone[phone.len() - 4..];
    assert_eq!(find(last).await.leads_to(), format!("/console/users?digits={last}"));
    assert_eq!(find(&format!("…{last}")).await.leads_to(), format!("/console/users?digits={last}"));
    for name in ["Zoë", "zo", "van", "VAN DER", "Zoë van", "zoë van der berg"] {
        let list = find(name).await.leads_to().to_owned();
        member_sees(&console, &list, &address, true).await;
    }
    member_sees(&console, "/console/users?name=Zoe%25", &address, false).await;
    member_sees(&console, "/console/users?name=der", &address, false).await;
    member_sees(&console, &format!("/console/users?digits={last}"), &address, true).await;
    member_sees(&console, "/console/users?digits=%25", &address, false).await;
    let unknown = new_phone();
    let nothing = find(&unknown).await.expect(404);
    nothing.shows("Nothing found");
    nothing.hides(&unknown[3..]);
    find("00000000-0000-7000-8000-000000000000").await.expect(404);
    find("+++").await.expect(404);
    let mut member = console.member(StaffRole::Viewer).await;
    let opened = member.browser.get(&format!("/console/find/{request}")).await;
    assert_eq!(opened.leads_to(), format!("/console/requests/{request}"));
    member.browser.get("/console/find/nothing").await.expect(404);
}

async fn member_sees(console: &Console, list: &str, address: &str, is_there: bool) {
    let mut member = console.member(StaffRole::Viewer).await;
    let page = member.browser.get(list).await.expect(200);
    assert_eq!(page.text.contains(address), is_there, "{list}");
}

async fn lists_come_in_pages_and_no_page_is_large(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    for _ in 0..4 {
        console.created().await;
    }
    let browser = &mut member.browser;
    for (list, mark) in [
        ("/console/users", "href=\"/console/users/0"),
        ("/console/requests", "href=\"/console/requests/0"),
        ("/console/audit", "<td data-label=\"When\">"),
    ] {
        let whole = browser.get(list).await.expect(200).text.matches(mark).count();
        let (mut seen, mut address) = (0, format!("{list}?limit=1"));
        for _ in 0..100 {
            let page = browser.get(&address).await.expect(200);
            let rows = page.text.matches(mark).count();
            seen += rows;
            let Some(next) = page.text.split("href=\"").find(|it| it.contains("rel=\"next\""))
            else {
                break;
            };
            address = next[..next.find('"').unwrap()].replace("&#38;", "&");
            assert!(address.contains("before="), "{address}");
        }
        // The header links to the page of whoever looks, on each page once.
        assert!(seen >= whole && whole > 1, "{list}: {seen} of {whole}");
        for limit in ["1000000000", "99999999999999999999", "-1", "x", "0"] {
            browser.get(&format!("{list}?limit={limit}")).await.expect(200);
        }
        for before in ["x", "-1", "0.x", "99999999999999999999999", "%00", "'"] {
            browser.get(&format!("{list}?before={before}")).await.expect(200);
        }
    }
}
