//! Staff sign in by phone and code, and by their password where they have one.

use accounts::StaffRole;
use reqwest::Method;
use serde_json::json;
use testkit::http::{new_phone, wrong};
use testkit::system::Side;

use super::browser::{Console, SESSION, VISIT};

testkit::both_sides!(
    staff_sign_in_by_a_code_and_find_the_page_they_wanted,
    the_pages_are_framed_kept_and_read_by_nobody_else,
    p4_a_wrong_code_at_the_console_costs_what_it_costs_at_a_login,
    p6_the_console_asks_everybody_for_a_code_alike,
    a_right_code_of_anyone_else_opens_nothing_and_creates_nothing,
    p3_a_code_is_used_at_the_console_or_in_the_app,
    a_password_is_the_second_factor_where_there_is_one,
    p4_wrong_passwords_at_the_console_count_as_at_a_sign_in,
    no_token_of_the_app_opens_the_console,
);

const PASSWORD: &str = "violet anchor breeze 42 lagoon";

async fn staff_sign_in_by_a_code_and_find_the_page_they_wanted(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, _) = console.account(Some(StaffRole::Support)).await;
    let mut browser = console.browser();
    let wanted = browser.get("/console/nowhere?q=%2B98&x=1").await;
    let login = "/console/login?next=%2Fconsole%2Fnowhere%3Fq%3D%252B98%26x%3D1";
    assert_eq!(wanted.leads_to(), login);
    let first = browser.get(login).await.expect(200);
    let next = first.field("next");
    assert_eq!(next, "/console/nowhere?q=%2B98&#38;x=1");
    let fields = [("phone_number", phone.as_str()), ("next", "/console/nowhere?q=%2B98&x=1")];
    let second = browser.submit(&first, "/console/login", &fields).await.expect(200);
    // The first text was that of the app.
    let code = console.latchkey.api().code(&phone, 2).await;
    let spaced = format!(" {} {} ", &code[..3], &code[3..]);
    let request = second.field("request_id");
    let fields = [
        ("phone_number", phone.as_str()),
        ("request_id", request.as_str()),
        ("otp", spaced.as_str()),
        ("next", "/console/nowhere?q=%2B98&x=1"),
    ];
    let done = browser.submit(&second, "/console/login/code", &fields).await;
    assert_eq!(done.leads_to(), "/console/nowhere?q=%2B98&x=1");
    let home = browser.get("/console").await.expect(200);
    home.shows("Ada Lovelace");
    home.shows("support");
    browser.get("/console/nowhere").await.expect(404).shows("no such page");
    assert_eq!(console.count(&id.to_string(), "console_signed_in").await, 1);
    assert_eq!(console.latchkey.api().status(&request).await.text("status"), "verified");
}

async fn the_pages_are_framed_kept_and_read_by_nobody_else(side: Side) {
    let console = Console::start(side).await;
    let (_, phone, _) = console.account(Some(StaffRole::Viewer)).await;
    let mut browser = console.browser();
    let first = browser.get("/console/login").await.expect(200);
    let visit = first.header("set-cookie").to_owned();
    let (second, code) = browser.ask(&phone).await;
    let opened = browser.enter(&second, &code).await;
    let session = opened
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|set| set.to_str().unwrap().to_owned())
        .find(|set| set.starts_with(SESSION))
        .unwrap();
    for set in [visit, session] {
        for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(set.split("; ").any(|it| it == attribute), "{set}");
        }
        assert!(!set.contains("Domain"), "{set}");
    }
    let home = browser.get("/console").await.expect(200);
    let missing = browser.get("/console/nowhere").await.expect(404);
    for page in [&first, &home, &missing] {
        let policy = page.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        for inline in ["<script>", "style=", "onclick", "http://", "https://"] {
            page.hides(inline);
        }
    }
    let style = home.text.split("href=\"/console/style.css").nth(1).unwrap();
    let style = format!("/console/style.css{}", &style[..style.find('"').unwrap()]);
    let style = console.browser().get(&style).await.expect(200);
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.header("cache-control").contains("immutable"));
}

async fn p4_a_wrong_code_at_the_console_costs_what_it_costs_at_a_login(side: Side) {
    let console = Console::start(side).await;
    let (_, phone, _) = console.account(Some(StaffRole::Owner)).await;
    let mut browser = console.browser();
    let (second, code) = browser.ask(&phone).await;
    let bad = wrong(&code, 1);
    for left in (0..5).rev() {
        let page = browser.enter(&second, &bad).await.expect(401);
        page.shows(&format!("{left} attempt"));
        page.hides(SESSION);
    }
    let page = browser.enter(&second, &code).await.expect(429);
    assert!(page.header("retry-after").parse::<u64>().unwrap() > 0);
    console.latchkey.api().login(&phone, &code).await.problem(429, "otp_attempts_exhausted");
    let malformed = browser.enter(&second, "12ab56").await.expect(400);
    malformed.shows("role=\"alert\"");
    assert_eq!(browser.get("/console").await.status, 303);
}

async fn p6_the_console_asks_everybody_for_a_code_alike(side: Side) {
    let console = Console::start(side).await;
    let (_, staff, _) = console.account(Some(StaffRole::Owner)).await;
    let (_, user, _) = console.account(None).await;
    let mut pages = Vec::new();
    for phone in [staff, user, new_phone()] {
        let mut browser = console.browser();
        let first = browser.get("/console/login").await.expect(200);
        let fields = [("phone_number", phone.as_str())];
        let page = browser.submit(&first, "/console/login", &fields).await.expect(200);
        let names: Vec<_> = page.headers.keys().map(ToString::to_string).collect();
        let text = page.text.replace(&page.field("request_id"), "REQUEST");
        let text = text
            .replace(&page.field("token"), "TOKEN")
            .replace(&page.field("phone_number"), "PHONE");
        pages.push((names, text));
    }
    assert_eq!(pages[0], pages[1]);
    assert_eq!(pages[0], pages[2]);
    let mut browser = console.browser();
    let first = browser.get("/console/login").await;
    let odd = browser.submit(&first, "/console/login", &[("phone_number", "<b>12</b>")]).await;
    odd.clone().expect(400).shows("not a mobile number");
    odd.hides("<b>12");
}

async fn a_right_code_of_anyone_else_opens_nothing_and_creates_nothing(side: Side) {
    let console = Console::start(side).await;
    let (user, known, _) = console.account(None).await;
    let (blocked_id, blocked, _) = console.account(Some(StaffRole::Owner)).await;
    let now = console.latchkey.clock.now();
    assert!(console.accounts.block(blocked_id, "left", "test", now).await.unwrap());
    let unknown = new_phone();
    for phone in [&known, &blocked, &unknown] {
        let mut browser = console.browser();
        let (second, code) = browser.ask(phone).await;
        let refused = browser.enter(&second, &code).await.expect(403);
        refused.shows("may not use the console");
        assert!(!browser.cookies.contains_key(SESSION));
        assert_eq!(browser.get("/console").await.leads_to(), "/console/login");
        // The code is used all the same.
        console.latchkey.api().login(phone, &code).await.problem(401, "otp_incorrect");
    }
    assert_eq!(console.accounts.by_phone(&unknown.parse().unwrap()).await.unwrap(), None);
    assert_eq!(console.count(&user.to_string(), "console_refused").await, 1);
    assert_eq!(console.count(&blocked_id.to_string(), "console_refused").await, 1);
}

async fn p3_a_code_is_used_at_the_console_or_in_the_app(side: Side) {
    let console = Console::start(side).await;
    let (_, phone, _) = console.account(Some(StaffRole::Owner)).await;
    let api = console.latchkey.api();
    let mut browser = console.browser();
    let (second, code) = browser.ask(&phone).await;
    let mut other = browser.clone();
    let (one, two) = tokio::join!(browser.enter(&second, &code), other.enter(&second, &code));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 401], "one code, one session");
    api.login(&phone, &code).await.problem(401, "otp_incorrect");
    let mut third = console.browser();
    let (second, code) = third.ask(&phone).await;
    api.login(&phone, &code).await.expect(200);
    third.enter(&second, &code).await.expect(401);
}

async fn set_password(console: &Console, access: &str) {
    let body = json!({ "password": PASSWORD });
    let api = console.latchkey.api();
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body)).await.expect(204);
}

async fn a_password_is_the_second_factor_where_there_is_one(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, login) = console.account(Some(StaffRole::Operator)).await;
    set_password(&console, login["access"].as_str().unwrap()).await;
    let mut browser = console.browser();
    let asked = browser.sign_in(&phone).await;
    assert_eq!(asked.leads_to(), "/console/login/password?next=%2Fconsole");
    assert_eq!(browser.get("/console").await.leads_to(), "/console/login/password");
    assert_eq!(console.count(&id.to_string(), "console_signed_in").await, 0);
    let form = browser.get("/console/login/password").await.expect(200);
    let path = "/console/login/password";
    let bad = browser.submit(&form, path, &[("password", "not the password")]).await.expect(401);
    bad.shows("not accepted");
    let without_token = [("password", PASSWORD)];
    browser.send(Method::POST, path, Some(&without_token), &[]).await.expect(403);
    let half = browser.cookies[SESSION].clone();
    let done = browser.submit(&form, path, &[("password", PASSWORD)]).await;
    assert_eq!(done.leads_to(), "/console");
    browser.get("/console").await.expect(200).shows("operator");
    assert_ne!(browser.cookies[SESSION], half, "the session has a new name");
    let mut thief = console.browser();
    thief.cookies.insert(SESSION.to_owned(), half);
    assert_eq!(thief.get("/console").await.leads_to(), "/console/login");
    assert_eq!(console.count(&id.to_string(), "console_signed_in").await, 1);
    // A password that does not come in time is awaited no more.
    let mut late = console.browser();
    late.sign_in(&phone).await;
    console.latchkey.advance(601);
    assert_eq!(late.get(path).await.leads_to(), "/console/login");
}

async fn p4_wrong_passwords_at_the_console_count_as_at_a_sign_in(side: Side) {
    let console = Console::start(side).await;
    let (_, phone, login) = console.account(Some(StaffRole::Operator)).await;
    set_password(&console, login["access"].as_str().unwrap()).await;
    let mut browser = console.browser();
    browser.sign_in(&phone).await;
    let path = "/console/login/password";
    let form = browser.get(path).await.expect(200);
    for _ in 0..10 {
        browser.submit(&form, path, &[("password", "not the password")]).await.expect(401);
    }
    // Right or wrong, it is not judged now; nor is it at the API.
    let waits = browser.submit(&form, path, &[("password", PASSWORD)]).await.expect(429);
    assert!(waits.header("retry-after").parse::<u64>().unwrap() > 0);
    let body = json!({ "phone_number": phone, "password": PASSWORD });
    console.latchkey.api().post("/v1/token", body).await.problem(429, "too_many_requests");
    console.latchkey.advance(31);
    let done = browser.submit(&form, path, &[("password", PASSWORD)]).await;
    assert_eq!(done.leads_to(), "/console");
}

async fn no_token_of_the_app_opens_the_console(side: Side) {
    let console = Console::start(side).await;
    let (_, _, login) = console.account(Some(StaffRole::Owner)).await;
    let mut browser = console.browser();
    let access = login["access"].as_str().unwrap();
    let bearer = format!("Bearer {access}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(browser.send(Method::GET, "/console", None, &headers).await.status, 303);
    for name in [SESSION, VISIT, "session"] {
        browser.cookies.insert(name.to_owned(), access.to_owned());
        assert_eq!(browser.get("/console").await.status, 303, "{name}");
    }
    browser.cookies.insert(SESSION.to_owned(), "0".repeat(64));
    assert_eq!(browser.get("/console").await.status, 303);
}
