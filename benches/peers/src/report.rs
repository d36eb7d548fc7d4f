//! The report: tables as Markdown, and a page of its own with plots.
//!
//! Measures nothing.

use std::fmt::Write;

use super::measure::{Row, Spread};
use super::peers::{self, Peer};
use super::svg::{self, Bar, Line, escaped};
use super::workload::{Shape, Workload};

/// Everything that was measured.
pub(crate) struct Report {
    rounds: usize,
    seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) calls: Vec<(Workload, Peer, Result<f64, String>)>,
    /// Before a message was sent, and after.
    pub(crate) memory: Vec<(Workload, Peer, Result<[f64; 2], String>)>,
    pub(crate) curves: Vec<Curve>,
}

/// How the cost of a message grows.
pub(crate) struct Curve {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) peer: Peer,
    /// Nanoseconds of CPU time.
    pub(crate) points: Vec<(f64, Spread)>,
}

impl Curve {
    /// Nanoseconds per unit, by least squares: over the whole range, so that it is the large
    /// values that count.
    fn slope(&self) -> f64 {
        let count = self.points.len() as f64;
        let x_mean = self.points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y_mean = self.points.iter().map(|(_, y)| y.median).sum::<f64>() / count;
        let (mut over, mut under) = (0.0, 0.0);
        for (x, y) in &self.points {
            over += (x - x_mean) * (y.median - y_mean);
            under += (x - x_mean).powi(2);
        }
        over / under
    }
}

impl Report {
    pub(crate) fn new(rounds: usize, seconds: f64) -> Report {
        Report {
            rounds,
            seconds,
            rows: Vec::new(),
            calls: Vec::new(),
            memory: Vec::new(),
            curves: Vec::new(),
        }
    }

    pub(crate) fn markdown(&self) -> String {
        markdown(&self.tables())
    }

    /// Of the workload that was measured last, while others go on.
    pub(crate) fn last_row(&self) -> String {
        let last = self.rows.last().map(|row| self.costs(row));
        markdown(last.as_slice())
    }

    pub(crate) fn html(&self) -> String {
        let mut out = String::from(HEAD);
        let _ = writeln!(
            out,
            "<h1>windlass beside its peers</h1><p>{}</p>",
            self.method()
        );
        for row in &self.rows {
            let _ = writeln!(out, "<h2>{}</h2>{}", peers::name(row.workload), bars(row));
        }
        let mut curves = &self.curves[..];
        while let Some(first) = curves.first() {
            let same = curves.iter().take_while(|curve| curve.title == first.title);
            let (these, rest) = curves.split_at(same.count());
            curves = rest;
            let lines: Vec<Line> = these.iter().map(line).collect();
            let _ = writeln!(out, "<h2>Growth with {}</h2>", first.title);
            let plot = svg::curves(&lines, first.unit, "ns of CPU time per message");
            let _ = writeln!(out, "{plot}");
        }
        for table in self.tables() {
            let _ = writeln!(out, "<h2>{}</h2><table>", escaped(&table.title));
            for (index, row) in table.rows.iter().enumerate() {
                let tag = if index == 0 { "th" } else { "td" };
                let cells = row
                    .iter()
                    .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
                let _ = writeln!(out, "<tr>{}</tr>", cells.collect::<String>());
            }
            out.push_str("</table>\n");
        }
        out.push_str("</main></body></html>\n");
        out
    }

    fn method(&self) -> String {
        format!(
            "{} rounds of {} s; the server on one core, the load on another. CPU time per message \
             as a multiple of the bare loop's in the same round: the median, and the range.",
            self.rounds, self.seconds
        )
    }

    fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = self.rows.iter().map(|row| self.costs(row)).collect();
        if !self.calls.is_empty() {
            tables.push(self.system_calls());
        }
        if !self.memory.is_empty() {
            tables.push(self.memories());
        }
        if !self.curves.is_empty() {
            tables.push(self.growth());
        }
        tables
    }

    fn costs(&self, row: &Row) -> Table {
        let is_rate = matches!(row.workload.shape(), Shape::Rate { .. });
        let name = peers::name(row.workload);
        let mut table = Table::new(
            format!(
                "{name}, CPU time per message ({} x {} s)",
                self.rounds, self.seconds
            ),
            &["", "ratio (range)", "CPU", "user", "system", "per second"],
        );
        if is_rate {
            table.rows[0].extend(["p50", "p99"].map(str::to_owned));
        }
        for peer in row.rounds.keys() {
            let us = |part: fn(&super::measure::Cost) -> f64| {
                let median = row.median(*peer, part).unwrap_or(f64::NAN);
                format!("{:.2} µs", median / 1e3)
            };
            let per_second = row.median(*peer, |cost| cost.per_second);
            let mut cells = vec![
                peer.name(),
                row.ratio(*peer).map_or_else(String::new, told),
                us(|cost| cost.cpu_ns),
                us(|cost| cost.user_ns),
                us(|cost| cost.system_ns),
                format!("{:.0}", per_second.unwrap_or(f64::NAN)),
            ];
            if is_rate {
                cells.push(us(|cost| cost.p50_us * 1e3));
                cells.push(us(|cost| cost.p99_us * 1e3));
            }
            table.rows.push(cells);
        }
        for (peer, why) in &row.failed {
            table
                .rows
                .push(vec![peer.name(), format!("not measured: {why}")]);
        }
        table.fill();
        table
    }

    fn system_calls(&self) -> Table {
        let title = "System calls per message, of a single client that waits for each reply";
        let mut table = Table::new(title.into(), &["", "server", "calls"]);
        for (workload, peer, calls) in &self.calls {
            let calls = match calls {
                Ok(calls) => format!("{calls:.2}"),
                Err(why) => format!("not measured: {why}"),
            };
            table
                .rows
                .push(vec![peers::name(*workload), peer.name(), calls]);
        }
        table
    }

    fn memories(&self) -> Table {
        let title = "Bytes of memory per idle connection, of 15,000";
        let mut table = Table::new(title.into(), &["", "server", "never sent", "after one"]);
        for (workload, peer, memory) in &self.memory {
            let mut cells = vec![peers::name(*workload), peer.name()];
            match memory {
                Ok(both) => cells.extend(both.map(|len| format!("{len:.0}"))),
                Err(why) => cells.push(format!("not measured: {why}")),
            }
            table.rows.push(cells);
        }
        table.fill();
        table
    }

    fn growth(&self) -> Table {
        let title = "Growth: CPU time per message, and its slope over the whole range";
        let mut table = Table::new(title.into(), &["with", "server", "slope", "points"]);
        for curve in &self.curves {
            let points = curve.points.iter();
            let points: Vec<String> = points
                .map(|(at, cost)| format!("{at}: {:.2} µs{}", cost.median / 1e3, remark(cost)))
                .collect();
            table.rows.push(vec![
                curve.title.to_owned(),
                curve.peer.name(),
                format!("{:.4} ns each", curve.slope()),
                points.join(", "),
            ]);
        }
        table
    }
}

struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: String, head: &[&str]) -> Table {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        let rows = vec![head];
        Table { title, rows }
    }

    /// Every row has as many cells as the first.
    fn fill(&mut self) {
        let width = self.rows[0].len();
        for row in &mut self.rows {
            row.resize(width, String::new());
        }
    }
}

fn markdown(tables: &[Table]) -> String {
    let mut out = String::new();
    for table in tables {
        let _ = writeln!(out, "\n{}\n", table.title);
        for (index, row) in table.rows.iter().enumerate() {
            let _ = writeln!(out, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(out, "|{}", "---|".repeat(row.len()));
            }
        }
    }
    out
}

/// A number, unless nothing can be told from it.
fn told(ratio: Spread) -> String {
    let Spread {
        median, min, max, ..
    } = ratio;
    if ratio.is_one() {
        return format!("one round tells nothing ({median:.2})");
    }
    if ratio.is_wide() {
        return format!("too wide to tell ({min:.2} to {max:.2})");
    }
    format!("{median:.2} ({min:.2} to {max:.2})")
}

fn remark(cost: &Spread) -> String {
    if !cost.is_wide() {
        return String::new();
    }
    format!(
        " (too wide: {:.2} to {:.2})",
        cost.min / 1e3,
        cost.max / 1e3
    )
}

fn bars(row: &Row) -> String {
    let mut bars: Vec<Bar> = Vec::new();
    for peer in row.rounds.keys() {
        if let Some(ratio) = row.ratio(*peer) {
            bars.push(Bar {
                label: peer.name(),
                value: if ratio.is_wide() { 0.0 } else { ratio.median },
                text: told(ratio),
                is_ours: *peer == Peer::Windlass,
            });
        }
    }
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    svg::bars(&bars)
}

fn line(curve: &Curve) -> Line {
    let points = curve.points.iter();
    Line {
        label: format!("{}: {:.4} ns each", curve.peer.name(), curve.slope()),
        is_ours: curve.peer == Peer::Windlass,
        points: points.map(|(x, cost)| (*x, cost.median)).collect(),
    }
}

const HEAD: &str = "<!doctype html><html lang='en'><head><meta charset='utf-8'>\
<meta name='viewport' content='width=device-width'><title>windlass beside its peers</title><style>
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #ccc; --ours: #0a7; \
--bar: #89a; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #161616; --faint: #444; \
--ours: #2c9; --bar: #678; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 60rem; margin: auto; padding: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .7rem; border-bottom: 1px solid var(--faint); }
svg { max-width: 44rem; width: 100%; font-size: 12px; }
svg text { fill: var(--ink); } svg line { stroke: var(--faint); }
svg .ours { fill: var(--ours); } svg .bar { fill: var(--bar); }
svg polyline { fill: none; stroke-width: 2; } svg polyline.ours { stroke: var(--ours); fill: none; }
svg polyline.other { stroke: var(--bar); }
</style></head><body><main>
";
