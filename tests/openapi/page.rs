//! `/docs` as it is served.

use testkit::both_sides;
use testkit::system::{Side, System};

both_sides!(the_page_of_the_api_comes_from_this_server_alone);

async fn the_page_of_the_api_comes_from_this_server_alone(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    for path in ["/docs", "/docs/"] {
        let page = api.get(path).await.expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        let html = page.body.as_str().expect("a text");
        assert!(html.contains("<article id=\"logIn\">") && html.contains("/v1/login"));
        for (tag, attribute) in [("<script", "src"), ("<link", "href")] {
            for element in html.split(tag).skip(1) {
                let source = element.split(&format!("{attribute}=\"")).nth(1).expect("a source");
                let source = source.split('"').next().expect("its end");
                assert!(source.starts_with("/docs/") || source == "data:,", "{source}");
            }
        }
        assert!(!html.contains("<style") && !html.contains(" onclick="), "nothing inline");
    }
    for (file, media_type) in
        [("docs.css", "text/css; charset=utf-8"), ("docs.js", "text/javascript; charset=utf-8")]
    {
        let answer = api.get(&format!("/docs/{file}")).await.expect(200);
        assert_eq!(answer.header("content-type"), Some(media_type));
    }
    api.get("/docs/router.rs").await.problem(404, "not_found");
}
