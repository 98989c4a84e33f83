//! Looks for histories that the planner does not stand, and makes them small.

use crate::history::{Edit, Event, History, Placement};
use crate::play::{honest, judge, judge_besides};
use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::{Value, json};
use std::cell::Cell;
use std::env;

/// Histories of each search, and what they are drawn from; the environment says otherwise.
const CASES: u32 = 50;
const SEED: u64 = 1;

fn given<T: std::str::FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok().map(|value| value.parse().ok().expect("a value of its kind"))
}

/// The smallest history found that breaks the same invariant as the first one found. Invariants that open defects break in such
/// histories (`defects.rs`) are left out, each by the beginning of its name.
#[expect(clippy::print_stdout, reason = "a run is repeated by what it printed")]
fn search(name: &str, events: Vec<BoxedStrategy<Event>>, unjudged: &[&str]) {
    let cases = given("MOORING_SIMULATIONS").unwrap_or(CASES);
    let seed: u64 = given("MOORING_SIMULATION_SEED").unwrap_or(SEED);
    println!("{name}: {cases} histories, MOORING_SIMULATION_SEED={seed}");
    let config = Config { cases, failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let broken = Cell::new(None::<&'static str>);
    let outcome =
        runner.run(&histories(events), |history| match judge_besides(&history, honest(), unjudged) {
            Err(violation) if broken.get().is_none_or(|first| first == violation.invariant) => {
                broken.set(Some(violation.invariant));
                Err(TestCaseError::fail(violation.to_string()))
            }
            _ => Ok(()),
        });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, history)) => {
            panic!("{reason}\n{}", serde_json::to_string(&history).unwrap())
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn histories(events: Vec<BoxedStrategy<Event>>) -> impl Strategy<Value = History> {
    let placement = prop_oneof![
        2 => Just(Placement::LeastLoaded),
        2 => Just(Placement::Random),
        1 => Just(Placement::Piled),
        1 => Just(Placement::Oldest),
    ];
    let steps = proptest::collection::vec((Union::new(events), 0..40_u16), 1..8);
    (any::<u16>(), placement, 0..400_usize, spec(), steps).prop_map(
        |(seed, placement, clients, spec, steps)| History {
            seed: seed.into(),
            placement,
            clients,
            spec,
            foreign: false,
            webhook: false,
            steps,
        },
    )
}

fn spec() -> impl Strategy<Value = Value> {
    let limit = prop_oneof![Just(10_000), Just(150)];
    let surge = prop_oneof![Just(json!("25%")), Just(json!("100%")), Just(json!(2))];
    let size = prop_oneof![
        (3..5_i32).prop_map(|replicas| json!({"replicas": replicas})),
        (1..3_i32, 4..6_i32, 0..40_i32).prop_map(|(min, max, window)| json!({"scaling": {
            "minReplicas": min, "maxReplicas": max, "connectionsPerPod": 100, "headroom": "0%",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": window}},
        }})),
    ];
    (size, limit, surge, prop_oneof![Just(50), Just(20), Just(5)]).prop_map(
        |(mut spec, limit, surge, budget)| {
            spec["limits"] = json!({"maxConnections": limit});
            spec["rollout"] = json!({"maxSurge": surge});
            spec["disruption"] = json!({"maxReconnectsPerSecond": budget, "drainTimeout": "10m"});
            spec
        },
    )
}

fn pod() -> impl Strategy<Value = usize> {
    0..6_usize
}

/// What happens every day.
fn usual() -> Vec<BoxedStrategy<Event>> {
    vec![
        (0..300_usize).prop_map(Event::Connect).boxed(),
        (0..300_usize).prop_map(Event::Disconnect).boxed(),
        (1..6_i32).prop_map(|replicas| Event::Edit(Edit::Replicas(replicas))).boxed(),
        (0..3_u8).prop_map(|image| Event::Edit(Edit::Image(image))).boxed(),
        pod().prop_map(|pod| Event::Delete { pod, grace: None }).boxed(),
        Just(Event::RestartOperator).boxed(),
        (0..20_u16).prop_map(|seconds| Event::StopOperator { seconds }).boxed(),
    ]
}

/// Each field of the spec.
fn edits() -> Vec<BoxedStrategy<Event>> {
    let edit =
        prop_oneof![
            (0..6_i32).prop_map(Edit::Replicas),
            (1..3_i32, 3..7_i32, 50..150_i32, 0..60_i32)
                .prop_map(|(min, max, per_pod, window)| Edit::Scaling { min, max, per_pod, window }),
            (0..3_u8).prop_map(Edit::Image),
            Just(Edit::MissingImage),
            prop_oneof![Just(5), Just(20), Just(50), Just(200)].prop_map(Edit::Budget),
            prop_oneof![Just(600_u16), Just(1200)].prop_map(Edit::DrainTimeout),
            prop_oneof![Just(150_u32), Just(400), Just(10_000)].prop_map(Edit::Limit),
            prop_oneof![Just(1_u8), Just(25), Just(100)].prop_map(Edit::Surge),
            (0..3_u8).prop_map(Edit::Log),
            Just(Edit::ExternalRedis),
            (8000..8003_u16).prop_map(Edit::Port),
            any::<bool>().prop_map(Edit::Compression),
            (0..3_u8).prop_map(Edit::PodLabel),
            (1..900_i32).prop_map(Edit::ProgressDeadline),
            Just(Edit::Invalid),
        ];
    vec![edit.prop_map(Event::Edit).boxed()]
}

fn pauses() -> Vec<BoxedStrategy<Event>> {
    vec![any::<bool>().prop_map(|paused| Event::Edit(Edit::Pause(paused))).boxed()]
}

/// Whoever ends pods, with little time.
fn ends() -> Vec<BoxedStrategy<Event>> {
    let grace = prop_oneof![Just(0_i64), Just(1), Just(20), Just(60)];
    vec![
        (pod(), grace).prop_map(|(pod, grace)| Event::Delete { pod, grace: Some(grace) }).boxed(),
        pod().prop_map(|pod| Event::Evict { pod }).boxed(),
        Just(Event::Edit(Edit::DrainTimeout(60))).boxed(),
        (0..3_usize).prop_map(Event::DrainNode).boxed(),
        (0..3_usize).prop_map(Event::UncordonNode).boxed(),
    ]
}

/// What breaks.
fn losses() -> Vec<BoxedStrategy<Event>> {
    vec![
        (0..3_usize).prop_map(Event::KillNode).boxed(),
        (0..3_usize).prop_map(Event::ReviveNode).boxed(),
        (pod(), 1..5_u8).prop_map(|(pod, times)| Event::Crash { pod, times }).boxed(),
        (pod(), 1..120_u8).prop_map(|(pod, seconds)| Event::SidecarCrash { pod, seconds }).boxed(),
        (pod(), 1..300_u16).prop_map(|(pod, seconds)| Event::Silence { pod, seconds }).boxed(),
        (1..120_u16).prop_map(|seconds| Event::Unschedulable { seconds }).boxed(),
        pod().prop_map(|pod| Event::StripLabel { pod }).boxed(),
    ]
}

/// What comes between the operator and the rest.
fn troubles() -> Vec<BoxedStrategy<Event>> {
    let percent = || prop_oneof![Just(0_u8), Just(10), Just(50)];
    vec![
        (percent(), percent(), 0..9_u8)
            .prop_map(|(writes, orders, lag)| Event::Trouble { writes, orders, lag })
            .boxed(),
        (0..6_u8).prop_map(|late| Event::TakeOver { late }).boxed(),
    ]
}

fn steps_of_the_clock() -> Vec<BoxedStrategy<Event>> {
    vec![(-700..700_i64).prop_map(|seconds| Event::StepClock { seconds }).boxed()]
}

fn all() -> Vec<BoxedStrategy<Event>> {
    let upgrade = vec![Just(Event::Upgrade).boxed()];
    [usual(), edits(), pauses(), ends(), losses(), troubles(), steps_of_the_clock(), upgrade].concat()
}

/// Defects 1 and 2.
const ENDS: &[&str] = &["short time", "evictions"];
/// Defects 4, 10 and 11, and nodes that are lost.
const LOSSES: &[&str] =
    &["a pod that is missing", "it ends as it should", "no more pods serve", "a drain that can go on"];
/// Defect 18.
const CLOCKS: &[&str] = &["5:", "no pod is deleted", "a drain that can go on", "the status says what is"];
/// Defect 13.
const UPGRADES: &[&str] = &["11:"];

#[test]
fn the_planner_stands_what_happens_every_day() {
    search("usual", usual(), &[]);
}

#[test]
fn the_planner_stands_edits_of_each_field_at_any_moment() {
    search("edits", [usual(), edits()].concat(), &[]);
}

#[test]
fn the_planner_stands_pauses_at_any_moment() {
    search("pauses", [usual(), pauses()].concat(), &[]);
}

#[test]
fn the_planner_stands_pods_that_are_ended_with_little_time() {
    search("ends", [usual(), ends()].concat(), ENDS);
}

#[test]
fn the_planner_stands_what_breaks() {
    search("losses", [usual(), losses()].concat(), LOSSES);
}

#[test]
fn the_planner_stands_old_news_lost_words_and_two_leaders() {
    search("troubles", [usual(), troubles()].concat(), &[]);
}

#[test]
fn the_planner_stands_clocks_that_are_set() {
    search("clocks", [usual(), steps_of_the_clock()].concat(), CLOCKS);
}

#[test]
fn the_planner_stands_everything() {
    search("all", all(), &[ENDS, LOSSES, CLOCKS, UPGRADES].concat());
}

#[test]
#[ignore = "plays the history in MOORING_SIMULATION_HISTORY"]
fn the_planner_stands_the_history_given() {
    let history: String = given("MOORING_SIMULATION_HISTORY").expect("a history");
    if let Err(violation) = judge(&serde_json::from_str(&history).unwrap(), honest()) {
        panic!("{violation}");
    }
}
