//! One page about a run, which needs nothing else: its figures, and its plots as inline SVG.
//!
//! Light or dark as the reader's system is. Knows a report, and how to draw.

use std::fmt::Write as _;
use std::time::Duration;

use crate::report::{Report, count, per_second, percent, rate, time};

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut html = String::new();
    let title = escaped(&report.title);
    html += &format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for doubt in report.doubts() {
        html += &format!(
            "<p class=\"caution\"><b>Caution:</b> {}</p>\n",
            escaped(&doubt)
        );
    }
    html += &figures(report);
    if report.good > 0 {
        html += &by_percentile(report);
    }
    html += &over_time(report);
    html += &terms(report);
    html += "</body>\n</html>\n";
    html
}

fn figures(report: &Report) -> String {
    let mut html = String::from("<div class=\"figures\">\n");
    let mut figure = |name: &str, value: String| {
        html += &format!(
            "<div><b>{}</b><span>{}</span></div>\n",
            escaped(&value),
            escaped(name)
        );
    };
    figure("requests", count(report.good));
    figure("errors", count(report.error_count()));
    figure("requests/s", rate(report.rate()));
    for (name, value) in &report.latencies {
        if report.good > 0 {
            figure(name, time(*value));
        }
    }
    figure("of a CPU for this client", percent(report.busy));
    html += "</div>\n";
    html
}

/// Latency by percentile; both axes are logarithmic, so that the last thousandth is seen.
fn by_percentile(report: &Report) -> String {
    let latencies = report.curve.iter().map(|(_, value)| value.as_secs_f64());
    let nines = report.good.max(10) as f64;
    let y = Axis::logarithmic(latencies);
    let x_of = |part: f64| (1.0 / (1.0 - part).max(1.0 / nines)).log10();
    let x = Axis {
        low: 0.0,
        high: nines.log10().ceil().max(1.0),
        is_logarithmic: false,
    };
    let mut plot = Plot::new("Latency by percentile");
    for decade in 0..=x.high as i32 {
        let part = 1.0 - 10_f64.powi(-decade);
        let digits = (decade - 2).max(0) as usize;
        plot.x_tick(
            &x,
            f64::from(decade),
            &format!("{:.digits$} %", part * 100.0),
        );
    }
    plot.y_ticks(&y, seconds);
    let points = report.curve.iter();
    plot.line(
        "p50",
        points.map(|(part, value)| (x.at(x_of(*part)), y.at(value.as_secs_f64()))),
    );
    plot.end(&[])
}

/// What happened when: how much, how long it took, what failed.
fn over_time(report: &Report) -> String {
    let ends = report.points.iter().map(|point| point.at.as_secs_f64());
    let x = Axis {
        low: 0.0,
        high: ends.fold(0.0, f64::max).max(1e-3),
        is_logarithmic: false,
    };
    let at = |point: &crate::stats::Point| {
        let middle = point.at.saturating_sub(point.len / 2);
        x.at(middle.as_secs_f64())
    };
    let plots = [("Requests a second", false), ("Errors a second", true)];
    let mut html = String::new();
    for (title, is_errors) in plots {
        let value = |point: &crate::stats::Point| {
            let number = if is_errors {
                point.errors
            } else {
                point.requests
            };
            per_second(number, point.len)
        };
        let y = Axis::from_zero(report.points.iter().map(value));
        let mut plot = Plot::new(title);
        plot.x_ticks(&x, |at| moment(&x, at));
        plot.y_ticks(&y, short);
        let class = if is_errors { "errors" } else { "p50" };
        plot.line(class, report.points.iter().map(|p| (at(p), y.at(value(p)))));
        html += &plot.end(&[]);
        if !is_errors && report.good > 0 {
            html += &latency_over_time(report, &x, at);
        }
    }
    html
}

fn latency_over_time(
    report: &Report,
    x: &Axis,
    at: impl Fn(&crate::stats::Point) -> f64,
) -> String {
    // While nothing was answered there is no latency, and no line.
    let spells: Vec<&[crate::stats::Point]> = report
        .points
        .split(|point| point.requests == 0)
        .filter(|spell| !spell.is_empty())
        .collect();
    let answered = spells.iter().copied().flatten();
    let y = Axis::logarithmic(
        answered.flat_map(|point| [point.p50.as_secs_f64(), point.p99.as_secs_f64()]),
    );
    let mut plot = Plot::new("Latency over time");
    plot.x_ticks(x, |at| moment(x, at));
    plot.y_ticks(&y, seconds);
    for spell in spells {
        let line = |value: fn(&crate::stats::Point) -> Duration| {
            let (at, y) = (&at, &y);
            spell
                .iter()
                .map(move |p| (at(p), y.at(value(p).as_secs_f64())))
        };
        plot.line("p50", line(|point| point.p50));
        plot.line("p99", line(|point| point.p99));
    }
    plot.end(&["p50", "p99"])
}

fn terms(report: &Report) -> String {
    let mut html = String::from("<h2>Terms and errors</h2>\n<table>\n");
    let mut row = |name: &str, value: &str| {
        html += &format!(
            "<tr><th>{}</th><td>{}</td></tr>\n",
            escaped(name),
            escaped(value)
        );
    };
    for (name, value) in report.terms.as_object().into_iter().flatten() {
        if !value.is_null() {
            row(&name.replace('_', " "), &value.to_string());
        }
    }
    for (why, number) in &report.errors {
        row(&format!("errors: {}", why.name()), &count(*number));
    }
    if let Some(first) = &report.first_failure {
        row("the first error", first);
    }
    html += "</table>\n";
    html
}

/// From values to places between 0 and 1.
struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Axis {
    /// Whole decades around the values, which are positive.
    fn logarithmic(values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::MAX, 0_f64);
        for value in values.filter(|value| *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if high == 0.0 {
            (low, high) = (1e-6, 1e-5);
        }
        let (low, mut high) = (low.log10().floor(), high.log10().ceil());
        if high <= low {
            high = low + 1.0;
        }
        Axis {
            low,
            high,
            is_logarithmic: true,
        }
    }

    fn from_zero(values: impl Iterator<Item = f64>) -> Axis {
        let high = values.fold(0.0, f64::max);
        let step = nice_step(high);
        Axis {
            low: 0.0,
            high: if high > 0.0 {
                (high / step).ceil() * step
            } else {
                1.0
            },
            is_logarithmic: false,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic {
            value.max(1e-12).log10()
        } else {
            value
        };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Where to write values.
    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            return (self.low as i32..=self.high as i32)
                .map(|decade| 10_f64.powi(decade))
                .collect();
        }
        let step = nice_step(self.high);
        let count = ((self.high / step) + 1e-9) as u32;
        (0..=count).map(|index| f64::from(index) * step).collect()
    }
}

/// A round step that cuts the way from 0 to `high` into about five.
fn nice_step(high: f64) -> f64 {
    if high <= 0.0 {
        return 1.0;
    }
    let rough = high / 5.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.into_iter().find(|step| step * decade >= rough);
    step.unwrap_or(10.0) * decade
}

/// A plot that is being drawn.
struct Plot {
    title: &'static str,
    svg: String,
}

impl Plot {
    fn new(title: &'static str) -> Plot {
        Plot {
            title,
            svg: String::new(),
        }
    }

    fn x_ticks(&mut self, axis: &Axis, text: impl Fn(f64) -> String) {
        for tick in axis.ticks() {
            self.x_tick(axis, tick, &text(tick));
        }
    }

    fn x_tick(&mut self, axis: &Axis, tick: f64, text: &str) {
        let x = LEFT + axis.at(tick) * WIDTH;
        let (top, bottom, text_y) = (TOP, TOP + HEIGHT, TOP + HEIGHT + 20.0);
        self.add(format_args!(
            "<path class=\"grid\" d=\"M{x:.1} {top:.0}V{bottom:.0}\"/>\
             <text x=\"{x:.1}\" y=\"{text_y:.0}\" text-anchor=\"middle\">{text}</text>"
        ));
    }

    fn y_ticks(&mut self, axis: &Axis, text: impl Fn(f64) -> String) {
        for tick in axis.ticks() {
            let y = TOP + HEIGHT - axis.at(tick) * HEIGHT;
            let (right, text_x, text_y) = (LEFT + WIDTH, LEFT - 8.0, y + 4.0);
            let text = text(tick);
            self.add(format_args!(
                "<path class=\"grid\" d=\"M{LEFT:.0} {y:.1}H{right:.0}\"/>\
                 <text x=\"{text_x:.0}\" y=\"{text_y:.1}\" text-anchor=\"end\">{text}</text>"
            ));
        }
    }

    /// Places are between 0 and 1 both ways, from left to right and upwards.
    fn line(&mut self, class: &str, places: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut count = 0;
        let mut last = (0.0, 0.0);
        for (x, y) in places {
            last = (LEFT + x * WIDTH, TOP + HEIGHT - y * HEIGHT);
            let letter = if count == 0 { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            _ = write!(path, "{letter}{:.1} {:.1}", last.0, last.1);
            count += 1;
        }
        if count == 1 {
            let (x, y) = last;
            self.add(format_args!(
                "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
            ));
        }
        self.add(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        _ = writeln!(self.svg, "{what}");
    }

    /// The plot with its title, and a key to the lines of these classes.
    fn end(self, key: &[&str]) -> String {
        let (title, svg) = (self.title, self.svg);
        let (width, height) = (LEFT + WIDTH + 32.0, TOP + HEIGHT + 32.0);
        let key: String = key
            .iter()
            .map(|class| format!(" <span class=\"key {class}\">{class}</span>"))
            .collect();
        format!(
            "<h2>{title}{key}</h2>\n<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-label=\"{title}\">\n{svg}</svg>\n"
        )
    }
}

/// A time since the beginning, on that axis.
fn moment(axis: &Axis, at: f64) -> String {
    if axis.high < 1.0 {
        format!("{} ms", short(at * 1e3))
    } else {
        format!("{} s", short(at))
    }
}

fn seconds(value: f64) -> String {
    // Decades: no digits behind the point.
    let text = time(Duration::from_secs_f64(value));
    text.replace(".00", "").replace(".0 ", " ")
}

/// A number with a letter for thousands and millions.
fn short(number: f64) -> String {
    let (number, letter) = match number {
        _ if number >= 1e6 => (number / 1e6, "M"),
        _ if number >= 1e4 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{letter}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

// Of a plot, in the units of its view box.
const LEFT: f64 = 72.0;
const TOP: f64 = 12.0;
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 240.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #667; --grid: #e3e5e8;
  --one: #1565c0; --two: #d84315; --bad: #c62828; --box: #f4f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --paper: #16181c; --soft: #9aa3ad;
  --grid: #2e3238; --one: #64b5f6; --two: #ffab91; --bad: #ef9a9a; --box: #22252b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 920px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; overflow-wrap: anywhere; } h2 { font-size: 1.05em; margin: 2em 0 .4em; }
.figures { display: flex; flex-wrap: wrap; gap: .6em; }
.figures div { background: var(--box); border-radius: 6px; padding: .5em .9em; }
.figures b { display: block; font-size: 1.15em; font-variant-numeric: tabular-nums; }
.figures span { color: var(--soft); font-size: .85em; }
.caution { border-left: 4px solid var(--bad); background: var(--box); padding: .5em .9em; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--grid); fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.p50 { stroke: var(--one); } .line.p99 { stroke: var(--two); }
.line.errors { stroke: var(--bad); }
.dot.p50 { fill: var(--one); } .dot.p99 { fill: var(--two); } .dot.errors { fill: var(--bad); }
.key { font-weight: normal; font-size: .85em; margin-left: .8em; }
.key::before { content: ''; display: inline-block; width: 1.4em; border-top: 3px solid;
  vertical-align: middle; margin-right: .4em; }
.key.p50 { color: var(--one); } .key.p99 { color: var(--two); }
table { border-collapse: collapse; } th { text-align: left; font-weight: normal; color: var(--soft);
  padding-right: 1.5em; } td { font-variant-numeric: tabular-nums; }
";
