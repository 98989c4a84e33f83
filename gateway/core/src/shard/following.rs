//! Channels whose subscribers cannot ask again themselves, as clients of the centrifuge protocol do, and so are not told of failures: the
//! shard asks for them in its own name, once per channel, until the backplane delivers them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    backplane::Op,
    key::{ConnectionKey, RequestId},
    outbox::Outbox,
    policy::Policy,
    raw,
};

/// Who waits for the backplane's answers; no connection has this slot.
pub(super) const SHARD: ConnectionKey = ConnectionKey { slot: u32::MAX, generation: 0 };

/// Channels asked for at a time, so that a backplane that comes back is not met with all of them at once.
const MAX_ASKED: usize = 256;

/// How long after a failure the backplane is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The channels of one shard that are not delivered yet, or no longer.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// With the request that asks for it, once there is one.
    wanted: BTreeMap<Arc<str>, Option<RequestId>>,
    /// Those without a request, in order, besides some that nobody wants any more.
    queue: VecDeque<Arc<str>>,
    asked: BTreeMap<RequestId, Arc<str>>,
    next_request: RequestId,
    /// Monotonic time before which nothing is asked, because of a failure.
    resumes: Duration,
}

impl Following {
    /// The channel is to be delivered.
    pub(super) fn want(&mut self, channel: Arc<str>) {
        if !self.wanted.contains_key(&channel) {
            self.wanted.insert(channel.clone(), None);
            self.queue.push_back(channel);
        }
    }

    /// Nobody is in the channel any more.
    pub(super) fn forget(&mut self, channel: &str) {
        self.wanted.remove(channel);
        if self.wanted.is_empty() {
            self.queue.clear();
        }
    }

    /// Asks for as many channels as may be asked for now.
    pub(super) fn ask(&mut self, policy: &Policy, now: Duration, out: &mut dyn Outbox) {
        while self.resumes <= now
            && self.asked.len() < MAX_ASKED
            && let Some(channel) = self.queue.pop_front()
        {
            let Some(request @ None) = self.wanted.get_mut(&channel) else { continue };
            *request = Some(self.next_request);
            self.asked.insert(self.next_request, channel.clone());
            let retention = policy.raw_retention(raw::client_channel(&channel));
            let op = Op::subscribe(channel, retention, None, 0);
            out.submit(Some((SHARD, self.next_request)), op);
            self.next_request = self.next_request.wrapping_add(1);
        }
    }

    /// Takes the answer to a request. Returns the channel if it is delivered now; one that failed is asked for again.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        is_delivered: bool,
        now: Duration,
    ) -> Option<Arc<str>> {
        let channel = self.asked.remove(&request)?;
        let wanted = self.wanted.get_mut(&channel).filter(|wanted| **wanted == Some(request))?;
        if is_delivered {
            self.forget(&channel);
            return Some(channel);
        }
        *wanted = None;
        self.queue.push_back(channel);
        self.resumes = now + RETRY;
        None
    }

    /// When there is more to ask for.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        (!self.queue.is_empty() && self.asked.len() < MAX_ASKED).then_some(self.resumes)
    }
}
