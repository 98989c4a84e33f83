//! The only file that knows the planner's own types: turns what an operator sees into what it is given, and what it says into what is done.

use crate::api::{Mark, Phase, PodObject};
use crate::gateway::{Gateway, Second, Trigger};
use crate::shell::Operator;
use crate::world::{World, at};
use gateway_core::control::{self, Connections, DrainProgress, DrainTrigger};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use operator_core::desired::Desired;
use operator_core::names::{PULLS, PodName, REVISION, Revision};
use operator_core::observed::{
    self, DrainCause, FRESH_SECONDS, ObjectKey, Observed, PodView, Report, Traffic, Troubles, Waiting,
};
use operator_core::ownership::{Holder, Standing};
use operator_core::plan::Action;
use std::collections::BTreeMap;

/// The operator's clock.
pub fn wall(world: &World) -> Timestamp {
    at(world.now + world.skew)
}

pub fn observe(world: &World, desired: &Desired, operator: &Operator, wall: Timestamp) -> Observed {
    let view = |(name, object): (&String, &PodObject)| {
        (PodName(name.clone()), view(object, said(operator, object.uid, wall)))
    };
    let (pods, aside) = operator.pods().partition::<Vec<_>, _>(|(_, object)| object.labelled);
    let theirs = |key: &ObjectKey| (key.clone(), Standing::Taken(Holder::Nobody));
    Observed {
        pods: pods.into_iter().map(view).collect(),
        aside: aside.into_iter().map(view).collect(),
        owned: world.objects.owned.clone(),
        others: world.objects.foreign.iter().map(theirs).collect(),
        refusals: BTreeMap::new(),
        rewritten: operator.rewritten(&world.objects.owned),
        secrets: desired.referenced_secrets().into_iter().collect(),
        status: world.status.clone(),
        memory: operator.memory.clone(),
    }
}

fn view(object: &PodObject, report: Report) -> PodView {
    PodView {
        uid: object.uid.to_string(),
        resource_version: object.version.to_string(),
        phase: match object.phase {
            Phase::Pending => observed::Phase::Pending,
            Phase::Running => observed::Phase::Running,
        },
        ready: object.ready,
        ready_since: at(object.ready_since),
        traffic: object.mark.as_ref().map_or(Traffic::Serving, |mark| Traffic::Draining {
            cause: DrainCause::from_annotation(&mark.cause),
            since: mark.since,
            deadline: mark.deadline,
        }),
        revision: Revision(object.revision.clone()),
        pulls: object.pulls.clone(),
        created: at(object.created),
        deletion: object.deletion.map(at),
        waiting: object.waiting.map(waiting),
        troubles: Troubles {
            beside: object.beside.map(|reason| ("sidecar".into(), waiting(reason))),
            ..Troubles::default()
        },
        report,
    }
}

fn waiting(reason: &str) -> Waiting {
    Waiting { reason: reason.into(), message: String::new() }
}

fn said(operator: &Operator, uid: u64, wall: Timestamp) -> Report {
    match operator.reports.get(&uid) {
        None => Report::Never,
        Some((report, at)) if wall.duration_since(*at).as_secs() < FRESH_SECONDS => {
            Report::Fresh { report: report.clone(), at: *at }
        }
        Some((last, since)) => Report::Stale { last: last.clone(), since: *since },
    }
}

/// What a gateway answers.
pub fn report(gateway: &Gateway, now: Second) -> control::Report {
    let connections = u32::try_from(gateway.clients.len()).unwrap();
    let drain = gateway.drain.as_ref().map(|drain| DrainProgress {
        trigger: match drain.trigger {
            Trigger::Requested => DrainTrigger::Requested,
            Trigger::Terminated => DrainTrigger::Terminated,
        },
        connections_per_second: drain.rate,
        moved: drain.moved,
        remaining: connections,
        seconds_left: (drain.deadline - now).max(0).cast_unsigned(),
    });
    control::Report {
        connections: Connections { centrifuge: connections, raw: 0 },
        drain,
        ..control::Report::default()
    }
}

pub fn mark(cause: DrainCause, since: Timestamp, deadline: Option<Timestamp>) -> Mark {
    Mark { cause: cause.as_str().into(), since, deadline }
}

/// A pod's revision, and the image it was made with.
pub fn labels(pod: &Pod) -> (String, Option<String>) {
    let labels = pod.metadata.labels.as_ref().unwrap();
    let pulls = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(PULLS));
    (labels[REVISION].clone(), pulls.cloned())
}

/// The existing pod that an action is about.
pub fn pod_of(action: &Action) -> Option<String> {
    match action {
        Action::Relabel { pod, .. }
        | Action::MarkDraining { pod, .. }
        | Action::Drain { pod, .. }
        | Action::CancelDrain { pod }
        | Action::DeletePod { pod, .. } => Some(pod.0.clone()),
        Action::Apply { .. } | Action::Remove { .. } | Action::CreateSecret(_) | Action::CreatePod(_) => None,
    }
}

/// An action and what it is done to: one that failed waits under this name.
pub fn identity(action: &Action) -> String {
    let about = match action {
        Action::Apply { key, .. } | Action::Remove { key } => format!("{key:?}"),
        Action::CreateSecret(which) => format!("{which:?}"),
        Action::CreatePod(pod) => pod.metadata.name.clone().unwrap_or_default(),
        Action::Relabel { .. }
        | Action::MarkDraining { .. }
        | Action::Drain { .. }
        | Action::CancelDrain { .. }
        | Action::DeletePod { .. } => pod_of(action).unwrap_or_default(),
    };
    format!("{} {about}", action.name())
}
