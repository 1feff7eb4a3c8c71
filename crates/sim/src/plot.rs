//! Draw curves and bars as SVG, readable in light and dark.
//!
//! The colours follow the reader's scheme (`prefers-color-scheme`), so a page and a viewer of files both show them well. Blue,
//! orange and green are told apart by most who cannot see all colours, and each curve has its own dashes besides.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 54.0;
/// Marks that an axis has about.
const MARKS: f64 = 8.0;
/// Curves that have a colour of their own.
const COLOURS: usize = 3;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}\
.axis{stroke:#555}.grid{stroke:#ddd}.back{fill:#fff}\
.c0{stroke:#0b62a8;fill:#0b62a8}.c1{stroke:#c25400;fill:#c25400}.c2{stroke:#1d7a3e;fill:#1d7a3e}\
polyline{fill:none!important;stroke-width:2}.c1.line{stroke-dasharray:7 3}.c2.line{stroke-dasharray:2 3}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#aaa}.grid{stroke:#3a3a3a}.back{fill:#161616}\
.c0{stroke:#6db4f2;fill:#6db4f2}.c1{stroke:#ff9d57;fill:#ff9d57}.c2{stroke:#6fd18f;fill:#6fd18f}}";

/// Curves over a common axis.
pub(crate) struct Lines {
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    pub series: Vec<Series>,
}

/// A curve.
pub(crate) struct Series {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Groups of bars.
pub(crate) struct Bars {
    pub title: String,
    pub y: &'static str,
    /// What the bars of each group are.
    pub names: Vec<&'static str>,
    pub groups: Vec<(String, Vec<f64>)>,
}

impl Lines {
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::new(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::new(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut sheet = Sheet::new(&self.title);
        sheet.y_axis(&y, self.y);
        for (value, label) in x.marks() {
            let at = x.place(value);
            sheet.line("axis", (at, HEIGHT - BOTTOM), (at, HEIGHT - BOTTOM + 5.0));
            sheet.text("middle", (at, HEIGHT - BOTTOM + 20.0), &label);
        }
        sheet.text("middle", ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0), self.x);
        for (number, series) in self.series.iter().enumerate() {
            let mut corners = String::new();
            for (x_value, y_value) in &series.points {
                // Writing to a string cannot fail.
                let _ = write!(corners, "{:.1},{:.1} ", x.place(*x_value), y.place(*y_value));
            }
            let corners = corners.trim_end();
            sheet.put(&format!("<polyline class=\"c{} line\" points=\"{corners}\"/>", number % COLOURS));
        }
        sheet.legend(self.series.iter().map(|series| series.name), true);
        sheet.finish()
    }
}

impl Bars {
    pub fn svg(&self) -> String {
        let values = self.groups.iter().flat_map(|(_, values)| values.iter().copied());
        let y = Axis::new(values, HEIGHT - BOTTOM, TOP);
        let mut sheet = Sheet::new(&self.title);
        sheet.y_axis(&y, self.y);
        let room = (WIDTH - RIGHT - LEFT) / self.groups.len().max(1) as f64;
        let width = (room * 0.8 / self.names.len().max(1) as f64).min(60.0);
        for (group, (name, values)) in self.groups.iter().enumerate() {
            let middle = LEFT + room * (group as f64 + 0.5);
            let first = middle - width * values.len() as f64 / 2.0;
            for (number, value) in values.iter().enumerate() {
                let (left, top) = (first + width * number as f64, y.place(*value));
                let height = (HEIGHT - BOTTOM - top).max(0.0);
                sheet.put(&format!(
                    "<rect class=\"c{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                    number % COLOURS,
                    width - 2.0,
                ));
            }
            sheet.text("middle", (middle, HEIGHT - BOTTOM + 20.0), name);
        }
        sheet.legend(self.names.iter().copied(), false);
        sheet.finish()
    }
}

/// An axis from 0 (or the least value, below it) to a round number.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / MARKS;
        let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
        let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
        let step = factor * power;
        Self { low: libm::floor(low / step) * step, high: libm::ceil((low + span) / step) * step, step, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn marks(&self) -> Vec<(f64, String)> {
        // A dozen at most.
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(|number| self.low + self.step * number as f64).map(|value| (value, self.label(value))).collect()
    }

    fn label(&self, value: f64) -> String {
        let digits = if self.step >= 1.0 { 0 } else { (-libm::floor(libm::log10(self.step))).clamp(0.0, 9.0) as usize };
        let text = format!("{value:.digits$}");
        match text.split_once('.') {
            Some(_) => text,
            None => grouped(&text),
        }
    }
}

/// Thousands apart.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

struct Sheet {
    text: String,
}

impl Sheet {
    fn new(title: &str) -> Self {
        let title = escaped(title);
        let mut sheet = Self { text: String::new() };
        sheet.put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        ));
        sheet.put(&format!("<style>{STYLE}</style>"));
        sheet.put("<rect class=\"back\" width=\"100%\" height=\"100%\"/>");
        sheet.put(&format!("<text class=\"title\" x=\"{LEFT}\" y=\"24\">{title}</text>"));
        sheet
    }

    fn put(&mut self, element: &str) {
        self.text.push_str(element);
        self.text.push('\n');
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(&format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"));
    }

    fn text(&mut self, anchor: &str, at: (f64, f64), text: &str) {
        let (x, y) = at;
        self.put(&format!("<text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text)));
    }

    fn y_axis(&mut self, axis: &Axis, name: &str) {
        for (value, label) in axis.marks() {
            let at = axis.place(value);
            self.line("grid", (LEFT, at), (WIDTH - RIGHT, at));
            self.text("end", (LEFT - 8.0, at + 4.0), &label);
        }
        self.line("axis", (LEFT, TOP), (LEFT, HEIGHT - BOTTOM));
        self.line("axis", (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM));
        let (x, y) = (16.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let name = escaped(name);
        self.put(&format!(
            "<text text-anchor=\"middle\" transform=\"rotate(-90 {x} {y})\" x=\"{x}\" y=\"{y}\">{name}</text>"
        ));
    }

    fn legend<'a>(&mut self, names: impl Iterator<Item = &'a str>, lines: bool) {
        let mut left = LEFT;
        for (number, name) in names.enumerate() {
            let class = number % COLOURS;
            if lines {
                let (right, y) = (left + 28.0, 42.0);
                self.put(&format!("<polyline class=\"c{class} line\" points=\"{left:.1},{y} {right:.1},{y}\"/>"));
            } else {
                let x = left + 8.0;
                self.put(&format!("<rect class=\"c{class}\" x=\"{x:.1}\" y=\"36\" width=\"12\" height=\"12\"/>"));
            }
            self.text("start", (left + 34.0, 46.0), name);
            // About the width of a letter.
            left += 54.0 + 7.2 * name.len() as f64;
        }
    }

    fn finish(mut self) -> String {
        self.put("</svg>");
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
