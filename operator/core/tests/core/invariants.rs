//! What holds whatever is seen.

use crate::fixtures::{at, desired, draining_report, name, report, serving};
use gateway_core::control;
use jiff::SignedDuration;
use operator_core::desired::{Desired, Size};
use operator_core::names::Revision;
use operator_core::observed::{DrainCause, Observed, Phase, PodView, Report, Traffic, Waiting};
use operator_core::plan::{Action, OVERTIME, Plan, Reason, plan};
use proptest::prelude::*;
use serde_json::{Value, json};

const BUDGET: u32 = 50;

fn spec() -> impl Strategy<Value = Value> {
    let fixed = (0..6_u32).prop_map(|replicas| json!({"replicas": replicas}));
    let scaled = (1..4_u32, 0..4_u32).prop_map(|(min, more)| {
        json!({"scaling": {"minReplicas": min, "maxReplicas": min + more, "connectionsPerPod": 100}})
    });
    prop_oneof![fixed, scaled].prop_map(|mut spec| {
        spec["disruption"] = json!({"maxReconnectsPerSecond": BUDGET});
        spec
    })
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let cause = prop_oneof![Just(DrainCause::ScaleDown), Just(DrainCause::Rollout)];
    let draining =
        (cause, -60..0_i64, proptest::option::of(-30..60_i64)).prop_map(|(cause, since, deadline)| {
            Traffic::Draining { cause, since: at(since), deadline: deadline.map(at) }
        });
    prop_oneof![2 => Just(Traffic::Serving), 1 => draining]
}

fn answer() -> impl Strategy<Value = control::Report> {
    let draining = (0..80_u32, 0..300_u32).prop_map(|(rate, left)| draining_report(rate.into(), 10, left));
    prop_oneof![(0..300_u32).prop_map(report), draining]
}

fn said() -> impl Strategy<Value = Report> {
    prop_oneof![
        4 => answer().prop_map(|report| Report::Fresh { report, at: at(0) }),
        1 => answer().prop_map(|last| Report::Stale { last, since: at(-20) }),
        1 => Just(Report::Never),
    ]
}

fn pod(desired: &Desired) -> impl Strategy<Value = PodView> + use<> {
    let updated = desired.revision.clone();
    let phase = prop_oneof![
        1 => Just(Phase::Pending), 8 => Just(Phase::Running), 1 => Just(Phase::Ended), 1 => Just(Phase::Unknown)
    ];
    let deletion = prop_oneof![4 => Just(None), 1 => (1..60_i64).prop_map(|s| Some(at(s)))];
    (any::<bool>(), any::<bool>(), any::<bool>(), phase, deletion, traffic(), said()).prop_map(
        move |(new, ready, waits, phase, deletion, traffic, report)| {
            let revision = if new { updated.clone() } else { Revision("old".into()) };
            let ready = ready && phase == Phase::Running;
            let waiting = (waits && !ready)
                .then(|| Waiting { reason: "CrashLoopBackOff".into(), message: "exit 1".into() });
            PodView { ready, phase, deletion, traffic, report, waiting, ..serving(&revision, 0, at(0)) }
        },
    )
}

fn situation() -> impl Strategy<Value = (Desired, Observed)> {
    spec().prop_flat_map(|spec| {
        let desired = desired(&spec);
        let pods = proptest::collection::vec(pod(&desired), 0..9);
        (Just(desired), pods).prop_map(|(desired, pods)| {
            let pods = pods.into_iter().enumerate().map(|(i, pod)| (name(i), pod)).collect();
            (desired, Observed { pods, ..Observed::default() })
        })
    })
}

/// The rate that a gateway may be using, judged apart from the planner.
fn in_force(pod: &PodView) -> f64 {
    let (budget, last) = (f64::from(BUDGET), pod.report.last().map(|(report, _)| report));
    match (last.and_then(|report| report.drain), last) {
        _ if pod.report.fresh().is_some_and(|report| report.connections.total() == 0) => 0.0,
        _ if holds_nobody(pod) || is_through(pod) => 0.0,
        (Some(drain), _) => drain.connections_per_second,
        (None, Some(_)) if pod.deletion.is_none() => 0.0,
        (None, None) if pod.deletion.is_none() && !has_deadline(pod) => 0.0,
        (None, _) => budget,
    }
}

/// It was told to drain, or may have been.
fn has_deadline(pod: &PodView) -> bool {
    matches!(pod.traffic, Traffic::Draining { deadline: Some(_), .. })
}

/// It has not answered for twice as long as it needs to close its last connection.
fn is_through(pod: &PodView) -> bool {
    let Report::Stale { last, since } = &pod.report else { return false };
    let silent = (at(0).duration_since(*since) - OVERTIME).as_secs_f64();
    last.drain.is_some_and(|drain| silent * drain.connections_per_second >= 2.0 * f64::from(drain.remaining))
}

fn holds_nobody(pod: &PodView) -> bool {
    let drained =
        pod.report.fresh().is_some_and(|report| report.connections.total() == 0 && report.drain.is_some());
    let runs = pod.ready || (pod.phase != Phase::Pending && pod.waiting.is_none());
    drained || !runs || pod.phase == Phase::Ended
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_pod_is_deleted_with_connections_before_its_deadline((desired, observed) in situation()) {
        for action in plan(&desired, &observed, at(0)).actions {
            let Action::DeletePod { pod, .. } = action else { continue };
            let view = &observed.pods[&pod];
            let overdue = matches!(view.traffic, Traffic::Draining { deadline: Some(d), .. } if at(0) >= d + OVERTIME);
            prop_assert!(holds_nobody(view) || overdue, "{pod}: {view:?}");
        }
    }

    #[test]
    fn the_size_never_leaves_its_bounds((desired, observed) in situation()) {
        let size = u32::try_from(plan(&desired, &observed, at(0)).status.desired_replicas).unwrap();
        match &desired.size {
            Size::Fixed(fixed) => prop_assert_eq!(size, *fixed),
            Size::Scaled(scaling) => prop_assert!((scaling.min..=scaling.max).contains(&size)),
        }
    }

    #[test]
    fn without_every_report_no_pod_is_chosen_for_scale_down((desired, observed) in situation()) {
        let silent = observed.pods.values().any(|pod| {
            let active = pod.deletion.is_none() && pod.phase != Phase::Ended;
            active && pod.ready && pod.traffic == Traffic::Serving && pod.report.fresh().is_none()
        });
        let chosen = plan(&desired, &observed, at(0)).actions.into_iter().any(|action| {
            matches!(action, Action::MarkDraining { cause: DrainCause::ScaleDown, deadline: None, .. })
        });
        prop_assert!(!(silent && chosen));
    }

    #[test]
    fn the_rates_granted_and_in_force_never_exceed_the_budget((desired, observed) in situation()) {
        let planned = plan(&desired, &observed, at(0));
        let before: f64 = observed.pods.values().map(in_force).sum();
        let after: f64 = observed.pods.iter().map(|(name, pod)| {
            let granted = planned.actions.iter().find_map(|action| match action {
                Action::Drain { pod, rate, .. } if pod == name => Some(*rate),
                _ => None,
            });
            in_force(pod).max(granted.unwrap_or(0.0))
        }).sum();
        prop_assert!(after <= before.max(BUDGET.into()) + 0.001, "{after} after {before}");
    }

    #[test]
    fn the_same_input_gives_the_same_plan((desired, observed) in situation()) {
        prop_assert_eq!(plan(&desired, &observed, at(0)), plan(&desired, &observed, at(0)));
    }

    #[test]
    fn each_pod_gets_one_kind_of_order((desired, observed) in situation()) {
        let mut fates = std::collections::BTreeMap::new();
        for action in plan(&desired, &observed, at(0)).actions {
            let (pod, fate) = match action {
                Action::DeletePod { pod, .. } => (pod, "go"),
                Action::CancelDrain { pod } => (pod, "stay"),
                Action::MarkDraining { pod, .. } | Action::Drain { pod, .. } => (pod, "drain"),
                _ => continue,
            };
            let before = fates.insert(pod.clone(), fate);
            prop_assert!(before.is_none_or(|before| before == fate), "{pod}: {before:?} and {fate}");
        }
    }

    #[test]
    fn a_goal_not_reached_has_a_reason_and_a_time_to_look_again((desired, observed) in situation()) {
        let Plan { status, reasons, wake, .. } = plan(&desired, &observed, at(0));
        let unmet = status.ready_replicas < status.desired_replicas || status.draining_replicas > 0;
        prop_assert!(!unmet || !reasons.is_empty());
        prop_assert!(!unmet || wake.is_some());
    }

    #[test]
    fn what_the_status_says_does_not_move_by_itself((desired, observed) in situation()) {
        let first = plan(&desired, &observed, at(0));
        let again = Observed { status: Some(first.status.clone()), memory: first.memory, ..observed };
        prop_assert_eq!(plan(&desired, &again, at(0) + SignedDuration::from_millis(1)).status, first.status);
    }
}

#[test]
fn a_plan_that_waits_says_for_what() {
    let desired = desired(&json!({"replicas": 1}));
    let mut observed = crate::fixtures::observed(&desired, &[5, 7], at(0));
    observed.pods.get_mut(&name(1)).unwrap().report = Report::Never;
    let reasons = plan(&desired, &observed, at(0)).reasons;
    assert!(reasons.contains(&Reason::WaitingForReports { pods: vec![name(1)] }), "{reasons:?}");
}
