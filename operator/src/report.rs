//! Events: what was decided and why, said once.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, ResourceExt};
use operator_core::desired::Stored;
use operator_core::names::{MANAGER, PodName};
use operator_core::observed::ObjectKind;
use operator_core::plan::{Action, Reason};
use tracing::warn;

use crate::context::Context;
use crate::error::{Class, Error};
use crate::execute::{Failure, identity};
use crate::kubernetes::call;
use crate::memory::Memory;

/// The API server refuses longer notes.
const NOTE_BYTES: usize = 1024;

/// What came of a plan.
pub struct Outcome<'a> {
    /// Why things are as they are.
    pub reasons: &'a [Reason],
    /// The status is not what it was.
    pub status_changed: bool,
    /// What was done.
    pub done: &'a [Action],
    /// What was tried.
    pub failed: &'a [Failure],
}

/// Says in events what is new. An event that cannot be written is logged and lost: it changes nothing.
pub async fn report(context: &Context, cluster: &Stored, outcome: &Outcome<'_>, memory: &mut Memory) {
    let &Outcome { reasons, status_changed, done, failed } = outcome;
    let states = reasons.iter().map(|reason| (subject(reason), of_reason(reason)));
    // A refusal is a reason of the next plan.
    let failures = failed
        .iter()
        .filter(|failure| failure.error.class() == Class::Permanent && failure.error.refusal().is_none());
    let failures = failures.map(|failure| (identity(&failure.action), of_failure(failure)));
    let (subjects, events): (Vec<_>, Vec<_>) = states.chain(failures).unzip();
    let news = memory
        .said
        .news(&subjects, status_changed)
        .into_iter()
        .zip(events)
        .filter_map(|(new, event)| new.then_some(event));
    for event in news.chain(done.iter().filter_map(|action| of_action(action, cluster))) {
        if memory.namespace_ends {
            return;
        }
        match publish(context, cluster, &event).await {
            Err(error) if error.is_namespace_terminating() => memory.namespace_ends = true,
            Err(error) => {
                warn!(cluster = cluster.name_any(), namespace = cluster.namespace(), %error, "the event is lost");
            }
            Ok(()) => {}
        }
    }
}

async fn publish(context: &Context, cluster: &Stored, event: &Event) -> Result<(), Error> {
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(context.identity.clone()) };
    // A recorder that is used again would count a second event of the same reason, and keep the first one's words.
    let recorder = Recorder::new(context.client.clone(), reporter);
    context.must_lead()?;
    let about = cluster.object_ref(&());
    call(|| format!("write event {}", event.reason), recorder.publish(event, &about)).await
}

/// What a reason is about: numbers that change do not make it another.
fn subject(reason: &Reason) -> String {
    let name = reason.name();
    match reason {
        Reason::InvalidSpec { message, .. } => format!("{name} {message}"),
        Reason::SecretMissing { name: secret, key } => format!("{name} {secret} {key}"),
        Reason::NameTaken { key, .. } | Reason::ObjectRewritten { key, .. } => format!("{name} {key}"),
        // All pods are made alike.
        Reason::Refused { key, .. } if key.kind != ObjectKind::Pod => format!("{name} {key}"),
        Reason::SidecarFailed { container, .. } => format!("{name} {container}"),
        Reason::ImagePullFailed { pod, .. }
        | Reason::ContainerFailed { pod, .. }
        | Reason::DrainBlocked { pod } => {
            format!("{name} {pod}")
        }
        _ => name.to_owned(),
    }
}

fn of_reason(reason: &Reason) -> Event {
    let type_ = if reason.is_warning() { EventType::Warning } else { EventType::Normal };
    event(type_, reason.name(), "Plan", &reason.to_string(), None)
}

fn of_failure(failure: &Failure) -> Event {
    let name = failure.action.name();
    event(EventType::Warning, &format!("{name}Failed"), name, &failure.error.to_string(), None)
}

/// What is done to pods is said each time; the other actions show in what they make.
fn of_action(action: &Action, cluster: &Stored) -> Option<Event> {
    let (pod, note) = match action {
        Action::CreatePod(pod) => (PodName(pod.name_any()), "started".to_owned()),
        Action::Relabel { pod, labels } => {
            let labels: Vec<_> = labels.keys().map(String::as_str).collect();
            (pod.clone(), format!("has its labels back: {}", labels.join(", ")))
        }
        Action::MarkDraining { pod, cause, deadline, .. } => {
            let until =
                deadline.map(|deadline| format!(", until {deadline} at the latest")).unwrap_or_default();
            (
                pod.clone(),
                format!("takes no new clients and hands over those it has ({}){until}", cause.as_str()),
            )
        }
        Action::CancelDrain { pod } => {
            (pod.clone(), "takes clients again: its drain was cancelled".to_owned())
        }
        Action::DeletePod { pod, why, .. } => (pod.clone(), format!("deleted: {why:?}")),
        Action::Apply { .. } | Action::Remove { .. } | Action::CreateSecret(_) | Action::Drain { .. } => {
            return None;
        }
    };
    let reference = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(pod.0.clone()),
        namespace: cluster.namespace(),
        ..ObjectReference::default()
    };
    let name = action.name();
    Some(event(EventType::Normal, name, name, &format!("pod {pod} {note}"), Some(reference)))
}

fn event(
    type_: EventType,
    reason: &str,
    action: &str,
    note: &str,
    related: Option<ObjectReference>,
) -> Event {
    let end = note.floor_char_boundary(NOTE_BYTES);
    Event {
        type_,
        reason: reason.into(),
        note: Some(note[..end].into()),
        action: action.into(),
        secondary: related,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_to_what_the_api_server_takes() {
        let note = event(EventType::Normal, "R", "A", &"ä".repeat(NOTE_BYTES), None).note.unwrap();
        assert_eq!(note.len(), NOTE_BYTES);
    }
}
