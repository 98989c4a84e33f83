//! Channels, presence and idempotency keys; time is an argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::{
    backplane::{BackplaneError, ClientInfo, Outcome, Publication, Retention, StreamPosition},
    sequencer::ShardSet,
};

use super::stream::Stream;

/// How long an idempotency key is remembered ([`gateway_core::backplane::Op::Publish`]).
const REMEMBER: Duration = Duration::from_secs(300);
/// Idempotency keys remembered at most; the oldest is forgotten before its time.
const REMEMBERED: usize = 262_144;
/// The stream of a channel that is only read from: nothing is in it, so nothing expires; its position is kept a while.
const UNPUBLISHED: Duration = Duration::ZERO;

type Keyed = (Arc<str>, Arc<str>);

/// A publish, as `Op::Publish` asks for it; the publication has no offset yet.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) channel: Arc<str>,
    pub(super) publication: Publication,
    pub(super) retention: Option<Retention>,
    pub(super) idempotency_key: Option<Arc<str>>,
}

/// Everything the memory backplane knows.
#[derive(Debug, Default)]
pub(super) struct State {
    channels: HashMap<Arc<str>, Channel>,
    results: HashMap<Keyed, Option<StreamPosition>>,
    forget: VecDeque<(Instant, Keyed)>,
}

#[derive(Debug, Default)]
struct Channel {
    interest: ShardSet,
    stream: Option<Stream>,
    members: BTreeMap<Arc<str>, Arc<ClientInfo>>,
}

impl State {
    /// Where the publication is, and who gets it, unless its key is known already.
    pub(super) fn publish(
        &mut self,
        publish: Publish,
        now: Instant,
    ) -> (Option<StreamPosition>, Option<(ShardSet, Arc<Publication>)>) {
        let Publish { channel: name, publication, retention, idempotency_key } = publish;
        self.forget(now);
        let keyed = idempotency_key.map(|key| (name.clone(), key));
        if let Some(position) = keyed.as_ref().and_then(|keyed| self.results.get(keyed)) {
            return (position.clone(), None);
        }
        let (position, publication, interest) = match retention {
            None => (
                None,
                Arc::new(publication),
                self.channels.get(&name).map(|c| c.interest).unwrap_or_default(),
            ),
            Some(retention) => {
                let channel = self.channels.entry(name).or_default();
                let stream = channel.stream.get_or_insert_with(|| Stream::new(now, retention.ttl));
                let publication = stream.append(publication, retention, now);
                (Some(stream.position()), publication, channel.interest)
            }
        };
        if let Some(keyed) = keyed {
            self.results.insert(keyed.clone(), position.clone());
            self.forget.push_back((now + REMEMBER, keyed));
        }
        (position, Some((interest, publication)))
    }

    pub(super) fn subscribe(
        &mut self,
        name: Arc<str>,
        shard: u16,
        retention: Option<Retention>,
        since: Option<&StreamPosition>,
        limit: u32,
        now: Instant,
    ) -> Outcome {
        let channel = self.channels.entry(name).or_default();
        channel.interest.insert(shard);
        let Some(retention) = retention else {
            return Outcome::Subscribed { position: None, publications: Vec::new(), recovered: false };
        };
        let stream = channel.stream.get_or_insert_with(|| Stream::new(now, retention.ttl));
        let missed = since.and_then(|since| stream.missed(since, limit, now));
        let recovered = missed.is_some();
        let publications = missed.unwrap_or_default();
        Outcome::Subscribed { position: Some(stream.position()), publications, recovered }
    }

    pub(super) fn release(&mut self, name: &Arc<str>, shard: u16) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.interest.remove(shard);
        }
        self.tidy(name);
    }

    pub(super) fn history(
        &mut self,
        name: &Arc<str>,
        since: Option<&StreamPosition>,
        limit: u32,
        reverse: bool,
        now: Instant,
    ) -> Result<Outcome, BackplaneError> {
        let channel = self.channels.entry(name.clone()).or_default();
        let stream = channel.stream.get_or_insert_with(|| Stream::new(now, UNPUBLISHED));
        let publications = stream.read(since, limit, reverse, now)?;
        Ok(Outcome::History { position: stream.position(), publications })
    }

    /// Who is to be told that the client joined.
    pub(super) fn enter(&mut self, name: &Arc<str>, info: ClientInfo) -> (ShardSet, Arc<ClientInfo>) {
        let channel = self.channels.entry(name.clone()).or_default();
        let info = Arc::new(info);
        let known = channel.members.insert(info.client.clone(), info.clone()).is_some();
        (if known { ShardSet::default() } else { channel.interest }, info)
    }

    /// Who is to be told that the client left; nothing when it was not there.
    pub(super) fn leave(&mut self, name: &Arc<str>, client: &str) -> Option<(ShardSet, Arc<ClientInfo>)> {
        let channel = self.channels.get_mut(name)?;
        let info = channel.members.remove(client)?;
        let interest = channel.interest;
        self.tidy(name);
        Some((interest, info))
    }

    pub(super) fn presence(&self, name: &Arc<str>) -> Vec<ClientInfo> {
        let members = self.channels.get(name).map(|channel| channel.members.values());
        members.into_iter().flatten().map(|info| info.as_ref().clone()).collect()
    }

    /// Drops what has outlived its time.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.forget(now);
        self.channels.retain(|_, channel| {
            if channel.interest.is_empty()
                && channel.stream.as_mut().is_some_and(|stream| stream.is_over(now))
            {
                channel.stream = None;
            }
            !channel.is_unused()
        });
    }

    fn forget(&mut self, now: Instant) {
        let crowded = self.forget.len().saturating_sub(REMEMBERED);
        let over = self.forget.iter().take_while(|(until, _)| *until <= now).count().max(crowded);
        for (_, keyed) in self.forget.drain(..over) {
            self.results.remove(&keyed);
        }
    }

    fn tidy(&mut self, name: &Arc<str>) {
        if self.channels.get(name).is_some_and(Channel::is_unused) {
            self.channels.remove(name);
        }
    }
}

impl Channel {
    fn is_unused(&self) -> bool {
        self.interest.is_empty() && self.stream.is_none() && self.members.is_empty()
    }
}
