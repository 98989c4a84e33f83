//! The gateway pods, sorted by what can be done with them.

use crate::desired::Desired;
use crate::names::PodName;
use crate::observed::{DrainCause, Observed, Phase, PodView, Traffic};
use gateway_core::control::{DrainProgress, DrainTrigger};
use jiff::Timestamp;

/// A gateway pod.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub name: &'a PodName,
    pub view: &'a PodView,
    /// It has the desired revision.
    pub updated: bool,
}

/// How a pod drains, when it is not terminating.
#[derive(Clone, Copy)]
pub(super) struct Leaving {
    pub cause: DrainCause,
    pub since: Timestamp,
    pub deadline: Option<Timestamp>,
}

impl<'a> Member<'a> {
    pub fn terminating(self) -> bool {
        self.view.deletion.is_some()
    }

    pub fn ended(self) -> bool {
        !self.terminating() && self.view.phase == Phase::Ended
    }

    pub fn leaving(self) -> Option<Leaving> {
        match self.view.traffic {
            Traffic::Draining { cause, since, deadline } if self.active() => {
                Some(Leaving { cause, since, deadline })
            }
            Traffic::Draining { .. } | Traffic::Serving => None,
        }
    }

    pub fn serving(self) -> bool {
        self.active() && self.view.traffic == Traffic::Serving
    }

    pub fn ready_serving(self) -> bool {
        self.serving() && self.view.ready
    }

    /// Its container does not run, so that it holds no connection.
    pub fn not_running(self) -> bool {
        self.active()
            && !self.view.ready
            && (self.view.phase == Phase::Pending || self.view.waiting.is_some())
    }

    /// It waits for an image that a pod made now would not ask for, or would ask for with other Secrets.
    pub fn pulls_in_vain(self, desired: &Desired) -> bool {
        let waits = self.view.waiting.as_ref().is_some_and(|waiting| waiting.is_for_image());
        let is_other = self.view.pulls.as_ref().is_some_and(|pulls| *pulls != desired.pulls());
        self.not_running() && waits && is_other
    }

    /// Live connections, if it said so recently.
    pub fn connections(self) -> Option<u32> {
        if self.holds_nobody() {
            return Some(0);
        }
        self.view.report.fresh().map(|report| report.connections.total())
    }

    /// The drain that it reported last.
    pub fn drain(self) -> Option<&'a DrainProgress> {
        self.view.report.last().and_then(|(report, _)| report.drain.as_ref())
    }

    /// A fresh report says that the last connection is gone.
    pub fn drained(self) -> bool {
        let report = self.view.report.fresh();
        report
            .is_some_and(|r| r.connections.total() == 0 && r.drain.is_some_and(|drain| drain.remaining == 0))
    }

    /// It drains by request although it should serve.
    pub fn drains_needlessly(self) -> bool {
        let drain = self.view.report.fresh().and_then(|report| report.drain);
        self.serving() && drain.is_some_and(|drain| drain.trigger == DrainTrigger::Requested)
    }

    /// Its container does not run, so that it has no connection.
    fn holds_nobody(self) -> bool {
        let starts = !self.view.ready && (self.view.phase == Phase::Pending || self.view.waiting.is_some());
        starts || self.view.phase == Phase::Ended
    }

    /// It lives, and nobody has told it to end.
    pub fn active(self) -> bool {
        !self.terminating() && !self.ended()
    }
}

/// All gateway pods, by name.
pub(super) struct Fleet<'a> {
    members: Vec<Member<'a>>,
    /// Those that were set aside: they take nobody and are told nothing, and may still be moving clients.
    aside: Vec<Member<'a>>,
}

impl<'a> Fleet<'a> {
    pub fn new(desired: &Desired, observed: &'a Observed) -> Self {
        let member = |(name, view): (&'a PodName, &'a PodView)| Member {
            name,
            view,
            updated: view.revision == desired.revision,
        };
        Self {
            members: observed.pods.iter().map(member).collect(),
            aside: observed.aside.iter().map(member).collect(),
        }
    }

    /// Those whose clients may be moving, whoever they belong to by now.
    pub fn with_aside(&self) -> impl Iterator<Item = Member<'a>> + '_ {
        self.members.iter().chain(&self.aside).copied()
    }

    pub fn all(&self) -> impl Iterator<Item = Member<'a>> + '_ {
        self.members.iter().copied()
    }

    pub fn count(&self, filter: impl Fn(Member<'a>) -> bool) -> usize {
        self.all().filter(|member| filter(*member)).count()
    }

    /// Ready serving pods whose load is unknown.
    pub fn silent(&self) -> Vec<PodName> {
        let silent = |m: &Member<'_>| m.ready_serving() && m.connections().is_none();
        self.all().filter(silent).map(|m| m.name.clone()).collect()
    }

    /// Connections that the ready serving pods among those that `filter` takes can still hold; what is unknown is full.
    pub fn room(&self, desired: &Desired, filter: impl Fn(Member<'a>) -> bool) -> u64 {
        let limit = desired.gateway.limits.max_connections;
        let free = |m: Member<'_>| m.connections().map_or(0, |connections| limit.saturating_sub(connections));
        self.all().filter(|m| m.ready_serving() && filter(*m)).map(|m| u64::from(free(m))).sum()
    }
}
