//! Who goes first, how fast, and when it is over.

use crate::fixtures::{at, desired, draining_report, fresh, name, observed, report, terminated_report};
use jiff::{SignedDuration, Timestamp};
use operator_core::desired::Desired;
use operator_core::observed::{DrainCause, Grant, Observed, Report, Traffic, Waiting};
use operator_core::plan::{Action, DeleteCause, OVERTIME, Reason, SETTLE, plan};
use serde_json::json;
use std::collections::BTreeMap;

const CAUSE: DrainCause = DrainCause::ScaleDown;

fn fixed(replicas: u32) -> Desired {
    desired(
        &json!({"replicas": replicas, "disruption": {"maxReconnectsPerSecond": 50, "drainTimeout": "10m"}}),
    )
}

fn left(since: i64, deadline: Option<i64>) -> Traffic {
    Traffic::Draining { cause: CAUSE, since: at(since), deadline: deadline.map(at) }
}

/// What is done about pods.
fn orders(desired: &Desired, seen: &Observed, now: Timestamp) -> Vec<Action> {
    let about_pods = |action: &Action| !matches!(action, Action::Apply { .. } | Action::CreateSecret(_));
    plan(desired, seen, now).actions.into_iter().filter(about_pods).collect()
}

fn mark(pod: usize, since: i64, deadline: Option<i64>) -> Action {
    Action::MarkDraining { pod: name(pod), cause: CAUSE, since: at(since), deadline: deadline.map(at) }
}

fn drain(pod: usize, rate: f64, deadline: i64) -> Action {
    Action::Drain { pod: name(pod), rate, deadline: at(deadline) }
}

fn delete(pod: usize, why: DeleteCause) -> Action {
    Action::DeletePod { pod: name(pod), uid: "1".into(), resource_version: "1".into(), why }
}

#[test]
fn the_pod_with_the_fewest_connections_goes_and_one_that_is_not_ready_before_it() {
    let desired = fixed(2);
    let mut seen = observed(&desired, &[30, 10, 20], at(0));
    assert_eq!(orders(&desired, &seen, at(0)), [mark(1, 0, None)]);
    seen.pods.get_mut(&name(0)).unwrap().ready = false;
    assert_eq!(orders(&desired, &seen, at(0)), [mark(0, 0, None)]);
    seen.pods.get_mut(&name(2)).unwrap().ready = false;
    seen.pods.get_mut(&name(2)).unwrap().waiting =
        Some(Waiting { reason: "CrashLoopBackOff".into(), message: String::new() });
    assert_eq!(orders(&desired, &seen, at(0)), [delete(2, DeleteCause::NotRunning)]);
}

#[test]
fn clients_are_moved_once_the_endpoints_have_settled() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 200], at(0));
    seen.pods.get_mut(&name(0)).unwrap().traffic = left(0, None);
    let early = at(0) + SETTLE - SignedDuration::from_millis(1);
    assert_eq!(orders(&desired, &seen, early), []);
    assert_eq!(plan(&desired, &seen, early).wake.unwrap().as_millis(), 1);
    assert_eq!(orders(&desired, &seen, at(0) + SETTLE), [mark(0, 0, Some(605)), drain(0, 50.0, 605)]);
}

#[test]
fn all_drains_share_one_budget_and_a_rate_counts_until_a_report_says_less() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 90, 200], at(0));
    for (pod, rate) in [(0, 0.0), (1, 30.0)] {
        let view = seen.pods.get_mut(&name(pod)).unwrap();
        view.traffic = left(-20, Some(300));
        view.report = fresh(draining_report(rate, 0, 80), at(0));
    }
    // The first in line gets what is free, the second gives up what it has.
    let planned = plan(&desired, &seen, at(0));
    let sent: Vec<_> =
        planned.actions.into_iter().filter(|action| matches!(action, Action::Drain { .. })).collect();
    assert_eq!(sent, [drain(0, 20.0, 300), drain(1, 0.0, 300)]);
    // Before the next report nothing is known of that, and nothing is said twice.
    let again = Observed { memory: planned.memory, ..seen.clone() };
    assert_eq!(orders(&desired, &again, at(1)), []);
    // Then the rest is handed on.
    let mut later = again;
    for (pod, rate) in [(0, 20.0), (1, 0.0)] {
        later.pods.get_mut(&name(pod)).unwrap().report = fresh(draining_report(rate, 0, 80), at(2));
    }
    assert_eq!(orders(&desired, &later, at(2)), [drain(0, 50.0, 300)]);
}

#[test]
fn a_pod_that_terminates_comes_first_and_counts_as_using_the_whole_budget_until_it_reports() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 200, 90], at(0));
    seen.pods.get_mut(&name(0)).unwrap().traffic = left(-20, None);
    let dying = seen.pods.get_mut(&name(2)).unwrap();
    dying.deletion = Some(at(630));
    dying.report = Report::Stale { last: report(90), since: at(-10) };
    assert_eq!(orders(&desired, &seen, at(0)), []);
    seen.pods.get_mut(&name(2)).unwrap().report = fresh(draining_report(50.0, 60, 30), at(0));
    assert_eq!(orders(&desired, &seen, at(0)), [drain(2, 30.0, 600)]);
    seen.pods.get_mut(&name(2)).unwrap().report = fresh(draining_report(30.0, 60, 30), at(2));
    assert_eq!(orders(&desired, &seen, at(2)), [mark(0, -20, Some(602)), drain(0, 20.0, 602)]);
}

#[test]
fn a_gateway_that_does_not_answer_counts_until_it_must_be_through() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[100, 80, 200], at(0));
    seen.pods.get_mut(&name(0)).unwrap().traffic = left(-60, Some(300));
    seen.pods.get_mut(&name(1)).unwrap().traffic = left(-20, None);
    let silent_since = |second| Report::Stale { last: draining_report(50.0, 0, 100), since: at(second) };
    // Twice the 2 s that it needs at this rate, and the overtime.
    seen.pods.get_mut(&name(0)).unwrap().report = silent_since(-8);
    assert_eq!(orders(&desired, &seen, at(0)), []);
    seen.pods.get_mut(&name(0)).unwrap().report = silent_since(-9);
    assert_eq!(orders(&desired, &seen, at(0)), [mark(1, -20, Some(600)), drain(1, 50.0, 600)]);
    // Perhaps it was told to go slower, and heard it.
    seen.memory.grants.insert(name(0), Grant { at: at(-9), rate: 5.0 });
    assert_eq!(orders(&desired, &seen, at(0)), []);
}

#[test]
fn a_pod_that_is_deleted_with_less_than_its_grace_is_drained_for_most_of_what_there_is() {
    let desired = fixed(1);
    for (deletion, deadline) in [(630, 600), (120, 90), (60, 45), (24, 18), (8, 3), (4, -1)] {
        let mut seen = observed(&desired, &[80, 200], at(0));
        let dying = seen.pods.get_mut(&name(1)).unwrap();
        dying.deletion = Some(at(deletion));
        dying.report = fresh(draining_report(20.0, 0, 159), at(0));
        assert_eq!(orders(&desired, &seen, at(0)), [drain(1, 50.0, deadline)], "{deletion} s");
    }
}

#[test]
fn a_terminating_pod_that_does_not_answer_counts_until_the_kubelet_has_killed_it() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 200, 90], at(0));
    seen.pods.get_mut(&name(0)).unwrap().traffic = left(-20, None);
    let dying = seen.pods.get_mut(&name(2)).unwrap();
    dying.deletion = Some(at(-4));
    dying.report = Report::Stale { last: report(90), since: at(-60) };
    assert_eq!(orders(&desired, &seen, at(0)), []);
    seen.pods.get_mut(&name(2)).unwrap().deletion = Some(at(-5));
    assert_eq!(orders(&desired, &seen, at(0)), [mark(0, -20, Some(600)), drain(0, 50.0, 600)]);
}

#[test]
fn a_gateway_that_falls_silent_before_its_turn_gets_a_deadline_and_nothing_of_the_budget() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 200, 90], at(0));
    for pod in [0, 2] {
        seen.pods.get_mut(&name(pod)).unwrap().traffic = left(-20, None);
    }
    for silent in [Report::Never, Report::Stale { last: report(80), since: at(-10) }] {
        seen.pods.get_mut(&name(0)).unwrap().report = silent;
        let expected = [mark(2, -20, Some(600)), drain(2, 50.0, 600), mark(0, -20, Some(600))];
        assert_eq!(orders(&desired, &seen, at(0)), expected);
    }
}

#[test]
fn a_pod_that_is_set_aside_while_it_drains_counts_until_it_is_through() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 200, 90], at(0));
    for pod in [0, 2] {
        seen.pods.get_mut(&name(pod)).unwrap().traffic = left(0, Some(600));
    }
    seen.pods.get_mut(&name(0)).unwrap().report = fresh(draining_report(50.0, 20, 80), at(10));
    seen.pods.get_mut(&name(1)).unwrap().report = fresh(report(200), at(10));
    seen.pods.get_mut(&name(2)).unwrap().report = fresh(report(90), at(10));
    let (aside, view) = seen.pods.pop_first().unwrap();
    seen.aside.insert(aside.clone(), view);
    assert_eq!(orders(&desired, &seen, at(10)), []);
    // What it was granted and has not told of counts as well, and what it does by itself once somebody deletes it.
    let view = seen.aside.get_mut(&aside).unwrap();
    view.report = fresh(draining_report(10.0, 20, 80), at(10));
    assert_eq!(orders(&desired, &seen, at(10)), [drain(2, 40.0, 600)]);
    seen.memory.grants.insert(aside.clone(), Grant { at: at(10), rate: 30.0 });
    assert_eq!(orders(&desired, &seen, at(10)), [drain(2, 20.0, 600)]);
    seen.memory.grants.clear();
    let view = seen.aside.get_mut(&aside).unwrap();
    (view.deletion, view.report) = (Some(at(600)), fresh(report(80), at(10)));
    assert_eq!(orders(&desired, &seen, at(10)), []);
    seen.aside.clear();
    assert_eq!(orders(&desired, &seen, at(10)), [drain(2, 50.0, 600)]);
}

#[test]
fn pods_of_a_paused_cluster_that_somebody_deletes_share_the_budget_and_nothing_else_is_done() {
    let spec = json!({"replicas": 1, "paused": true, "disruption": {"maxReconnectsPerSecond": 50}});
    let desired = desired(&spec);
    let mut seen = observed(&desired, &[80, 90, 10, 20], at(0));
    for pod in [0, 1] {
        let view = seen.pods.get_mut(&name(pod)).unwrap();
        (view.deletion, view.ready) = (Some(at(630)), false);
        view.report = fresh(terminated_report(50.0, 80), at(0));
    }
    // One that was chosen before the pause, whose turn has not come, and one whose last client has moved.
    seen.pods.get_mut(&name(2)).unwrap().traffic = left(-60, None);
    let view = seen.pods.get_mut(&name(3)).unwrap();
    (view.traffic, view.report) = (left(-60, Some(600)), fresh(draining_report(0.0, 20, 0), at(0)));
    let planned = plan(&desired, &seen, at(0));
    assert_eq!(planned.actions, [drain(1, 0.0, 600)]);
    assert_eq!(planned.memory.grants, BTreeMap::from([(name(1), Grant { at: at(0), rate: 0.0 })]));
}

#[test]
fn a_rate_granted_by_the_last_plan_counts_although_no_report_shows_it() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80, 200, 90], at(0));
    seen.pods.get_mut(&name(0)).unwrap().traffic = left(-20, Some(300));
    seen.pods.get_mut(&name(2)).unwrap().traffic = left(-20, None);
    seen.memory.grants.insert(name(0), Grant { at: at(1), rate: 50.0 });
    assert_eq!(orders(&desired, &seen, at(1)), []);
}

#[test]
fn a_pod_is_deleted_when_its_last_client_has_moved_or_its_time_is_up() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[0, 200], at(0));
    let view = seen.pods.get_mut(&name(0)).unwrap();
    view.traffic = left(-20, Some(0));
    view.report = fresh(draining_report(50.0, 80, 0), at(0));
    assert_eq!(orders(&desired, &seen, at(0)), [delete(0, DeleteCause::Drained)]);
    for report in [fresh(draining_report(50.0, 80, 3), at(0)), Report::Never] {
        seen.pods.get_mut(&name(0)).unwrap().report = report;
        let overtime = at(0) + OVERTIME;
        assert!(
            !orders(&desired, &seen, overtime - SignedDuration::from_secs(1))
                .iter()
                .any(|action| { matches!(action, Action::DeletePod { .. }) })
        );
        assert_eq!(orders(&desired, &seen, overtime), [delete(0, DeleteCause::DeadlinePassed)]);
    }
}

#[test]
fn nobody_is_moved_where_nobody_has_room() {
    let desired = desired(&json!({"replicas": 1, "limits": {"maxConnections": 200}}));
    let mut seen = observed(&desired, &[80, 200], at(0));
    seen.pods.get_mut(&name(0)).unwrap().traffic = left(-20, None);
    let planned = plan(&desired, &seen, at(0));
    assert!(planned.reasons.contains(&Reason::DrainBlocked { pod: name(0) }), "{:?}", planned.reasons);
    assert_eq!(orders(&desired, &seen, at(0)), []);
    seen.pods.get_mut(&name(1)).unwrap().report = fresh(report(190), at(0));
    assert_eq!(orders(&desired, &seen, at(0)), [mark(0, -20, Some(900)), drain(0, 10.0, 900)]);
}

#[test]
fn the_least_drained_pod_comes_back_first() {
    let desired = fixed(2);
    let mut seen = observed(&desired, &[10, 60, 50], at(0));
    for (pod, moved, remaining) in [(0, 90, 10), (2, 50, 50)] {
        let view = seen.pods.get_mut(&name(pod)).unwrap();
        view.traffic = left(-20, Some(300));
        view.report = fresh(draining_report(10.0, moved, remaining), at(0));
    }
    assert_eq!(orders(&desired, &seen, at(0)), [Action::CancelDrain { pod: name(2) }]);
}

#[test]
fn a_serving_pod_that_still_drains_is_told_to_stop() {
    let desired = fixed(1);
    let mut seen = observed(&desired, &[80], at(0));
    seen.pods.get_mut(&name(0)).unwrap().report = fresh(draining_report(25.0, 5, 80), at(0));
    assert_eq!(orders(&desired, &seen, at(0)), [Action::CancelDrain { pod: name(0) }]);
}
