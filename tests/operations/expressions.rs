//! The selectors of expressions that Prometheus reads, held against the catalogue: a rule on a metric or a label value that
//! does not exist never fires, and nobody notices.

use service::telemetry::catalogue::{Kind, METRICS, Metric, Values};

use super::Alert;

/// A metric of ours in an expression, with its matchers: label, operator, value.
#[derive(Debug, PartialEq, Eq)]
struct Selector<'a> {
    metric: &'a str,
    matchers: Vec<(&'a str, &'a str, &'a str)>,
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Every selector of a metric whose name begins with `latchkey_`.
fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let starts = expression.match_indices("latchkey_").map(|(at, _)| &expression[at..]);
    starts
        .map(|rest| {
            let end = rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len());
            let matchers = rest[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let matchers = matchers.map_or("", |(matchers, _)| matchers);
            Selector { metric: &rest[..end], matchers: split(matchers) }
        })
        .collect()
}

/// `a="x",b=~"y|z"`, apart.
fn split(matchers: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    let mut rest = matchers;
    while let Some((head, tail)) = rest.split_once('"') {
        let (value, after) = tail.split_once('"').expect("a value ends");
        let head = head.trim_start_matches([',', ' ']);
        let end = head.find(|c| !is_of_a_name(c)).unwrap_or(head.len());
        found.push((&head[..end], &head[end..], value));
        rest = after;
    }
    found
}

/// The metric of a series: a histogram has three.
fn metric(series: &str) -> Option<&'static Metric> {
    let named = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    named(series).filter(|metric| metric.kind != Kind::Histogram).or_else(|| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end))?;
        named(base).filter(|metric| metric.kind == Kind::Histogram)
    })
}

/// What an expression names that does not exist.
pub(super) fn unknown(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    for Selector { metric: series, matchers } in selectors(expression) {
        let Some(metric) = metric(series) else {
            found.push(format!("no metric has the series {series}"));
            continue;
        };
        for (label, operator, value) in matchers {
            // What Prometheus adds itself.
            if matches!(label, "job" | "instance" | "le") {
                continue;
            }
            let Some((_, values)) = metric.labels.iter().find(|(name, _)| *name == label) else {
                found.push(format!("{series} has no label {label}"));
                continue;
            };
            let Values::Words(words) = values else { continue };
            let words = words();
            let wanted: Vec<_> =
                if operator.ends_with('~') { value.split('|').collect() } else { vec![value] };
            // A variable of a dashboard begins with a dollar.
            let wanted = wanted.into_iter().filter(|wanted| !wanted.starts_with('$'));
            let wanted = wanted.filter(|wanted| !words.contains(wanted));
            found.extend(wanted.map(|wanted| format!("{series}: {label} is never {wanted}")));
        }
    }
    found
}

#[test]
fn an_alert_names_only_metrics_labels_and_values_that_exist() {
    let mut of_ours = 0;
    for alert in Alert::all() {
        let expression = alert.expression();
        assert!(!expression.is_empty(), "{}", alert.name);
        of_ours += selectors(&expression).len();
        let unknown = unknown(&expression);
        assert!(unknown.is_empty(), "{}: {unknown:?}", alert.name);
    }
    assert!(of_ours > 60, "{of_ours} selectors were found");
}

#[test]
fn what_does_not_exist_is_found() {
    let expression = r#"sum(rate(latchkey_sms_total{status=~"sent|sold",country="IR"}[5m])) > latchkey_gone and
        latchkey_dead_letters{instance="a",queue!="otp-worker",colour="red"} > latchkey_event_lag_seconds"#;
    let sold = Selector {
        metric: "latchkey_sms_total",
        matchers: vec![("status", "=~", "sent|sold"), ("country", "=", "IR")],
    };
    assert_eq!(selectors(expression)[0], sold);
    assert_eq!(
        unknown(expression),
        [
            "latchkey_sms_total: status is never sold",
            "no metric has the series latchkey_gone",
            "latchkey_dead_letters has no label colour",
            "no metric has the series latchkey_event_lag_seconds",
        ]
    );
    let buckets = r#"latchkey_event_lag_seconds_bucket{type!="otp.texted.v2"}"#;
    assert_eq!(unknown(buckets), Vec::<String>::new());
}
