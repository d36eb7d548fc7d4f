//! Two runs side by side, from what `--json` has kept of them.
//!
//! Knows the form of that, and nothing else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::report::{count, rate, time};

/// A table of both, with ratios.
///
/// # Errors
/// A file cannot be read, or is not what `--json` writes.
pub(crate) fn compare(before: &Path, after: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let (old, new) = (read(before)?, read(after)?);
    let mut text = String::new();
    for (name, run) in [("before", &old), ("after", &new)] {
        writeln!(text, "{name:<8}{}", run["load"].as_str().unwrap_or("?"))?;
    }
    for (name, run) in [("before", &old), ("after", &new)] {
        let doubts = run["client"]["doubts"].as_array().into_iter().flatten();
        for doubt in doubts.filter_map(Value::as_str) {
            writeln!(text, "CAUTION ({name}): {doubt}")?;
        }
    }
    let differing = differing(&old["terms"], &new["terms"]);
    if !differing.is_empty() {
        let differing = differing.join(", ");
        writeln!(
            text,
            "CAUTION: the two were run on different terms: {differing}"
        )?;
    }
    writeln!(
        text,
        "{:<16}{:>16}{:>16}{:>10}",
        "", "before", "after", "ratio"
    )?;
    let whole: Show = |value| count(value as u64);
    let a_second: Show = rate;
    let nanos: Show = |value| time(Duration::from_nanos(value as u64));
    let share: Show = |value| format!("{:.0} %", value * 100.0);
    let mut line = |name: &str, old: f64, new: f64, show: Show| {
        let ratio = if old == 0.0 {
            "-".to_owned()
        } else {
            format!("{:.3}", new / old)
        };
        let (old, new) = (show(old), show(new));
        // Writing to a string cannot fail.
        _ = writeln!(text, "{name:<16}{old:>16}{new:>16}{ratio:>10}");
    };
    let of = |run: &Value, path: &Path, pointer: &str| {
        let value = run.pointer(pointer).and_then(Value::as_f64);
        value.ok_or_else(|| format!("{}: there is no {pointer}", path.display()))
    };
    let both = |pointer: &str| -> Result<(f64, f64), String> {
        Ok((of(&old, before, pointer)?, of(&new, after, pointer)?))
    };
    let (was, is) = both("/requests")?;
    line("requests", was, is, whole);
    let (was, is) = both("/error_count")?;
    line("errors", was, is, whole);
    for kind in names(&old["errors"], &new["errors"]) {
        // What is not there has not happened.
        let count = |run: &Value| run["errors"][&kind].as_f64().unwrap_or(0.0);
        line(&format!("  {kind}"), count(&old), count(&new), whole);
    }
    let (was, is) = both("/rate_per_s")?;
    line("requests/s", was, is, a_second);
    let (was, is) = both("/received_bytes")?;
    line("received bytes", was, is, whole);
    for name in ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        let (was, is) = both(&format!("/latency_ns/{name}"))?;
        line(name, was, is, nanos);
    }
    let (was, is) = both("/client/cpu_share")?;
    line("client's CPU", was, is, share);
    Ok(text)
}

/// The names in two objects, each once.
fn names(old: &Value, new: &Value) -> Vec<String> {
    let objects = [old, new].into_iter().filter_map(Value::as_object);
    let mut names: Vec<String> = objects.flat_map(|object| object.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// The terms that are not the same, with both values.
fn differing(old: &Value, new: &Value) -> Vec<String> {
    let mut all = names(old, new);
    all.retain(|name| old[name] != new[name]);
    let value = |terms: &Value, name: &str| match &terms[name] {
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    };
    let both = |name: &String| format!("{name} {} and {}", value(old, name), value(new, name));
    all.iter().map(both).collect()
}

/// How a number is shown.
type Show = fn(f64) -> String;

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}
