//! A gateway pod: what the API server has of it, the process in it, and what the referee has to know.

use crate::api::{Mark, PodObject, Spec};
use crate::gateway::{ClientId, Gateway, Pace, Second};

#[derive(Clone, Debug)]
pub struct Pod {
    pub object: PodObject,
    pub gateway: Gateway,
    pub node: Option<usize>,
    /// When its process is up, if nothing is in the way.
    pub starts: Second,
    pub limit: usize,
    pub grace: Second,
    pub image: String,
    /// What the spec that it was made for asked of pods.
    pub made_for: String,
    pub marked_at: Option<Second>,
    /// When its drain first got a deadline.
    pub turn_at: Option<Second>,
    /// When it was told to end.
    pub ended_at: Option<Second>,
    /// Somebody else than the operator told it to.
    pub ended_by_user: bool,
    pub sidecar_until: Second,
    pub crashes: u8,
}

/// Connections that a gateway lost.
#[derive(Clone, Debug)]
pub struct Closed {
    pub pod: String,
    pub clients: Vec<ClientId>,
    pub how: How,
    /// Connections that its drain had closed by then.
    pub moved: u64,
    /// Since when its end, or that of its drain, was known.
    pub told: Option<Second>,
    /// Since when the operator can reach it.
    pub reachable_since: Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// At the pace of a drain.
    Paced,
    /// The drain's time was up.
    TimeUp,
    /// The kubelet killed the gateway.
    Killed,
    /// The gateway or its node went down.
    Lost,
}

impl Pod {
    pub fn new(object: PodObject, spec: &Spec, grace: Second, image: String) -> Self {
        let wish = &spec.wish;
        let (rate, timeout, limit) = (wish.budget, wish.drain_timeout, wish.limit);
        let made_for = wish.pods.clone();
        Self {
            object,
            gateway: Gateway::new(Pace { rate, timeout }),
            node: None,
            starts: Second::MAX,
            limit,
            grace,
            image,
            made_for,
            marked_at: None,
            turn_at: None,
            ended_at: None,
            ended_by_user: false,
            sidecar_until: 0,
            crashes: 0,
        }
    }

    pub fn closed(&self, name: &str, clients: Vec<ClientId>, how: How) -> Closed {
        Closed {
            pod: name.into(),
            clients,
            how,
            moved: self.gateway.drain.as_ref().map_or(0, |drain| drain.moved),
            told: [self.ended_at, self.turn_at].into_iter().flatten().min(),
            reachable_since: self.gateway.silent_until,
        }
    }

    /// The process ends, and with it every connection.
    pub fn stop(&mut self, name: &str, how: How) -> Closed {
        let clients = std::mem::take(&mut self.gateway.clients);
        let closed = self.closed(name, clients, how);
        self.gateway.stop();
        closed
    }

    /// Puts the pod out of the endpoints, or tells more of why it is.
    pub fn mark(&mut self, mark: Mark, now: Second) {
        self.marked_at = self.marked_at.or(Some(now));
        self.turn_at = self.turn_at.or(mark.deadline.map(|_| now));
        self.object.mark = Some(mark);
    }

    pub fn unmark(&mut self) {
        (self.object.mark, self.marked_at, self.turn_at) = (None, None, None);
    }

    pub fn set_ready(&mut self, ready: bool, now: Second) {
        if self.object.ready != ready {
            (self.object.ready, self.object.ready_since) = (ready, now);
        }
    }

    /// It serves, or will.
    pub fn stays(&self) -> bool {
        self.object.labelled && self.object.mark.is_none() && self.object.deletion.is_none()
    }
}
