//! Events: what was decided and why, said once.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, ResourceExt};
use operator_core::crd::WebSocketCluster;
use operator_core::names::{MANAGER, PodName};
use operator_core::plan::{Action, Reason};
use tokio::time::Instant;
use tracing::warn;

use crate::controller::Context;
use crate::error::Class;
use crate::execute::{Failure, identity};
use crate::kubernetes::call;
use crate::memory::Memory;

/// What comes and goes is said again after this time at the earliest.
const SILENCE: Duration = Duration::from_secs(600);
/// The API server refuses longer notes.
const NOTE_BYTES: usize = 1024;

/// What was said of one cluster, and when it was last true.
#[derive(Debug, Default)]
pub struct Said(Option<BTreeMap<String, Instant>>);

impl Said {
    /// Of what is true now, the subjects to say: those that were not true within [`SILENCE`]. In the first pass of a new
    /// leader, what left the status as it was is no news: the one before said it.
    fn news(&mut self, subjects: &[String], status_changed: bool) -> Vec<bool> {
        let now = Instant::now();
        let repeats = self.0.is_none() && !status_changed;
        let said = self.0.get_or_insert_default();
        said.retain(|_, last| now.duration_since(*last) < SILENCE);
        subjects.iter().map(|subject| said.insert(subject.clone(), now).is_none() && !repeats).collect()
    }
}

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
pub async fn report(
    context: &Context,
    cluster: &WebSocketCluster,
    outcome: &Outcome<'_>,
    memory: &mut Memory,
) {
    let &Outcome { reasons, status_changed, done, failed } = outcome;
    let states = reasons.iter().map(|reason| (subject(reason), of_reason(reason)));
    let failures = failed.iter().filter(|failure| failure.error.class() == Class::Permanent);
    let failures = failures.map(|failure| (identity(&failure.action), of_failure(failure)));
    let (subjects, events): (Vec<_>, Vec<_>) = states.chain(failures).unzip();
    let news = memory
        .said
        .news(&subjects, status_changed)
        .into_iter()
        .zip(events)
        .filter_map(|(new, event)| new.then_some(event));
    for event in news.chain(done.iter().filter_map(|action| of_action(action, cluster))) {
        publish(context, cluster, &event).await;
    }
}

async fn publish(context: &Context, cluster: &WebSocketCluster, event: &Event) {
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(context.identity.clone()) };
    // A recorder that is used again would count a second event of the same reason, and keep the first one's words.
    let recorder = Recorder::new(context.client.clone(), reporter);
    let written = match context.must_lead() {
        Ok(()) => {
            call(
                || format!("write event {}", event.reason),
                recorder.publish(event, &cluster.object_ref(&())),
            )
            .await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        warn!(cluster = cluster.name_any(), namespace = cluster.namespace(), %error, "the event is lost");
    }
}

/// What a reason is about: numbers that change do not make it another.
fn subject(reason: &Reason) -> String {
    let name = reason.name();
    match reason {
        Reason::InvalidSpec { message, .. } => format!("{name} {message}"),
        Reason::SecretMissing { name: secret, key } => format!("{name} {secret} {key}"),
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
fn of_action(action: &Action, cluster: &WebSocketCluster) -> Option<Event> {
    let (pod, note) = match action {
        Action::CreatePod(pod) => (PodName(pod.name_any()), "started".to_owned()),
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

    #[tokio::test(start_paused = true)]
    async fn what_stays_true_is_said_once_and_what_flaps_at_most_every_ten_minutes() {
        let mut said = Said::default();
        let both = ["a".to_owned(), "b".to_owned()];
        assert_eq!(said.news(&both, true), [true, true]);
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!(said.news(&both[..1], true), [false]);
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!(said.news(&both, true), [false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_does_not_repeat_what_the_status_says_already() {
        let mut said = Said::default();
        assert_eq!(said.news(&["a".to_owned()], false), [false]);
        assert_eq!(said.news(&["a".to_owned(), "b".to_owned()], false), [false, true]);
    }

    #[test]
    fn a_long_note_is_cut_to_what_the_api_server_takes() {
        let note = event(EventType::Normal, "R", "A", &"ä".repeat(NOTE_BYTES), None).note.unwrap();
        assert_eq!(note.len(), NOTE_BYTES);
    }
}
