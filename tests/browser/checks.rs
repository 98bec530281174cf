//! What is true of every page: it fits its screen, bars nobody, weighs little, and its console has no error. And pictures
//! of it, for people to judge the rest.

use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};
use testkit::process::program;

use crate::browser::chromium::{Browser, Command};

const AXE: &str = include_str!("axe/axe.min.js");

/// The widths at which a page is looked at, in CSS pixels: a small phone and a laptop.
pub(crate) const WIDTHS: [u32; 2] = [360, 1280];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    pub(crate) const BOTH: [Self; 2] = [Self::Light, Self::Dark];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Browser {
    /// Shows pages at this width, and in light or dark colours.
    pub(crate) async fn look(&self, width: u32, scheme: Scheme) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme.name() },
            // Nothing moves while it is looked at: a colour on its way to another has the contrast of neither.
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Writes a picture of the whole page to `screenshots` in the target folder.
    pub(crate) async fn shot(&self, name: &str) {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.devtools("Page.captureScreenshot", whole).await;
        let data = answer["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        let built = program("latchkey");
        let target = built.parent().and_then(Path::parent).expect("target/PROFILE/latchkey");
        let folder = target.join("screenshots");
        std::fs::create_dir_all(&folder).expect("make the folder of screenshots");
        std::fs::write(folder.join(format!("{name}.png")), bytes).expect("write the screenshot");
    }

    /// What axe finds serious or critical on this page.
    pub(crate) async fn barriers(&self) -> Vec<String> {
        self.run(AXE, &[]).await;
        let script = "const done = arguments[arguments.length - 1]; \
            axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations), (e) => done(`${e}`));";
        let found = self.client.execute_async(script, Vec::new()).await.expect("run axe");
        let found = found.as_array().unwrap_or_else(|| panic!("axe failed: {found}"));
        let heavy =
            |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
        let line = |found: &Value| {
            let nodes = found["nodes"].as_array().into_iter().flatten();
            let nodes: Vec<String> = nodes
                .map(|node| node["failureSummary"].to_string() + &node["html"].to_string())
                .collect();
            format!("{}: {} {nodes:?}", found["id"], found["help"])
        };
        found.iter().filter(heavy).map(line).collect()
    }

    /// Fails if the page is wider than the screen.
    pub(crate) async fn fits(&self, what: &str) {
        let [page, screen] =
            ["document.documentElement.scrollWidth", "document.documentElement.clientWidth"]
                .map(|width| format!("return {width}"));
        let (page, screen) = (self.run(&page, &[]).await, self.run(&screen, &[]).await);
        assert!(page.as_u64() <= screen.as_u64(), "{what} scrolls sideways: {page} on {screen}");
    }

    /// What the page and all that it loaded weigh, in bytes, as they are before any compression.
    pub(crate) async fn weight(&self) -> u64 {
        let script = "return ['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type)) \
            .reduce((sum, entry) => sum + entry.decodedBodySize, 0)";
        self.run(script, &[]).await.as_u64().expect("a number of bytes")
    }

    /// Fails if the console has an error since the last call, such as a script that the page's policy refused. `status`:
    /// answers of the server that the test provoked, which the console lists as errors.
    pub(crate) async fn no_errors(&self, status: &[u16]) {
        let provoked = |text: &str| {
            status
                .iter()
                .any(|status| text.contains(&format!("responded with a status of {status}")))
        };
        let errors: Vec<String> =
            self.errors().await.into_iter().filter(|text| !provoked(text)).collect();
        assert!(errors.is_empty(), "the console has errors: {errors:#?}");
    }

    /// The errors in the console since the last call.
    pub(crate) async fn errors(&self) -> Vec<String> {
        let lines =
            self.client.issue_cmd(Command { path: "se/log", body: json!({ "type": "browser" }) });
        let lines = lines.await.expect("read the console");
        let lines = lines.as_array().into_iter().flatten();
        let errors = lines.filter(|line| line["level"] == "SEVERE");
        errors.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
