//! Histories that the planner does not stand, as small as they were found, each with the number that its defect has in the issue about
//! the operator. An open one is found each time: once it is mended this file says so, and from then on it has to hold.
//!
//! A search that fails prints its history as JSON: it goes in here as it was printed.

use crate::history::{Edit, Event, History};
use crate::play::{Play, honest, judge};
use crate::referee::Violation;
use serde_json::{Value, json};

struct Defect {
    /// In the issue about the operator, if it is there.
    number: Option<u8>,
    /// What should be.
    should: &'static str,
    /// What is in the way.
    because: &'static str,
    play: fn() -> Result<(), Violation>,
    /// The invariant that it breaks begins with this; none is broken once it is mended.
    found_by: Option<&'static str>,
}

fn played(history: Value) -> Result<(), Violation> {
    judge(&serde_json::from_value(history).unwrap(), honest())
}

fn begun(history: Value) -> Result<Play, Violation> {
    let history: History = serde_json::from_value(history).unwrap();
    let mut play = Play::new(&history, honest());
    play.settle()?;
    Ok(play)
}

fn fixed(replicas: u32, budget: u32) -> Value {
    json!({"replicas": replicas, "disruption": {"maxReconnectsPerSecond": budget, "drainTimeout": "10m"}})
}

fn history(spec: Value, clients: usize, steps: Value) -> Value {
    json!({"seed": 1, "placement": "LeastLoaded", "clients": clients, "spec": spec, "steps": steps})
}

const DEFECTS: &[Defect] = &[
    Defect {
        number: Some(1),
        should: "a pod that is deleted with a short grace moves its clients evenly over it",
        because: "the deadline is never steered",
        play: || played(history(fixed(2, 5), 318, json!([[{"Delete": {"pod": 0, "grace": 20}}, 0]]))),
        found_by: Some("short time"),
    },
    Defect {
        number: Some(1),
        should: "a pod that drains and is then deleted with a short grace moves its clients evenly over it",
        because: "a drain that began keeps its own deadline",
        play: || {
            let steps = json!([[{"Edit": {"Replicas": 1}}, 12], [{"Delete": {"pod": 0, "grace": 20}}, 0], [{"Delete": {"pod": 1, "grace": 20}}, 0]]);
            played(history(fixed(3, 5), 480, steps))
        },
        found_by: Some("short time"),
    },
    Defect {
        number: Some(1),
        should: "a drain that is too slow for its timeout is spread over that",
        because: "nobody looks whether the budget is enough for drainTimeout",
        play: || {
            let spec =
                json!({"replicas": 2, "disruption": {"maxReconnectsPerSecond": 5, "drainTimeout": "30s"}});
            played(history(spec, 600, json!([[{"Edit": {"Replicas": 1}}, 0]])))
        },
        found_by: Some("short time"),
    },
    Defect {
        number: Some(2),
        should: "pods of a node that is drained leave one after the other",
        because: "terminating pods are not counted by the PodDisruptionBudget",
        play: || played(history(fixed(6, 5), 600, json!([[{"DrainNode": 0}, 120]]))),
        found_by: Some("evictions"),
    },
    Defect {
        number: Some(4),
        should: "a draining pod that cannot be reached does not keep the cluster small",
        because: "a silent draining pod comes back first, and nothing is made in its place",
        play: || {
            let steps = json!([
                [{"Edit": {"Replicas": 2}}, 14], [{"Silence": {"pod": 0, "seconds": 280}}, 0], [{"Edit": {"Replicas": 3}}, 150],
            ]);
            played(history(fixed(3, 2), 600, steps))
        },
        found_by: Some("a pod that is missing"),
    },
    Defect {
        number: Some(5),
        should: "a service of somebody else is left alone",
        because: "what exists is taken over",
        play: || {
            let mut history = history(fixed(1, 50), 0, json!([]));
            history["foreign"] = json!(true);
            played(history)
        },
        found_by: None,
    },
    Defect {
        number: Some(7),
        should: "a pod whose sidecar crashes is drained before it goes",
        because: "any container that waits makes a pod count as not running",
        play: || {
            let steps =
                json!([[{"SidecarCrash": {"pod": 0, "seconds": 100}}, 2], [{"Edit": {"Replicas": 1}}, 60]]);
            played(history(fixed(2, 20), 200, steps))
        },
        found_by: None,
    },
    Defect {
        number: Some(8),
        should: "a pod that is not ready for a moment does not exceed the deadline for progress",
        because: "the deadline counts from the pod's creation",
        play: || {
            let mut spec = fixed(2, 50);
            spec["rollout"] = json!({"progressDeadlineSeconds": 60});
            let mut play = begun(history(spec, 20, json!([])))?;
            play.run(100)?;
            play.world.happen(&Event::Crash { pod: 0, times: 1 });
            for _ in 0..20 {
                play.run(1)?;
                if play.world.status.as_ref().unwrap().reason == "ProgressDeadlineExceeded" {
                    return Err(
                        play.violation("a deadline is exceeded after as long as it says", "it is not".into())
                    );
                }
            }
            Ok(())
        },
        found_by: None,
    },
    Defect {
        number: Some(9),
        should: "a pod that is set aside by its label is replaced",
        because: "names are deterministic, and a pod that lost its label has one of them",
        play: || played(history(fixed(2, 50), 20, json!([[{"StripLabel": {"pod": 0}}, 120]]))),
        found_by: None,
    },
    Defect {
        number: Some(10),
        should: "the clients of a lost node are not counted twice",
        because: "the last reports of lost pods count beside their clients' new ones",
        play: || {
            let spec = json!({
                "scaling": {
                    "minReplicas": 3, "maxReplicas": 12, "connectionsPerPod": 100, "headroom": "0%",
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
                },
                "disruption": {"maxReconnectsPerSecond": 50},
            });
            played(history(spec, 590, json!([[{"KillNode": 0}, 420]])))
        },
        found_by: Some("no more pods serve"),
    },
    Defect {
        number: Some(11),
        should: "the share of a gateway that died is handed on",
        because: "what was granted to a gateway that died is held to its deadline",
        play: || {
            let mut play = begun(history(fixed(3, 5), 600, json!([])))?;
            play.world.happen(&Event::Edit(Edit::Replicas(1)));
            play.run_until("the first turn", |world| world.pods.values().any(|pod| pod.turn_at.is_some()))?;
            let node = play.world.pods.values().find(|pod| pod.turn_at.is_some()).and_then(|pod| pod.node);
            play.world.happen(&Event::KillNode(node.unwrap()));
            play.run(200)
        },
        found_by: Some("a drain that can go on"),
    },
    Defect {
        number: Some(12),
        should: "an object that a webhook rewrites is not applied for ever",
        because: "what a webhook rewrote counts as drifted",
        play: || {
            let mut history = history(fixed(1, 50), 10, json!([]));
            history["webhook"] = json!(true);
            played(history)
        },
        found_by: None,
    },
    Defect {
        number: Some(13),
        should: "a new operator rolls no redis",
        because: "a new default image of Redis is rendered at once",
        play: || played(history(fixed(1, 50), 10, json!([["Upgrade", 30]]))),
        found_by: Some("11:"),
    },
    Defect {
        number: Some(17),
        should: "pods that are deleted while the cluster is paused share the budget",
        because: "a paused cluster is not steered either",
        play: || {
            let steps = json!([
                [{"Edit": {"Pause": true}}, 10], [{"Delete": {"pod": 0, "grace": null}}, 0], [{"Delete": {"pod": 1, "grace": null}}, 40],
            ]);
            played(history(fixed(4, 10), 1600, steps))
        },
        found_by: None,
    },
    Defect {
        number: Some(18),
        should: "a clock that is set back makes no report fresh",
        because: "a clock that is set back makes reports young",
        play: || {
            let steps = json!([
                [{"Silence": {"pod": 0, "seconds": 290}}, 2], [{"StepClock": {"seconds": -600}}, 20], [{"Edit": {"Replicas": 2}}, 30],
            ]);
            played(history(fixed(3, 20), 300, steps))
        },
        found_by: Some("5:"),
    },
    Defect {
        number: Some(18),
        should: "a clock that is set forward cuts nobody off",
        because: "a deadline is a time of day",
        play: || {
            let steps = json!([[{"Edit": {"Replicas": 1}}, 14], [{"StepClock": {"seconds": 650}}, 30]]);
            played(history(fixed(2, 2), 400, steps))
        },
        found_by: Some("no pod is deleted"),
    },
    Defect {
        number: Some(18),
        should: "a clock that is set back does not keep the status from being written",
        because: "the time of the last write is a time of day",
        play: || {
            let steps = json!([[{"StepClock": {"seconds": -694}}, 7], [{"Connect": 259}, 34]]);
            played(history(fixed(2, 50), 325, steps))
        },
        found_by: Some("the status says what is"),
    },
    Defect {
        number: Some(22),
        should: "a cluster at its largest writes its status every ten seconds at most while connections come",
        because: "a number in a reason is written as soon as it changes",
        play: || {
            let spec = json!({
                "scaling": {"minReplicas": 1, "maxReplicas": 2, "connectionsPerPod": 10, "headroom": "0%"},
            });
            let mut play = begun(history(spec, 20, json!([])))?;
            let before = play.world.status_writes;
            for _ in 0..30 {
                play.world.happen(&Event::Connect(15));
                play.run(2)?;
            }
            let writes = play.world.status_writes - before;
            let often = || {
                play.violation(
                    "the status is written every ten seconds at most",
                    format!("{writes} times in a minute"),
                )
            };
            if writes > 8 { Err(often()) } else { Ok(()) }
        },
        found_by: None,
    },
    Defect {
        number: None,
        should: "a pod that is lost with its node is replaced within minutes",
        because: "a pod on a node that is lost is replaced only once Kubernetes evicts it, after five minutes",
        play: || played(history(fixed(3, 50), 30, json!([[{"KillNode": 0}, 200]]))),
        found_by: Some("a pod that is missing"),
    },
];

#[test]
fn each_open_defect_is_found_by_the_invariant_that_it_breaks_and_each_mended_one_holds() {
    let wrong: Vec<String> = DEFECTS
        .iter()
        .filter_map(|defect| {
            let Defect { number, should, because, play, found_by } = defect;
            let outcome = play();
            let as_known = match (&outcome, found_by) {
                (Err(violation), Some(invariant)) => violation.invariant.starts_with(invariant),
                (outcome, found_by) => outcome.is_ok() && found_by.is_none(),
            };
            let said = outcome
                .map_or_else(|violation| violation.to_string(), |()| "it holds: `found_by: None`".into());
            (!as_known).then(|| format!("{should} (defect {number:?}, {because}): {said}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
