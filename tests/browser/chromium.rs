//! A headless browser of one test: chromium, driven by chromedriver, both with folders and a port of their own and ended
//! with the test. It waits for conditions, types and clicks as a reader does, and collects what the console complains of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::folder::{Folder, free_port};
use testkit::guard::Ending;
use testkit::http::status_of;
use testkit::launch::START_LIMIT;
use testkit::server::{Launch, Server};
use testkit::{PATIENCE, in_time};
use url::{ParseError, Url};

pub(crate) struct Browser {
    pub client: Client,
    // Dropped in this order: the driver ends with its browser before their folder is removed.
    _driver: Server,
    _folder: Folder,
}

/// A command of chromedriver that fantoccini has no function for.
#[derive(Debug)]
pub(super) struct Command {
    pub path: &'static str,
    pub body: Value,
}

impl WebDriverCompatibleCommand for Command {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// Finds a program of Debian's packages, or says how to get it.
fn installed(name: &str, package: &str) -> PathBuf {
    let places = ["/usr/bin", "/usr/local/bin", "/usr/lib/chromium"].map(Path::new);
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not installed, and the browser tests need it: apt-get install chromium chromium-driver \
             ({name} is in {package})"
        )
    })
}

impl Browser {
    /// Starts the browser, at the width of a laptop.
    pub(crate) async fn start() -> Self {
        let folder = Folder::new("browser");
        let chromium = installed("chromium", "chromium");
        let (driver, port) = start_driver(&folder).await;
        let args = [
            "--headless=new",
            // The tests may run as root, and in containers whose shared memory is small.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--lang=en-US",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", folder.join("profile").display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium, "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect::<Capabilities>())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|e| panic!("start chromium: {e}\n{}", driver.output()));
        Self { client, _driver: driver, _folder: folder }
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|e| panic!("open {url}: {e}"));
    }

    /// Opens a page in a new tab, and goes on there; returns the tab that it left.
    pub(crate) async fn goto_in_new_tab(&self, url: &str) -> fantoccini::wd::WindowHandle {
        let left = self.client.window().await.expect("this tab");
        let tab = self.client.new_window(true).await.expect("a new tab");
        self.client.switch_to_window(tab.handle).await.expect("go to the new tab");
        self.goto(url).await;
        left
    }

    /// Goes on in another tab, and brings it to the front: a page in the back is not seen and may pause.
    pub(crate) async fn go_to_tab(&self, tab: fantoccini::wd::WindowHandle) {
        self.client.switch_to_window(tab).await.expect("go to the tab");
        self.devtools("Page.bringToFront", json!({})).await;
    }

    /// Waits until the probe returns something; fails with what the page shows.
    pub(crate) async fn eventually<T>(
        &self,
        what: &str,
        probe: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        match in_time(PATIENCE, probe).await {
            Some(found) => found,
            None => {
                let shown = self.run("return document.body.innerText", &[]).await;
                panic!("no {what}; the page shows {shown}, the console {:#?}", self.errors().await)
            }
        }
    }

    /// Waits for an element that is displayed.
    pub(crate) async fn find(&self, css: &str) -> Element {
        // In one step: a selector such as `:disabled` could stop to match between two.
        let shown = "return document.querySelector(arguments[0])?.checkVisibility() ?? false";
        self.eventually(css, async || {
            let is_shown = self.run(shown, &[json!(css)]).await == true;
            if is_shown { self.client.find(Locator::Css(css)).await.ok() } else { None }
        })
        .await
    }

    pub(crate) async fn click(&self, css: &str) {
        // A live part of a page may be replaced between the two steps.
        self.eventually(&format!("a click on {css}"), async || {
            match self.find(css).await.click().await {
                Ok(()) => Some(()),
                Err(error) if error.is_stale_element_reference() => None,
                Err(error) => panic!("click on {css}: {error}"),
            }
        })
        .await;
    }

    /// Types into a field, key by key; the characters of [`fantoccini::key::Key`] are keys.
    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let typed = self.find(css).await.send_keys(text).await;
        typed.unwrap_or_else(|e| panic!("type into {css}: {e}"));
    }

    pub(crate) async fn choose(&self, css: &str, value: &str) {
        let chosen = self.find(css).await.select_by_value(value).await;
        chosen.unwrap_or_else(|e| panic!("choose {value} in {css}: {e}"));
    }

    /// The text of an element, as it is in the document; empty if there is none.
    pub(crate) async fn text(&self, css: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
        let text = self.run(script, &[json!(css)]).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element is displayed and its text has this part; returns the text.
    pub(crate) async fn wait_for_text(&self, css: &str, part: &str) -> String {
        self.find(css).await;
        self.eventually(&format!("{part:?} in {css}"), async || {
            Some(self.text(css).await).filter(|text| text.contains(part))
        })
        .await
    }

    /// Waits until an expression of JavaScript is true.
    pub(crate) async fn wait_until(&self, expression: &str) {
        self.eventually(expression, async || {
            (self.run(&format!("return Boolean({expression})"), &[]).await == true).then_some(())
        })
        .await;
    }

    /// Runs the body of a function; policies of the page do not hold for it.
    pub(crate) async fn run(&self, script: &str, args: &[Value]) -> Value {
        let answer = self.client.execute(script, args.to_vec()).await;
        answer.unwrap_or_else(|e| panic!("run {}: {e}", &script[..script.len().min(200)]))
    }

    /// A command of the browser's own protocol, for what fantoccini lacks.
    pub(crate) async fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        let answer = self.client.issue_cmd(Command { path: "goog/cdp/execute", body }).await;
        answer.unwrap_or_else(|e| panic!("{command}: {e}"))
    }
}

/// Starts chromedriver on a free port, or another one if that was taken meanwhile.
async fn start_driver(folder: &Folder) -> (Server, u16) {
    let program = installed("chromedriver", "chromium-driver");
    let home = folder.path().display().to_string();
    let mut failures = String::new();
    for _ in 0..3 {
        let port = free_port();
        let mut driver = Server::new(Launch {
            program: program.clone(),
            args: vec![format!("--port={port}")],
            env: BTreeMap::from([
                ("HOME".to_owned(), home.clone()),
                ("TMPDIR".to_owned(), home.clone()),
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
                ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ]),
            folder: folder.path().to_owned(),
            log: folder.join("chromedriver.log"),
            owner: None,
            ending: Ending::Kill,
        });
        driver.spawn();
        let url = format!("http://127.0.0.1:{port}/status");
        match driver.try_ready(START_LIMIT, async || status_of(&url).await == Some(200)).await {
            Ok(()) => return (driver, port),
            Err(why) => failures.push_str(&why),
        }
    }
    panic!("{failures}");
}
