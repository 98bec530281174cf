//! Panels of lines over runs, as SVG. Light and dark backgrounds both show them.

use std::fmt::Write as _;

pub struct Panel {
    pub title: String,
    /// Drawn as a dashed line.
    pub bound: Option<f64>,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    /// One per run; `None` where a run did not measure it.
    pub values: Vec<Option<f64>>,
}

const LEFT: f64 = 50.0;
const RIGHT: f64 = LEFT + 560.0;
const LEGEND: f64 = 250.0;
const TITLE: f64 = 34.0;
const PLOT: f64 = 130.0;
const GAP: f64 = 20.0;
const NAMES: f64 = 120.0;
/// With more values than this the line alone is shown.
const MOST_CIRCLES: usize = 40;
const COLOURS: [&str; 5] = ["#2f6fde", "#d1651a", "#2a9161", "#a347ba", "#8a8a8a"];

/// `names` are those of the runs, under the lowest panel; an empty one is left out.
pub fn draw(names: &[String], panels: &[Panel]) -> String {
    let mut drawing = Drawing { body: String::new(), top: 0.0, most: 1.0, runs: names.len() };
    for panel in panels {
        drawing.panel(panel);
        drawing.top += TITLE + PLOT + GAP;
    }
    for (at, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        drawing.name(at, name);
    }
    let (width, height) = (RIGHT + LEGEND, drawing.top + NAMES);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#777\">\n{}</svg>\n",
        drawing.body
    )
}

struct Drawing {
    body: String,
    /// Where the panel begins, and what its upper edge stands for.
    top: f64,
    most: f64,
    runs: usize,
}

impl Drawing {
    fn panel(&mut self, panel: &Panel) {
        let values = panel.lines.iter().flat_map(|line| line.values.iter().flatten());
        let most = values.copied().chain(panel.bound).fold(0.0, f64::max);
        self.most = if most > 0.0 { most * 1.1 } else { 1.0 };
        let title = self.top + TITLE * 0.6;
        self.text((LEFT, title), r#"font-weight="bold""#, &panel.title);
        for part in [0.0, 0.5, 1.0] {
            let value = self.most * part;
            self.level(value, r##"stroke="#999" stroke-opacity=".3""##);
            let at = (LEFT - 6.0, self.y(value) + 4.0);
            self.text(at, r#"text-anchor="end""#, &format!("{value:.1}"));
        }
        if let Some(bound) = panel.bound {
            self.level(bound, r##"stroke="#c33" stroke-dasharray="5 4""##);
            let at = (RIGHT + 8.0, self.y(bound) + 4.0);
            self.text(at, r##"fill="#c33""##, &format!("bound {bound}"));
        }
        for (number, line) in panel.lines.iter().enumerate() {
            self.line(number, line);
        }
    }

    /// A line with a circle at each run, which shows name and value when pointed at, and its last value.
    fn line(&mut self, number: usize, line: &Line) {
        let colour = COLOURS[number % COLOURS.len()];
        let values = line.values.iter().enumerate();
        let points: Vec<_> =
            values.filter_map(|(at, value)| Some((self.x(at), (*value)?))).collect();
        let joined: Vec<_> =
            points.iter().map(|(x, value)| format!("{x:.1},{:.1}", self.y(*value))).collect();
        self.put(&format!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#,
            joined.join(" ")
        ));
        let circles = if self.runs <= MOST_CIRCLES { points.len() } else { 0 };
        for (x, value) in points.iter().take(circles) {
            self.put(&format!(
                r#"<circle cx="{x:.1}" cy="{:.1}" r="2.5" fill="{colour}"><title>{} {value:.2}</title></circle>"#,
                self.y(*value),
                escaped(&line.name)
            ));
        }
        let last = points.last().map_or_else(String::new, |(_, last)| format!(" {last:.2}"));
        let at = (RIGHT + 75.0, self.top + TITLE + 10.0 + 15.0 * offset(number));
        self.text(at, &format!(r#"fill="{colour}""#), &format!("{}{last}", line.name));
    }

    fn name(&mut self, run: usize, name: &str) {
        let (x, y) = (self.x(run), self.top + 6.0);
        let turned = format!(r#"text-anchor="end" transform="rotate(-45 {x:.1} {y:.1})""#);
        self.text((x, y), &turned, name);
    }

    fn level(&mut self, value: f64, style: &str) {
        let y = self.y(value);
        self.put(&format!(r#"<path d="M{LEFT} {y:.1}H{RIGHT}" {style}/>"#));
    }

    fn text(&mut self, (x, y): (f64, f64), style: &str, text: &str) {
        self.put(&format!(r#"<text x="{x:.1}" y="{y:.1}" {style}>{}</text>"#, escaped(text)));
    }

    fn x(&self, run: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * (offset(run) + 0.5) / offset(self.runs.max(1))
    }

    fn y(&self, value: f64) -> f64 {
        self.top + TITLE + PLOT * (1.0 - value / self.most)
    }

    fn put(&mut self, element: &str) {
        writeln!(self.body, "{element}").expect("writing to a string cannot fail");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a history has few runs")]
fn offset(number: usize) -> f64 {
    number as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
