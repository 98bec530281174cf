//! The page as HTML, from the document.

use std::fmt::{self, Display, Write as _};

use serde_json::Value;

use crate::openapi::errors_page::{ErrorRow, errors};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The refusals of every call, which are said once.
const OF_EVERY_CALL: [&str; 6] = ["405", "413", "415", "431", "500", "503"];

/// A text in HTML: `code` between backticks is marked up, everything else is as it stands.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.split('`').enumerate() {
            let part = Escaped(part);
            if at % 2 == 1 { write!(f, "<code>{part}</code>")? } else { write!(f, "{part}")? }
        }
        Ok(())
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// One call of the document.
struct Call<'a> {
    path: &'a str,
    method: &'a str,
    operation: &'a Value,
}

impl Call<'_> {
    fn id(&self) -> &str {
        text(&self.operation["operationId"])
    }
}

/// The whole page.
pub(super) fn page(document: &Value) -> String {
    let mut html = String::new();
    write(&mut html, document).expect("a String takes every text");
    html
}

fn write(html: &mut String, document: &Value) -> fmt::Result {
    let info = &document["info"];
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0} API</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/docs/docs.css\">\n\
         <script src=\"/docs/docs.js\" defer></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the calls</a>\n<header>\n<h1>{0} API <small>{1}</small></h1>\n",
        Escaped(text(&info["title"])),
        Escaped(text(&info["version"])),
    )?;
    for paragraph in text(&info["description"]).split("\n\n") {
        writeln!(html, "<p>{}</p>", Text(paragraph))?;
    }
    html.push_str(
        "<p>A sign-in with a proof of the client's own key in the header <code>DPoP</code> (RFC 9449) gets a session that is \
         bound to that key: every later call, refresh and logout of it needs a new proof. This page makes none.</p>\n\
         <p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a>.</p>\n<p class=\"token\">\
         <label for=\"access\">Access token for the calls below</label>\n\
         <input id=\"access\" autocomplete=\"off\" spellcheck=\"false\" aria-describedby=\"access-note\">\n\
         <span id=\"access-note\">A sign-in on this page fills it in. It stays in this page and is gone with it.</span></p>\n\
         </header>\n",
    );
    let calls = calls(document);
    let tags = list(&document["tags"]);
    html.push_str("<nav aria-label=\"Calls\">\n");
    for tag in tags {
        let name = text(&tag["name"]);
        writeln!(html, "<h2><a href=\"#tag-{0}\">{0}</a></h2>\n<ul>", Escaped(name))?;
        for call in calls.iter().filter(|call| has_tag(call, name)) {
            let summary = Text(text(&call.operation["summary"]));
            writeln!(html, "<li><a href=\"#{}\">{summary}</a></li>", Escaped(call.id()))?;
        }
        html.push_str("</ul>\n");
    }
    html.push_str("<h2><a href=\"#errors\">errors</a></h2>\n</nav>\n<main id=\"main\">\n");
    for tag in tags {
        let (name, about) = (text(&tag["name"]), Text(text(&tag["description"])));
        writeln!(html, "<section>\n<h2 id=\"tag-{0}\">{0}</h2>\n<p>{about}</p>", Escaped(name))?;
        for call in calls.iter().filter(|call| has_tag(call, name)) {
            article(html, document, call)?;
        }
        html.push_str("</section>\n");
    }
    error_list(html)?;
    html.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

/// All calls, in the order of their paths.
fn calls(document: &Value) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let operations = METHODS.iter().filter_map(|method| Some((*method, item.get(*method)?)));
        calls.extend(operations.map(|(method, operation)| Call { path, method, operation }));
    }
    calls
}

fn has_tag(call: &Call<'_>, name: &str) -> bool {
    list(&call.operation["tags"]).iter().any(|tag| text(tag) == name)
}

fn article(html: &mut String, document: &Value, call: &Call<'_>) -> fmt::Result {
    let Call { path, method, operation } = *call;
    let id = Escaped(call.id());
    let signed_in = !list(&operation["security"]).is_empty();
    write!(
        html,
        "<article id=\"{id}\">\n<h3><span class=\"method {method}\">{}</span> <code>{}</code> {}</h3>\n<p>{}</p>\n",
        method.to_ascii_uppercase(),
        Escaped(path),
        Text(text(&operation["summary"])),
        Text(text(&operation["description"])),
    )?;
    if signed_in {
        html.push_str("<p class=\"needs\">Needs an access token.</p>\n");
    }
    // The proof is told of once, above; to make one takes a key, which this page has none of.
    let parameters: Vec<&Value> = list(&operation["parameters"])
        .iter()
        .map(|parameter| resolved(document, parameter))
        .filter(|parameter| parameter["name"] != "DPoP")
        .collect();
    fields(html, document, &parameters, &operation["requestBody"])?;
    answers(html, document, operation)?;
    form(html, call, signed_in, &parameters)?;
    html.push_str("</article>\n");
    Ok(())
}

/// What a call takes.
fn fields(html: &mut String, document: &Value, parameters: &[&Value], body: &Value) -> fmt::Result {
    let content = body["content"].as_object().and_then(|contents| contents.values().next());
    let schema = content.map(|content| body_schema(document, &content["schema"]));
    let properties = schema.and_then(|schema| schema["properties"].as_object());
    if parameters.is_empty() && properties.is_none() {
        return Ok(());
    }
    html.push_str("<h4>Takes</h4>\n<dl>\n");
    let mut row = |name: &str, place: &str, required: bool, about: &str| {
        let optional = if required { "" } else { ", optional" };
        let (name, about) = (Escaped(name), Text(about));
        writeln!(
            html,
            "<dt><code>{name}</code> <small>{place}{optional}</small></dt><dd>{about}</dd>"
        )
    };
    for parameter in parameters {
        let required = parameter["required"] == true;
        row(
            text(&parameter["name"]),
            text(&parameter["in"]),
            required,
            text(&parameter["description"]),
        )?;
    }
    let is_required = |name: &str| {
        schema.is_some_and(|schema| list(&schema["required"]).iter().any(|one| text(one) == name))
    };
    let mut properties: Vec<_> = properties.into_iter().flatten().collect();
    properties.sort_by_key(|(name, _)| !is_required(name));
    for (name, property) in properties {
        let about = match text(&property["description"]) {
            "" => text(&resolved(document, property)["description"]),
            own => own,
        };
        row(name, "body", is_required(name), about)?;
    }
    html.push_str("</dl>\n");
    Ok(())
}

/// The schema of a body, also of one that may be left out.
fn body_schema<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let of_many = list(&schema["oneOf"]).iter().find(|schema| schema.get("$ref").is_some());
    resolved(document, of_many.unwrap_or(schema))
}

/// What a call answers, and the example of its success.
fn answers(html: &mut String, document: &Value, operation: &Value) -> fmt::Result {
    html.push_str("<h4>Answers</h4>\n<dl>\n");
    let mut example = None;
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if OF_EVERY_CALL.contains(&status.as_str()) {
            continue;
        }
        let response = resolved(document, response);
        let mut contents = response["content"].as_object().into_iter().flat_map(|all| all.values());
        let what = match contents.next() {
            Some(content) if content.get("examples").is_some() => codes(content),
            content => {
                example = example.or_else(|| content?.get("example"));
                Text(text(&response["description"])).to_string()
            }
        };
        writeln!(html, "<dt>{}</dt><dd>{what}</dd>", Escaped(status))?;
    }
    html.push_str("</dl>\n");
    if let Some(example) = example {
        let shown = match example {
            Value::String(text) => text.clone(),
            json => format!("{json:#}"),
        };
        writeln!(html, "<pre tabindex=\"0\" aria-label=\"An answer\">{}</pre>", Escaped(&shown))?;
    }
    Ok(())
}

/// The codes of a refusal, each linked to its row.
fn codes(content: &Value) -> String {
    let examples = content["examples"].as_object().into_iter().flatten();
    let mut codes: Vec<&str> =
        examples.map(|(_, example)| text(&example["value"]["code"])).collect();
    codes.dedup();
    let links = codes.iter().map(|code| format!("<a href=\"#{0}\">{0}</a>", Escaped(code)));
    links.collect::<Vec<_>>().join(", ")
}

/// What sends the call from the page.
fn form(html: &mut String, call: &Call<'_>, signed_in: bool, parameters: &[&Value]) -> fmt::Result {
    let Call { path, method, operation } = *call;
    let id = Escaped(call.id());
    let content = operation["requestBody"]["content"].as_object().and_then(|all| all.iter().next());
    // A receipt has to be signed, and a stream does not end: neither is for a form.
    let is_stream = path.ends_with("/events");
    if content.is_some_and(|(media_type, _)| media_type != "application/json") || is_stream {
        return Ok(());
    }
    write!(
        html,
        "<details>\n<summary>Try it<span class=\"hidden\">: {}</span></summary>\n\
         <form data-method=\"{}\" data-path=\"{}\"{}>\n",
        Text(text(&operation["summary"])),
        method.to_ascii_uppercase(),
        Escaped(path),
        if signed_in { " data-signed-in" } else { "" },
    )?;
    for parameter in parameters {
        let (name, place) = (Escaped(text(&parameter["name"])), Escaped(text(&parameter["in"])));
        write!(
            html,
            "<p><label for=\"{id}-{name}\">{name}</label>\n\
             <input id=\"{id}-{name}\" data-in=\"{place}\" data-name=\"{name}\" autocomplete=\"off\" spellcheck=\"false\"></p>\n",
        )?;
    }
    if let Some((_, content)) = content {
        let example = format!("{:#}", content["example"]);
        write!(
            html,
            "<p><label for=\"{id}-body\">Body</label>\n<textarea id=\"{id}-body\" rows=\"{}\" spellcheck=\"false\">{}</textarea></p>\n",
            example.lines().count(),
            Escaped(&example),
        )?;
    }
    html.push_str("<p><button>Send</button></p>\n<output></output>\n</form>\n</details>\n");
    Ok(())
}

fn error_list(html: &mut String) -> fmt::Result {
    html.push_str(
        "<section>\n<h2 id=\"errors\">errors</h2>\n<p>Every refusal is a problem document (RFC 9457). Branch on \
         <code>code</code>. What has the status 405, 413, 415, 431, 500 or 503 may come from any call and is not repeated \
         there.</p>\n<dl>\n",
    );
    for ErrorRow { code, statuses, when, then, .. } in errors() {
        let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let (statuses, when, then) = (statuses.join(", "), Text(when), Text(then));
        writeln!(
            html,
            "<dt id=\"{code}\"><code>{code}</code> <small>{statuses}</small></dt><dd>{when}<br>{then}</dd>"
        )?;
    }
    html.push_str("</dl>\n</section>\n");
    Ok(())
}

/// What a reference leads to; anything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::document;

    #[test]
    fn the_page_shows_every_call_and_stays_small() {
        let document = document(true);
        let page = page(&document);
        for call in calls(&document) {
            assert!(page.contains(&format!("<article id=\"{}\">", call.id())), "{}", call.id());
        }
        for ErrorRow { code, .. } in errors() {
            assert!(page.contains(&format!("<dt id=\"{code}\">")), "{code}");
        }
        let files = include_str!("docs.css").len() + include_str!("docs.js").len();
        let weight = page.len() + files;
        assert!(weight < 60 * 1024, "{weight} bytes");
        for elsewhere in ["=\"http", "=\"//", "url("] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_text_is_no_markup() {
        let shown = Text("<b> \"x\" & `a<b`").to_string();
        assert_eq!(shown, "&lt;b&gt; &quot;x&quot; &amp; <code>a&lt;b</code>");
    }
}
