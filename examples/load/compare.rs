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
    let mut row =
        |name: &str, pointer: &str, show: Show| -> Result<(), Box<dyn std::error::Error>> {
            let of = |run: &Value, path: &Path| {
                let value = run.pointer(pointer).and_then(Value::as_f64);
                value.ok_or_else(|| format!("{}: there is no {pointer}", path.display()))
            };
            let (old, new) = (of(&old, before)?, of(&new, after)?);
            let ratio = if old == 0.0 {
                "-".to_owned()
            } else {
                format!("{:.3}", new / old)
            };
            let (old, new) = (show(old), show(new));
            writeln!(text, "{name:<16}{old:>16}{new:>16}{ratio:>10}")?;
            Ok(())
        };
    row("requests", "/requests", whole)?;
    row("errors", "/error_count", whole)?;
    row("requests/s", "/rate_per_s", a_second)?;
    row("received bytes", "/received_bytes", whole)?;
    for name in ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        row(name, &format!("/latency_ns/{name}"), nanos)?;
    }
    row("client's CPU", "/client/cpu_share", share)?;
    Ok(text)
}

/// The terms that are not the same, with both values.
fn differing(old: &Value, new: &Value) -> Vec<String> {
    let names = |terms: &Value| -> Vec<String> {
        let terms = terms.as_object().into_iter();
        terms.flat_map(|terms| terms.keys().cloned()).collect()
    };
    let mut all = names(old);
    all.extend(names(new));
    all.sort();
    all.dedup();
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
