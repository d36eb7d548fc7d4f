//! Exploring: one scenario under many seeds, until one of them fails.
//!
//! Knows worlds, and nothing of what a scenario does in them.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use super::failure::{Failure, Problem};
use super::faults::{Fault, Faults};
use super::trace::Hash;
use super::world::World;

/// What a scenario answers.
pub type Outcome = Result<(), Failure>;

/// Runs a scenario in a world of each seed, ends each world, and stops at the first failure, with
/// the faults shrunk to those that it takes. Answers how many seeds were run.
///
/// Each seed is run with [`Faults::from_seed`], and twice: it has to give the same trace both
/// times. If the variable `WINDLASS_SEED` is set, only that seed is run.
///
/// # Errors
/// A rule was broken, or the scenario says so, or it panicked.
pub fn explore(
    seeds: impl IntoIterator<Item = u64>,
    mut scenario: impl FnMut(&mut World) -> Outcome,
) -> Result<u64, Failure> {
    if let Some(seed) = number_of("WINDLASS_SEED") {
        return examine(seed, &mut scenario).map(|()| 1);
    }
    let mut count = 0;
    for seed in seeds {
        examine(seed, &mut scenario)?;
        count += 1;
    }
    Ok(count)
}

/// As [`explore`], for a test: panics with the failure, which says which seed it was.
///
/// # Panics
/// The scenario fails.
#[track_caller]
pub fn check(
    seeds: impl IntoIterator<Item = u64>,
    scenario: impl FnMut(&mut World) -> Outcome,
) -> u64 {
    match explore(seeds, scenario) {
        Ok(count) => count,
        Err(failure) => panic!("\n{failure}\n"),
    }
}

/// The first `count` seeds, or as many as the variable `WINDLASS_SEEDS` says. They begin with 0, or
/// with the number in `WINDLASS_FIRST_SEED`.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = number_of("WINDLASS_FIRST_SEED").unwrap_or(0);
    first..first + number_of("WINDLASS_SEEDS").unwrap_or(count)
}

/// Runs a scenario in the world of one seed, and ends it; answers the digest of the trace.
///
/// # Errors
/// As [`explore`].
pub fn run(
    seed: u64,
    faults: &Faults,
    mut scenario: impl FnMut(&mut World) -> Outcome,
) -> Result<Hash, Failure> {
    run_without(seed, faults, &[], &mut scenario)
}

/// The faults without which a seed does not fail: all that can be switched off, one after the
/// other, while it goes on failing, are. Answers the failure that is left, or `None` if the seed
/// does not fail.
pub fn shrink(
    seed: u64,
    faults: &Faults,
    mut scenario: impl FnMut(&mut World) -> Outcome,
) -> Option<Failure> {
    let mut without: Vec<Fault> = Vec::new();
    let mut failure = run_without(seed, faults, &without, &mut scenario).err()?;
    for fault in faults.present() {
        without.push(fault);
        match run_without(seed, faults, &without, &mut scenario) {
            Err(other) => failure = other,
            Ok(_) => {
                without.pop();
            }
        }
    }
    let needed = faults.present().into_iter();
    failure.faults = needed.filter(|fault| !without.contains(fault)).collect();
    Some(failure)
}

/// Runs a seed twice, and shrinks a failure.
fn examine(seed: u64, scenario: &mut impl FnMut(&mut World) -> Outcome) -> Result<(), Failure> {
    let faults = Faults::from_seed(seed);
    let hash = match run_without(seed, &faults, &[], scenario) {
        Ok(hash) => hash,
        // The failure as it was found, with the faults that it takes.
        Err(mut failure) => {
            if let Some(shrunk) = shrink(seed, &faults, scenario) {
                failure.faults = shrunk.faults;
            }
            return Err(failure);
        }
    };
    let again = run_without(seed, &faults, &[], scenario)?;
    if again != hash {
        let world = World::with_faults(seed, faults);
        let text = format!("the trace was {hash}, and when it was run again {again}");
        return Err(world.failure(Problem::Chance, text));
    }
    Ok(())
}

fn run_without(
    seed: u64,
    faults: &Faults,
    without: &[Fault],
    scenario: &mut impl FnMut(&mut World) -> Outcome,
) -> Result<Hash, Failure> {
    let mut world = World::shrunk(seed, faults.clone(), without);
    let run = AssertUnwindSafe(|| {
        scenario(&mut world)?;
        world.end()?;
        Ok(world.hash())
    });
    match panic::catch_unwind(run) {
        Ok(result) => result,
        Err(panic) => {
            let failure = world.failure(Problem::Panic, message(&*panic));
            // Its reactors were left in the middle of something: they are not to run again.
            std::mem::forget(world);
            Err(failure)
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
