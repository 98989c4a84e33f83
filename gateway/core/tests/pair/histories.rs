//! As many random histories of one connection as last so many hours by its own clock, and for every ten of them one of two gateways with
//! clients that recover: `make histories`.

use std::{cell::Cell, env, thread, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{conversation, events, recovery};

/// Histories between looks at what they amount to.
const BATCH: u32 = 20;

/// Has batches of histories happen until there is enough of them; how many there were.
fn happen<S: Strategy>(
    strategy: &S,
    seed: u64,
    is_enough: impl Fn(u64) -> bool,
    live: impl Fn(S::Value),
) -> u64 {
    let seed: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(32).collect();
    let config = Config { cases: BATCH, failure_persistence: None, ..Config::default() };
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut count = 0;
    while !is_enough(count) {
        let mut runner = TestRunner::new_with_rng(config.clone(), rng);
        rng = runner.new_rng();
        let outcome = runner.run(strategy, |history| {
            live(history);
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
        count += u64::from(BATCH);
    }
    count
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}: give a number")),
        Err(_) => default,
    }
}

#[test]
#[ignore = "it takes minutes: make histories"]
fn hours_of_random_histories_go_as_the_protocol_says_and_lose_nothing() {
    let hours: f64 = variable("MOORING_HISTORIES_HOURS", 24.0);
    let seed: u64 = variable("MOORING_HISTORIES_SEED", 0);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let share = Duration::from_secs_f64(hours * 3600.0 / threads as f64);
    let one = |thread: u64| {
        let seed = seed.wrapping_mul(threads).wrapping_add(thread);
        let lasted = Cell::new(Duration::ZERO);
        let is_enough = |_| lasted.get() >= share;
        let conversations = happen(&events::history(), seed, is_enough, |history| {
            lasted.set(lasted.get() + conversation::live(history));
        });
        let worlds = happen(&recovery::steps(), seed, |count| count >= conversations / 10, recovery::live);
        (conversations, worlds)
    };
    let (conversations, worlds) = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let counts = threads.into_iter().map(|thread| thread.join().expect("all goes as it has to"));
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    });
    println!(
        "{conversations} histories of one connection, {hours} h by its clock, and {worlds} of two gateways; \
         SEED={seed} on {threads} cores repeats them"
    );
}
