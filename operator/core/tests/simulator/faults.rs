//! Planners with one fault each, planted at the seam: in what the planner sees or in what it says. So they outlive the planner's insides.

use crate::play::honest;
use crate::shell::Planner;
use jiff::{SignedDuration, Timestamp};
use operator_core::desired::{Desired, Size};
use operator_core::names::{PodName, Revision};
use operator_core::observed::{DrainCause, Observed, Report, Traffic};
use operator_core::plan::{Action, DeleteCause, Plan, plan};
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;

pub struct Fault {
    /// What the planner does wrong, as docs/simulator.md has it.
    pub name: &'static str,
    pub plant: fn() -> Planner,
    /// A history that the planner stands without the fault.
    pub history: fn() -> Value,
    /// The invariant that it breaks begins with this.
    pub found_by: &'static str,
}

/// It sees something else than there is.
fn seeing(change: impl Fn(&mut Desired, &mut Observed, Timestamp) + 'static) -> Planner {
    Rc::new(move |desired, observed, now| {
        let (mut desired, mut observed) = (desired.clone(), observed.clone());
        change(&mut desired, &mut observed, now);
        plan(&desired, &observed, now)
    })
}

/// It says something else than it should.
fn saying(change: impl Fn(&Desired, &Observed, Timestamp, &mut Plan) + 'static) -> Planner {
    Rc::new(move |desired, observed, now| {
        let mut plan = honest()(desired, observed, now);
        change(desired, observed, now, &mut plan);
        plan
    })
}

fn without(drop: fn(&Action) -> bool) -> Planner {
    saying(move |_, _, _, plan| plan.actions.retain(|action| !drop(action)))
}

/// It does something else than it should.
fn doing(change: impl Fn(&Observed, Timestamp, &mut Action) + 'static) -> Planner {
    saying(move |_, observed, now, plan| {
        plan.actions.iter_mut().for_each(|action| change(observed, now, action));
    })
}

fn rates(change: fn(f64) -> f64) -> Planner {
    doing(move |_, _, action| {
        if let Action::Drain { rate, .. } = action {
            *rate = change(*rate);
        }
    })
}

fn is_first_mark(action: &Action) -> bool {
    matches!(action, Action::MarkDraining { deadline: None, .. })
}

fn in_ten_minutes(now: Timestamp) -> Timestamp {
    now + SignedDuration::from_secs(600)
}

/// Orders for all pods whose turn has not come.
fn drains_at_once(observed: &Observed, now: Timestamp, rate: f64) -> impl Iterator<Item = Action> {
    let waits = move |pod: &Traffic| matches!(pod, Traffic::Draining { since, deadline: None, .. } if now.duration_since(*since).as_secs() >= 5);
    let waiting = observed.pods.iter().filter(move |(_, pod)| waits(&pod.traffic));
    waiting.map(move |(pod, _)| Action::Drain { pod: pod.clone(), rate, deadline: in_ten_minutes(now) })
}

fn fixed(replicas: u32, budget: u32) -> Value {
    json!({"replicas": replicas, "disruption": {"maxReconnectsPerSecond": budget, "drainTimeout": "10m"}})
}

fn scaled(min: u32) -> Value {
    json!({"scaling": {"minReplicas": min, "maxReplicas": 8, "connectionsPerPod": 100, "headroom": "0%"}})
}

fn history(spec: Value, clients: usize, steps: Value) -> Value {
    json!({"seed": 1, "placement": "LeastLoaded", "clients": clients, "spec": spec, "steps": steps})
}

fn shrinks() -> Value {
    history(fixed(4, 20), 800, json!([[{"Edit": {"Replicas": 2}}, 60]]))
}

fn rolls() -> Value {
    history(fixed(4, 20), 200, json!([[{"Connect": 0}, 20], [{"Edit": {"Image": 1}}, 60]]))
}

fn shrinks_in_silence() -> Value {
    let steps = json!([[{"Silence": {"pod": 0, "seconds": 200}}, 20], [{"Edit": {"Replicas": 2}}, 60]]);
    history(fixed(3, 20), 300, steps)
}

const BUDGET: &str = "3:";
const ENDPOINTS: &str = "4: no pod";
const TOGETHER: &str = "4: in a rollout";
const REPORTS: &str = "5:";
const REST: &str = "2, 7:";
const SIZE: &str = "no more pods serve";
const MISSING: &str = "a pod that is missing";
const END: &str = "it ends as it should";

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "tells gateways twice the rate",
        plant: || rates(|rate| rate * 2.0),
        history: shrinks,
        found_by: BUDGET,
    },
    Fault {
        name: "gives each drain the whole budget",
        plant: || saying(|_, observed, now, plan| plan.actions.extend(drains_at_once(observed, now, 20.0))),
        history: shrinks,
        found_by: BUDGET,
    },
    Fault {
        name: "leaves terminating pods out of the ledger",
        plant: || seeing(|_, observed, _| observed.pods.retain(|_, pod| pod.deletion.is_none())),
        history: || {
            let end = |pod: u8, pause: u8| json!([{"Delete": {"pod": pod, "grace": null}}, pause]);
            history(fixed(4, 20), 2000, json!([end(0, 0), end(1, 60)]))
        },
        found_by: BUDGET,
    },
    Fault {
        name: "hands the rate of a silent gateway on at once",
        plant: || {
            seeing(|_, observed, _| {
                for pod in observed.pods.values_mut() {
                    if let Report::Stale { last, .. } = &mut pod.report {
                        last.drain = None;
                    }
                }
            })
        },
        history: || {
            let steps =
                json!([[{"Edit": {"Replicas": 2}}, 14], [{"Silence": {"pod": 0, "seconds": 100}}, 60]]);
            history(fixed(4, 20), 2000, steps)
        },
        found_by: BUDGET,
    },
    Fault {
        name: "does not notice that the budget was lowered",
        plant: || {
            let first = Cell::new(None);
            seeing(move |desired, _, _| {
                let budget = first.get().unwrap_or(desired.max_reconnects_per_second);
                first.set(Some(budget));
                desired.max_reconnects_per_second = budget;
            })
        },
        history: || {
            let steps = json!([[{"Edit": {"Replicas": 1}}, 14], [{"Edit": {"Budget": 5}}, 60]]);
            history(fixed(2, 20), 2000, steps)
        },
        found_by: BUDGET,
    },
    Fault {
        name: "moves clients before every node knows that their pod has left",
        plant: || {
            seeing(|_, observed, _| {
                for pod in observed.pods.values_mut() {
                    if let Traffic::Draining { since, .. } = &mut pod.traffic {
                        *since -= SignedDuration::from_secs(60);
                    }
                }
            })
        },
        history: shrinks,
        found_by: ENDPOINTS,
    },
    Fault {
        name: "drains a pod without taking it out of the endpoints",
        plant: || {
            doing(|_, now, action| {
                if let Action::MarkDraining { pod, deadline: None, .. } = action {
                    let (pod, deadline) = (pod.clone(), in_ten_minutes(now));
                    *action = Action::Drain { pod, rate: 5.0, deadline };
                }
            })
        },
        history: shrinks,
        found_by: ENDPOINTS,
    },
    Fault {
        name: "takes old pods out of the endpoints one by one",
        plant: || {
            saying(|_, observed, now, plan| {
                let mut marks = 0;
                plan.actions.retain(|action| {
                    marks += u32::from(is_first_mark(action));
                    !is_first_mark(action) || marks == 1
                });
                plan.actions.retain(|action| !matches!(action, Action::Drain { .. }));
                plan.actions.extend(drains_at_once(observed, now, 5.0));
            })
        },
        history: || history(fixed(8, 20), 400, json!([[{"Connect": 0}, 20], [{"Edit": {"Image": 1}}, 60]])),
        found_by: TOGETHER,
    },
    Fault {
        name: "takes an old report for a fresh one",
        plant: || {
            seeing(|_, observed, now| {
                for pod in observed.pods.values_mut() {
                    if let Report::Stale { last, .. } = &pod.report {
                        pod.report = Report::Fresh { report: last.clone(), at: now };
                    }
                }
            })
        },
        history: shrinks_in_silence,
        found_by: REPORTS,
    },
    Fault {
        name: "takes silence for no connections",
        plant: || {
            seeing(|_, observed, now| {
                for pod in observed.pods.values_mut().filter(|pod| pod.report.fresh().is_none()) {
                    pod.report = Report::Fresh { report: gateway_core::control::Report::default(), at: now };
                }
            })
        },
        history: shrinks_in_silence,
        found_by: REPORTS,
    },
    Fault {
        name: "deletes pods instead of draining them",
        plant: || {
            doing(|observed, _, action| {
                if let Action::MarkDraining { pod, .. } = action {
                    let view = &observed.pods[pod];
                    *action = Action::DeletePod {
                        pod: pod.clone(),
                        uid: view.uid.clone(),
                        resource_version: view.resource_version.clone(),
                        why: DeleteCause::Drained,
                    };
                }
            })
        },
        history: shrinks,
        found_by: "no pod is deleted",
    },
    Fault {
        name: "takes no pod back",
        plant: || without(|action| matches!(action, Action::CancelDrain { .. })),
        history: || {
            let steps = json!([[{"Edit": {"Replicas": 2}}, 14], [{"Edit": {"Replicas": 3}}, 120]]);
            history(fixed(3, 2), 600, steps)
        },
        found_by: MISSING,
    },
    Fault {
        name: "makes one pod too many",
        plant: || {
            saying(|_, _, _, plan| {
                let made = plan.actions.iter().rfind(|action| matches!(action, Action::CreatePod(_)));
                if let Some(Action::CreatePod(mut pod)) = made.cloned() {
                    pod.metadata.name.get_or_insert_default().push('x');
                    plan.actions.push(Action::CreatePod(pod));
                }
            })
        },
        history: || history(fixed(2, 50), 10, json!([[{"Delete": {"pod": 0, "grace": null}}, 10]])),
        found_by: SIZE,
    },
    Fault {
        name: "counts each connection twice",
        plant: || {
            seeing(|_, observed, _| {
                for pod in observed.pods.values_mut() {
                    if let Report::Fresh { report, .. } = &mut pod.report {
                        report.connections.centrifuge *= 2;
                    }
                }
            })
        },
        history: || history(scaled(1), 300, json!([])),
        found_by: SIZE,
    },
    Fault {
        name: "does not know minReplicas",
        plant: || {
            seeing(|desired, _, _| {
                if let Size::Scaled(scaling) = &mut desired.size {
                    scaling.min = 1;
                }
            })
        },
        history: || history(scaled(3), 50, json!([])),
        found_by: MISSING,
    },
    Fault {
        name: "replaces no pod",
        plant: || {
            saying(|_, observed, _, plan| {
                let made = |action: &Action| matches!(action, Action::CreatePod(_));
                plan.actions.retain(|action| observed.pods.is_empty() || !made(action));
            })
        },
        history: || history(fixed(3, 50), 30, json!([[{"Delete": {"pod": 0, "grace": null}}, 90]])),
        found_by: MISSING,
    },
    Fault {
        name: "keeps pods that are drained",
        plant: || without(|action| matches!(action, Action::DeletePod { .. })),
        history: shrinks,
        found_by: END,
    },
    Fault {
        name: "lets no old pod go",
        plant: || without(|action| matches!(action, Action::MarkDraining { cause: DrainCause::Rollout, .. })),
        history: rolls,
        found_by: END,
    },
    Fault {
        name: "lets drains stand still",
        plant: || rates(|_| 0.0),
        history: || history(fixed(4, 20), 800, json!([[{"Edit": {"Replicas": 2}}, 200]])),
        found_by: "a drain that can go on",
    },
    Fault {
        name: "moves clients where nobody has room",
        plant: || seeing(|desired, _, _| desired.gateway.limits.max_connections = 1_000_000),
        history: || {
            let mut spec = fixed(2, 5);
            spec["limits"] = json!({"maxConnections": 150});
            history(spec, 290, json!([[{"Edit": {"Replicas": 1}}, 60]]))
        },
        found_by: "nobody is moved",
    },
    Fault {
        name: "takes old pods out of the endpoints before new ones are ready",
        plant: || {
            saying(|desired, observed, now, plan| {
                let old = observed
                    .pods
                    .iter()
                    .filter(|(_, pod)| pod.revision != desired.revision && pod.traffic == Traffic::Serving);
                let mark = |pod: &PodName| Action::MarkDraining {
                    pod: pod.clone(),
                    cause: DrainCause::Rollout,
                    since: now,
                    deadline: None,
                };
                plan.actions.extend(old.map(|(name, _)| mark(name)));
            })
        },
        history: rolls,
        found_by: "the operator takes no last pod",
    },
    Fault {
        name: "lets the fullest pod go and makes another",
        plant: || {
            let begun = Cell::new(None);
            seeing(move |desired, observed, now| {
                let begun_at = begun.get().unwrap_or(now);
                begun.set(Some(begun_at));
                let second = now.duration_since(begun_at).as_secs();
                let (30..400, 0..25, Size::Fixed(size)) = (second, second % 60, &mut desired.size) else {
                    return;
                };
                *size -= 1;
                for pod in observed.pods.values_mut() {
                    if let Report::Fresh { report, .. } = &mut pod.report
                        && report.drain.is_none()
                    {
                        report.connections.centrifuge = 1000 - report.connections.centrifuge;
                    }
                }
            })
        },
        history: || history(fixed(3, 50), 150, json!([[{"Connect": 0}, 500]])),
        found_by: "a client is moved once",
    },
    Fault {
        name: "acts while the cluster is paused",
        plant: || seeing(|desired, _, _| desired.paused = false),
        history: || {
            let steps = json!([[{"Edit": {"Pause": true}}, 20], [{"Edit": {"Replicas": 5}}, 20]]);
            history(fixed(3, 50), 30, steps)
        },
        found_by: "a paused cluster",
    },
    Fault {
        name: "rolls pods when the operator's default image changes",
        plant: || {
            seeing(|desired, _, _| {
                if desired.image == "gateway:2" {
                    desired.revision = Revision("other".into());
                }
            })
        },
        history: || {
            let mut spec = fixed(2, 50);
            spec["backplane"] = json!({"redis": {"url": "redis://other:6379"}});
            history(spec, 20, json!([["Upgrade", 60]]))
        },
        found_by: "11:",
    },
    Fault {
        name: "writes the status in each pass",
        plant: || saying(|_, _, now, plan| plan.status.ready = now.to_string()),
        history: shrinks,
        found_by: REST,
    },
    Fault {
        name: "applies objects that are as they should be",
        plant: || seeing(|_, observed, _| observed.owned.clear()),
        history: shrinks,
        found_by: REST,
    },
];
