//! Plots as inline SVG, in the colours of the page that they stand on.
//!
//! Knows nothing of what is plotted.

use std::fmt::Write;

/// A bar: its label, its length, between what it lies, what is written behind it, and whether it
/// is ours.
pub(crate) struct Bar {
    pub(crate) label: String,
    /// `None`: only the interval is drawn.
    pub(crate) value: Option<f64>,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) text: String,
    pub(crate) is_ours: bool,
}

/// Horizontal bars, with a line at 1.
pub(crate) fn bars(bars: &[Bar]) -> String {
    let longest = bars.iter().map(Bar::right).fold(1.0, f64::max);
    let scale = 340.0 / longest;
    let height = bars.len() * 22 + 6;
    let mut svg = format!("<svg viewBox='0 0 670 {height}' role='img'>\n");
    let label_x = BARS_X - 6.0;
    for (index, bar) in bars.iter().enumerate() {
        let (y, width) = (index * 22 + 4, (bar.value.unwrap_or(0.0) * scale).max(1.0));
        let class = if bar.is_ours { "ours" } else { "bar" };
        let (text_y, text_x) = (y + 13, BARS_X + 8.0 + bar.right() * scale);
        let _ = writeln!(
            svg,
            "<text x='{label_x}' y='{text_y}' text-anchor='end'>{label}</text>\
             <rect class='{class}' x='{BARS_X}' y='{y}' width='{width:.1}' height='18' rx='2'/>\
             <text x='{text_x:.1}' y='{text_y}'>{text}</text>",
            label = escaped(&bar.label),
            text = escaped(&bar.text),
        );
        if let Some((low, high)) = bar.interval {
            let (left, right) = (BARS_X + low * scale, BARS_X + high * scale);
            let (top, middle, bottom) = (y + 5, y + 9, y + 13);
            let _ = writeln!(
                svg,
                "<path class='interval' d='M{left:.1} {top}V{bottom}M{left:.1} {middle}\
                 H{right:.1}M{right:.1} {top}V{bottom}'/>"
            );
        }
    }
    let one = BARS_X + scale;
    let _ = writeln!(
        svg,
        "<line x1='{one:.1}' x2='{one:.1}' y1='0' y2='{height}'/></svg>"
    );
    svg
}

impl Bar {
    /// Where all that is drawn of it ends.
    fn right(&self) -> f64 {
        let interval = self.interval.map_or(0.0, |(_, high)| high);
        self.value.unwrap_or(0.0).max(interval)
    }
}

/// A curve: its label, whether it is ours, its points.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) is_ours: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves over a logarithmic scale both ways; a value of 0 stands at 1.
pub(crate) fn curves(lines: &[Line], x_title: &str, y_title: &str) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let log = |value: f64| value.max(1.0).log10();
    let (x_min, x_max) = decades(all().map(|(x, _)| log(*x)));
    let (y_min, y_max) = decades(all().map(|(_, y)| log(*y)));
    let x_of = |x: f64| 60.0 + (log(x) - x_min) / (x_max - x_min) * 540.0;
    let y_of = |y: f64| 270.0 - (log(y) - y_min) / (y_max - y_min) * 230.0;
    let mut svg = String::from("<svg viewBox='0 0 640 320' role='img'>\n");
    for decade in x_min as i32..=x_max as i32 {
        let (value, x) = (10f64.powi(decade), x_of(10f64.powi(decade)));
        let _ = writeln!(
            svg,
            "<line x1='{x:.1}' x2='{x:.1}' y1='40' y2='270'/>\
             <text x='{x:.1}' y='286' text-anchor='middle'>{value}</text>"
        );
    }
    for decade in y_min as i32..=y_max as i32 {
        let (value, y) = (10f64.powi(decade), y_of(10f64.powi(decade)));
        let _ = writeln!(
            svg,
            "<line x1='60' x2='600' y1='{y:.1}' y2='{y:.1}'/>\
             <text x='54' y='{y:.1}' text-anchor='end'>{value}</text>"
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let class = if line.is_ours { "ours" } else { "other" };
        let points = line.points.iter();
        let points: Vec<String> = points
            .map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class='{class}' points='{}'/>",
            points.join(" ")
        );
        // Above the plot, where no curve is.
        let (y, label) = (14 + index * 16, escaped(&line.label));
        let _ = writeln!(
            svg,
            "<text class='{class}' x='600' y='{y}' text-anchor='end'>{label}</text>"
        );
    }
    let _ = writeln!(
        svg,
        "<text x='330' y='308' text-anchor='middle'>{}</text><text x='8' y='14'>{}</text></svg>",
        escaped(x_title),
        escaped(y_title),
    );
    svg
}

/// The whole decades around some logarithms; at least one.
fn decades(logs: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for log in logs {
        (min, max) = (min.min(log), max.max(log));
    }
    if !min.is_finite() {
        return (0.0, 1.0);
    }
    (min.floor(), max.ceil().max(min.floor() + 1.0))
}

pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('\'', "&#39;")
}

/// Where bars begin: there is room for the longest name.
const BARS_X: f64 = 140.0;
