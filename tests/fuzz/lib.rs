//! The bodies of the fuzz targets, which `cargo test` runs as well.

#[path = "../fuzzed/connection.rs"]
mod connection;
#[path = "../fuzzed/targets.rs"]
mod targets;

/// Runs the target of that name.
///
/// # Panics
/// It has found something.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets::ALL
        .into_iter()
        .find(|(own, _)| *own == name)
        .expect("it is in the list");
    target(data);
}
