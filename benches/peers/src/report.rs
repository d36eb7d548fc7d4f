//! The report: tables as Markdown, and a page of its own with plots.
//!
//! Measures nothing.

use std::fmt::Write;

use super::measure::{Cost, Row};
use super::peers::{self, Peer};
use super::spread::Spread;
use super::svg::{self, Bar, Line, escaped};
use super::workload::{Shape, Workload};
use super::wrk::{self, Told, Way};

/// Everything that was measured.
pub(crate) struct Report {
    rounds: usize,
    seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) calls: Vec<(Workload, Peer, Result<f64, String>)>,
    /// Before a message was sent, and after.
    pub(crate) memory: Vec<(Workload, Peer, Result<[f64; 2], String>)>,
    pub(crate) curves: Vec<Curve>,
    /// The load tester beside wrk, by the way in which they load; or why that was not measured.
    pub(crate) clients: Option<Result<[wrk::Rounds; 2], String>>,
}

/// How the cost of a message grows.
pub(crate) struct Curve {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) peer: Peer,
    pub(crate) points: Vec<Point>,
}

/// One value of what grows.
pub(crate) struct Point {
    pub(crate) value: f64,
    /// Nanoseconds of CPU time of a message, in each round.
    pub(crate) costs: Vec<f64>,
    /// The same as a multiple of the bare loop's, if that is measured too.
    pub(crate) ratios: Vec<f64>,
    pub(crate) failed: Option<String>,
}

impl Curve {
    /// Nanoseconds per unit, by least squares: over the whole range, so that it is the large
    /// values that count.
    fn slope(&self) -> f64 {
        let medians = self.medians();
        let count = medians.len() as f64;
        let x_mean = medians.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y_mean = medians.iter().map(|(_, y)| y).sum::<f64>() / count;
        let (mut over, mut under) = (0.0, 0.0);
        for (x, y) in medians {
            over += (x - x_mean) * (y - y_mean);
            under += (x - x_mean).powi(2);
        }
        over / under
    }

    /// What was measured: values, and nanoseconds of CPU time.
    fn medians(&self) -> Vec<(f64, f64)> {
        let points = self.points.iter();
        let medians = points.filter_map(|point| Some((point.value, point.cost()?.median)));
        medians.collect()
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
            clients: None,
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

    /// Every window of the workloads, for whoever trusts no summary.
    pub(crate) fn csv(&self) -> String {
        let mut out = String::from(
            "workload,server,round,ratio,cpu_ns,messages,seconds,user_ns,system_ns,p50_us,p99_us,\
             foreign\n",
        );
        for row in &self.rows {
            for (peer, figures) in &row.figures {
                for figure in figures {
                    let cost = &figure.cost;
                    let _ = writeln!(
                        out,
                        "{},{},{},{:.4},{:.0},{:.0},{:.6},{:.0},{:.0},{:.1},{:.1},{:.3}",
                        peers::name(row.workload),
                        peer.name(),
                        figure.round,
                        figure.ratio.unwrap_or(f64::NAN),
                        cost.cpu_ns,
                        cost.messages,
                        cost.seconds,
                        cost.user_ns,
                        cost.system_ns,
                        cost.p50_us,
                        cost.p99_us,
                        cost.foreign,
                    );
                }
            }
        }
        out
    }

    fn method(&self) -> String {
        format!(
            "{} rounds with windows of {} s; the server on one core, the load on another. CPU time \
             per message, as a multiple of the bare loop's in the windows just before and after: \
             the median, and the interval in which the true median lies with 95 % certainty, \
             whatever the distribution. If its ends are more than a tenth apart, nothing is told.",
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
        if let Some(clients) = &self.clients {
            tables.push(beside_wrk(clients));
        }
        tables
    }

    fn costs(&self, row: &Row) -> Table {
        let is_rate = matches!(row.workload.shape(), Shape::Rate { .. });
        let (name, (disturbed, windows)) = (peers::name(row.workload), row.disturbed());
        let title = format!(
            "{name}, CPU time per message ({} x {} s; {disturbed} of {windows} windows disturbed)",
            self.rounds, self.seconds
        );
        let mut table = Table::new(
            title,
            &[
                "",
                "x bare (95 %)",
                "all rounds",
                "x windlass (95 %)",
                "CPU",
                "user",
                "per second",
            ],
        );
        if is_rate {
            table.rows[0].extend(["p50", "p99"].map(str::to_owned));
        }
        for peer in row.figures.keys().copied() {
            let us = |part: &dyn Fn(&Cost) -> f64| {
                let median = row.median(peer, part).unwrap_or(f64::NAN);
                format!("{median:.2} µs")
            };
            let ratio = row.ratio(peer);
            let is_other = !matches!(peer, Peer::Bare | Peer::Windlass);
            let beside = is_other.then(|| row.beside_windlass(peer)).flatten();
            let per_second = row.median(peer, |cost| cost.messages / cost.seconds);
            let mut cells = vec![
                peer.name(),
                ratio.as_ref().map_or_else(String::new, Spread::text),
                ratio.as_ref().map_or_else(String::new, Spread::range),
                beside.as_ref().map_or_else(String::new, Spread::text),
                us(&|cost| cost.each_ns() / 1e3),
                us(&|cost| cost.each_ns() / 1e3 * row.user_share(peer)),
                format!("{:.0}", per_second.unwrap_or(f64::NAN)),
            ];
            if is_rate {
                cells.push(us(&|cost| cost.p50_us));
                cells.push(us(&|cost| cost.p99_us));
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
            let points: Vec<String> = curve.points.iter().map(at_point).collect();
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

fn at_point(point: &Point) -> String {
    let value = point.value;
    if let Some(why) = &point.failed {
        return format!("{value}: not measured: {why}");
    }
    let Some(cost) = point.cost() else {
        return format!("{value}: not measured");
    };
    let mut text = format!("{value}: {:.2} µs", cost.median / 1e3);
    if let Some(ratio) = point.ratio() {
        let _ = write!(text, " = {} x bare", ratio.text());
    }
    text
}

fn beside_wrk(clients: &Result<[wrk::Rounds; 2], String>) -> Table {
    let title = "The example load beside wrk: 64 connections, the plain page of windlass";
    let mut table = Table::new(
        title.into(),
        &["", "", "load", "wrk", "x wrk (95 %)", "all rounds"],
    );
    match clients {
        Err(why) => table.rows.push(vec![format!("not measured: {why}")]),
        Ok(ways) => {
            for way in Way::ALL {
                for (name, part) in Told::PARTS {
                    let Some([load, wrk, ratio]) = wrk::spreads(&ways[way as usize], part) else {
                        continue;
                    };
                    let of = |spread: &Spread| {
                        let Spread {
                            median, min, max, ..
                        } = spread;
                        format!("{median:.2} ({min:.2} to {max:.2})")
                    };
                    table.rows.push(vec![
                        peers::name(way),
                        name.to_owned(),
                        of(&load),
                        of(&wrk),
                        ratio.text(),
                        ratio.range(),
                    ]);
                }
            }
        }
    }
    table.fill();
    table
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

fn bars(row: &Row) -> String {
    let ratios = row.figures.keys();
    let mut ratios: Vec<(Peer, Spread)> = ratios
        .filter_map(|peer| Some((*peer, row.ratio(*peer)?)))
        .collect();
    ratios.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let bars = ratios.into_iter().map(|(peer, ratio)| Bar {
        label: peer.name(),
        value: ratio.told().map(|_| ratio.median),
        interval: ratio.interval,
        text: ratio.text(),
        is_ours: peer == Peer::Windlass,
    });
    let bars: Vec<Bar> = bars.collect();
    svg::bars(&bars)
}

fn line(curve: &Curve) -> Line {
    Line {
        label: format!("{}: {:.4} ns each", curve.peer.name(), curve.slope()),
        is_ours: curve.peer == Peer::Windlass,
        points: curve.medians(),
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
svg .interval { stroke: var(--ink); fill: none; }
svg polyline { fill: none; stroke-width: 2; } svg polyline.ours { stroke: var(--ours); fill: none; }
svg polyline.other { stroke: var(--bar); } svg text.other { fill: var(--bar); }
</style></head><body><main>
";
