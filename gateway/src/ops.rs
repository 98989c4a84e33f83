//! Operations on their way from one shard to the backplane.

use std::collections::VecDeque;

use gateway_core::{
    backplane::{BackplaneError, Inbound, Op},
    key::{ConnectionKey, RequestId},
};

use crate::{
    backplane::{BackplaneHandle, Command, Recipient, Refused},
    metrics::Metrics,
};

/// Operations nobody waits for that may queue up here while the backplane's own queue is full. A shard that is this far behind has
/// been without its backplane for long; presence and subscriptions are made anew when it is back.
const MAX_LATER: usize = 262_144;

/// One shard's way to the backplane. Operations stay in order: while one waits here, none overtakes it.
#[derive(Debug)]
pub struct Ops {
    backplane: BackplaneHandle,
    shard: u16,
    later: VecDeque<Op>,
    /// Completions of operations that were refused at once.
    refused: Vec<Inbound>,
    metrics: Metrics,
}

impl Ops {
    /// Nothing under way.
    #[must_use]
    pub fn new(backplane: BackplaneHandle, shard: u16, metrics: Metrics) -> Self {
        Self { backplane, shard, later: VecDeque::new(), refused: Vec::new(), metrics }
    }

    /// Submits an operation. One that somebody waits for is refused when the queue is full; one that nobody waits for, such as the
    /// release of a channel, is kept for later.
    pub fn submit(&mut self, waiter: Option<(ConnectionKey, RequestId)>, op: Op) {
        if op.as_publish().is_some() {
            self.metrics.publications.inc();
        }
        let refused =
            if self.later.is_empty() { self.put(waiter, op) } else { Some((op, BackplaneError::Busy)) };
        let Some((op, error)) = refused else { return };
        self.metrics.backplane_refused.inc();
        match waiter {
            Some((connection, request)) => {
                self.refused.push(Inbound::Completed { connection, request, result: Err(error) });
            }
            None if self.later.len() < MAX_LATER => self.later.push_back(op),
            None => tracing::error!("the backplane has not taken {MAX_LATER} operations; one is lost"),
        }
    }

    /// Completions of refused operations, once.
    pub fn take_refused(&mut self) -> Vec<Inbound> {
        std::mem::take(&mut self.refused)
    }

    /// Submits what waits here, as far as the backplane takes it.
    pub fn retry(&mut self) {
        while let Some(op) = self.later.pop_front() {
            if let Some((op, _)) = self.put(None, op) {
                self.later.push_front(op);
                return;
            }
        }
    }

    /// Whether operations wait for [`Ops::retry`].
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.later.is_empty()
    }

    /// Submits an operation; gives back what was refused.
    fn put(&self, waiter: Option<(ConnectionKey, RequestId)>, op: Op) -> Option<(Op, BackplaneError)> {
        let recipient = Recipient::Shard { shard: self.shard, waiter };
        let Refused { command, error } = self.backplane.try_submit(Command { op, recipient }).err()?;
        Some((command.op, error))
    }
}
