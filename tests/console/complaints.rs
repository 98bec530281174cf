//! What staff complain of at other consoles, and is not so here: the tests of docs/console.md's table that no other room has.

use std::collections::{BTreeSet, VecDeque};

use accounts::{BlockKind, StaffRole};
use reqwest::Method;
use serde_json::json;
use testkit::http::new_phone;
use testkit::proxy::Fault;
use testkit::system::{Side, System};
use testkit::{PATIENCE, eventually};

use super::browser::{Browser, Console, Page};

testkit::both_sides!(
    every_link_of_the_console_leads_somewhere,
    no_id_on_a_page_leads_nowhere,
    acts_of_commands_and_of_staff_are_in_one_list,
);

/// The pages that a viewer reaches by links alone, with their addresses.
async fn all_pages(browser: &mut Browser) -> Vec<(String, Page)> {
    const MOST: usize = 400;
    let mut waiting = VecDeque::from(["/console".to_owned()]);
    let (mut known, mut pages) = (BTreeSet::from(["/console".to_owned()]), Vec::new());
    while let Some(address) = waiting.pop_front() {
        let page = browser.get(&address).await;
        assert!(page.status < 400, "{address}: {} {}", page.status, page.text);
        let links = page.text.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
        for (link, _) in links {
            let link = link.replace("&#38;", "&").replace("&amp;", "&");
            let link = link.split('#').next().unwrap_or_default().to_owned();
            if link.starts_with('/') && known.len() < MOST && known.insert(link.clone()) {
                waiting.push_back(link);
            }
        }
        pages.push((address, page));
    }
    pages
}

/// A console in which something has happened.
async fn lived_in(side: Side) -> Console {
    let console = Console::start(side).await;
    let (id, phone, login) = console.account(None).await;
    let now = console.latchkey.clock.now();
    let api = console.latchkey.api();
    api.otp(&new_phone()).await.expect(202);
    api.blacklist(login["refresh"].as_str().unwrap()).await.expect(200);
    console.accounts.block(id, "left", "test", now).await.unwrap();
    console.accounts.unblock(id, "test", now).await.unwrap();
    let mut support = console.member(StaffRole::Operator).await;
    let home = support.browser.get("/console/blocks").await.expect(200);
    let kind = BlockKind::Prefix.as_str();
    let fields =
        [("kind", kind), ("value", "263772"), ("hours", "24"), ("reason", "numbers for sale")];
    support.browser.submit(&home, "/console/blocks", &fields).await.leads_to();
    let user = format!("/console/users/{id}");
    let page = support.browser.get(&user).await.expect(200);
    let sent = support.browser.submit(&page, &format!("{user}/resend"), &[]).await;
    let request = sent.leads_to().rsplit('/').next().unwrap().to_owned();
    eventually("the text in the ledger", PATIENCE, async || {
        let page = support.browser.get(&format!("/console/requests/{request}")).await;
        page.text.contains("inbox took it").then_some(())
    })
    .await;
    let detail = json!({ "request": request, "sessions": [id] });
    console.audit.add(now, "test", "an_act_of_tests", &request, &detail).await.unwrap();
    assert!(!phone.is_empty());
    console
}

async fn every_link_of_the_console_leads_somewhere(side: Side) {
    let console = lived_in(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let pages = all_pages(&mut member.browser).await;
    for start in ["/console/requests/", "/console/users/", "/console/audit?act="] {
        assert!(pages.iter().any(|(address, _)| address.starts_with(start)), "none of {start}");
    }
    for (address, page) in pages.iter().filter(|(_, page)| page.status == 200) {
        if address.starts_with("/console") && page.header("content-type").starts_with("text/html") {
            assert_eq!(page.text.matches("<h1").count(), 1, "{address}");
            assert!(page.text.contains("aria-label=\"Console\""), "{address}");
            assert!(page.text.len() < 60 * 1024, "{address} weighs {}", page.text.len());
        }
    }
}

/// The ids in what a reader sees of a page and cannot click on, but for the one that the page is about.
fn bare_ids(address: &str, page: &Page) -> Vec<String> {
    let main = page.text.split("<main").nth(1).unwrap_or_default();
    let mut bare = Vec::new();
    for piece in main.split("<a ").map(|piece| piece.split_once("</a>").map_or(piece, |it| it.1)) {
        let texts = piece.split('<').filter_map(|tag| tag.split_once('>')).map(|(_, text)| text);
        for text in texts {
            let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
            let ids = words.filter(|word| word.len() == 36 && word.matches('-').count() == 4);
            bare.extend(ids.filter(|id| !address.contains(*id)).map(str::to_owned));
        }
    }
    bare
}

async fn no_id_on_a_page_leads_nowhere(side: Side) {
    let console = lived_in(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    for (address, page) in all_pages(&mut member.browser).await {
        if page.status == 200 && address.starts_with("/console") {
            let bare = bare_ids(&address, &page);
            assert!(bare.is_empty(), "{address} shows ids that are no links: {bare:?}");
        }
    }
}

async fn acts_of_commands_and_of_staff_are_in_one_list(side: Side) {
    let console = Console::start(side).await;
    let (id, phone) = console.created().await;
    let mut member = console.member(StaffRole::Operator).await;
    let user = format!("/console/users/{id}");
    let page = member.browser.get(&user).await.expect(200);
    let fields = [("reason", "left the company")];
    member.browser.submit(&page, &format!("{user}/block"), &fields).await.leads_to();
    let now = console.latchkey.clock.now();
    assert!(console.accounts.unblock(id.parse().unwrap(), "operator:grace", now).await.unwrap());
    let list = member.browser.get(&format!("/console/audit?subject={id}")).await.expect(200);
    for text in ["blocked the account", "left the company", "operator:grace", "unblocked"] {
        list.shows(text);
    }
    list.shows(&format!("/console/users/{}", member.id));
    list.hides(&phone[3..]);
    let of_staff = format!("/console/audit?subject={id}&actor={}", member.id);
    let list = member.browser.get(&of_staff).await.expect(200);
    list.shows("blocked the account");
    list.hides("operator:grace");
}

/// A screen that fails says so, with the id under which the log has it, and within the time of any other answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_without_its_engine_says_so_with_its_request_id() {
    let (system, mut proxy, _) = System::with_database_proxy().await;
    let phone = new_phone();
    system.run(&["users", "create", &phone]);
    system.run(&["staff", "grant", &phone, "operator"]);
    let mut browser = Browser::new(&system.api());
    assert_eq!(browser.sign_in(&phone).await.leads_to(), "/console");
    let home = browser.get("/console").await.expect(200);
    let nav = home.text.split("aria-label=\"Console\"").nth(1).unwrap();
    let nav = nav.split("</nav>").next().unwrap();
    let links = nav.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let pages: Vec<_> = links.map(|(link, _)| link.to_owned()).collect();
    assert!(pages.len() > 4, "{pages:?}");
    proxy.set(Fault::Refuse).await;
    for page in &pages {
        let answer = browser.send(Method::GET, page, None, &[]).await;
        assert_eq!(answer.status, 503, "{page}: {}", answer.text);
        assert!(!answer.header("retry-after").is_empty(), "{page}");
        answer.shows("Something that Latchkey needs is away");
        answer.shows(answer.header("x-request-id"));
    }
    let find = browser.submit(&home, "/console/find", &[("what", &phone)]).await;
    assert_eq!(find.status, 503);
    proxy.set(Fault::None).await;
    for page in &pages {
        eventually("the page again", PATIENCE, async || {
            (browser.get(page).await.status == 200).then_some(())
        })
        .await;
    }
}
