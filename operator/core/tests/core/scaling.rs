//! The size from live connections.

use crate::fixtures::{at, desired, fresh, name, observed, report};
use operator_core::observed::{Memory, Observed, Report};
use operator_core::plan::{Reason, plan};
use serde_json::{Value, json};

/// Follows the size of a cluster of `max` 20 pods at most, 100 connections each, through (second, connections).
fn sizes(scaling: &Value, course: &[(i64, u32)]) -> Vec<i32> {
    let mut spec = json!({"minReplicas": 1, "maxReplicas": 20, "connectionsPerPod": 100, "headroom": "0%"});
    spec.as_object_mut().unwrap().extend(scaling.as_object().unwrap().clone());
    let desired = desired(&json!({ "scaling": spec }));
    let (mut memory, mut status) = (Memory::default(), None);
    let mut sizes = Vec::new();
    for (second, connections) in course {
        let seen = Observed { memory, status, ..observed(&desired, &[*connections], at(*second)) };
        let planned = plan(&desired, &seen, at(*second));
        sizes.push(planned.status.desired_replicas);
        (memory, status) = (planned.memory, Some(planned.status));
    }
    sizes
}

#[test]
fn connections_and_headroom_divided_by_the_target_give_the_size() {
    assert_eq!(sizes(&json!({}), &[(0, 100)]), [1]);
    assert_eq!(sizes(&json!({}), &[(0, 101)]), [2]);
    assert_eq!(sizes(&json!({"headroom": "50%"}), &[(0, 100)]), [2]);
}

#[test]
fn the_size_stays_within_its_bounds() {
    assert_eq!(sizes(&json!({"maxReplicas": 3}), &[(0, 10_000)]), [3]);
    assert_eq!(sizes(&json!({"minReplicas": 3}), &[(0, 0)]), [3]);
}

#[test]
fn four_pods_or_twice_as_many_come_every_15_seconds() {
    let course = [(0, 2000), (2, 2000), (15, 2000), (17, 2000), (30, 2000)];
    assert_eq!(sizes(&json!({}), &course), [5, 5, 10, 10, 20]);
}

#[test]
fn a_scale_down_waits_for_the_window_and_takes_its_highest_recommendation() {
    let course = [(0, 400), (10, 100), (100, 300), (305, 100), (399, 100), (400, 100), (700, 100)];
    assert_eq!(sizes(&json!({}), &course), [4, 4, 4, 3, 3, 1, 1]);
}

#[test]
fn a_policy_can_slow_down_or_forbid_a_direction() {
    let down = |rules: Value| json!({"behavior": {"scaleDown": rules}});
    let slow = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]});
    let course = [(-100, 400), (2, 0), (30, 0), (62, 0), (122, 0)];
    assert_eq!(sizes(&down(slow), &course), [4, 3, 3, 2, 1]);
    let never = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"});
    assert_eq!(sizes(&down(never), &course), [4, 4, 4, 4, 4]);
    let both = json!([{"type": "Pods", "value": 2, "periodSeconds": 60}, {"type": "Percent", "value": 25, "periodSeconds": 60}]);
    let least = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": both});
    assert_eq!(sizes(&down(least), &course[..2]), [4, 3]);
}

#[test]
fn a_deviation_within_the_tolerance_changes_nothing() {
    let tolerant = json!({"behavior": {
        "scaleUp": {"tolerance": 0.2}, "scaleDown": {"stabilizationWindowSeconds": 0, "tolerance": 0.5},
    }});
    assert_eq!(sizes(&tolerant, &[(0, 120), (2, 121), (4, 101), (6, 100), (8, 99)]), [1, 2, 2, 2, 1]);
}

#[test]
fn what_is_unknown_asks_for_no_pod_and_lets_none_go() {
    let desired = desired(&json!({"scaling": {
        "maxReplicas": 9, "connectionsPerPod": 100, "headroom": "0%",
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }}));
    let size = |connections: &[u32], silent: Report| {
        let mut seen = observed(&desired, connections, at(0));
        seen.memory.target = Some(2);
        seen.pods.get_mut(&name(1)).unwrap().report = silent;
        plan(&desired, &seen, at(0)).status.desired_replicas
    };
    assert_eq!(size(&[10, 10], fresh(report(10), at(0))), 1);
    assert_eq!(size(&[10, 10], Report::Never), 2);
    assert_eq!(size(&[10, 10], Report::Stale { last: report(10), since: at(-60) }), 2);
    assert_eq!(size(&[350, 0], Report::Never), 4);
}

#[test]
fn a_successor_starts_from_the_recorded_size_and_a_whole_window() {
    let desired =
        desired(&json!({"scaling": {"maxReplicas": 9, "connectionsPerPod": 100, "headroom": "0%"}}));
    let mut seen = observed(&desired, &[50, 0, 0], at(0));
    seen.status = Some(plan(&desired, &seen, at(0)).status);
    seen.status.as_mut().unwrap().desired_replicas = 3;
    let planned = plan(&desired, &seen, at(1));
    assert_eq!(planned.status.desired_replicas, 3);
    assert!(planned.reasons.contains(&Reason::ScaleDownHeld { wanted: 1, kept: 3 }), "{:?}", planned.reasons);
}

#[test]
fn too_many_connections_are_reported() {
    let desired =
        desired(&json!({"scaling": {"maxReplicas": 2, "connectionsPerPod": 100, "headroom": "0%"}}));
    let planned = plan(&desired, &observed(&desired, &[250, 150], at(0)), at(0));
    assert!(
        planned.reasons.contains(&Reason::TooManyConnections { wanted: 4, max: 2 }),
        "{:?}",
        planned.reasons
    );
}
