//! Channels, presence and idempotency keys; time is an argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::{
    backplane::{
        BackplaneError, ClientInfo, Followed, Message, Outcome, Publication, Publish, Retention,
        StreamPosition,
    },
    provisional::ProvisionalEpoch,
    sequencer::ShardSet,
};

use super::stream::{POSITION_OUTLIVES, Stream};

/// How long an idempotency key is remembered ([`Publish::idempotency_key`]).
const REMEMBER: Duration = Duration::from_secs(300);
/// Idempotency keys remembered at most; the oldest is forgotten before its time.
const REMEMBERED: usize = 262_144;

type Keyed = (Arc<str>, Arc<str>);

/// Something that happened in a channel, and who is told of it.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) channel: Arc<str>,
    pub(super) shards: ShardSet,
    pub(super) message: Message,
}

/// Where a publish has its place, if a stream keeps it, and its delivery, unless its key was known already.
type Published = (Option<StreamPosition>, Option<Delivery>);

/// Everything the memory backplane knows.
#[derive(Debug)]
pub(super) struct State {
    /// Bytes of publications that one answer brings at most.
    page_bytes: usize,
    /// Random id of this process's memory.
    store: u32,
    started: Instant,
    channels: HashMap<Arc<str>, Channel>,
    results: HashMap<Keyed, Option<StreamPosition>>,
    forget: VecDeque<(Instant, Keyed)>,
}

#[derive(Debug, Default)]
struct Channel {
    interest: ShardSet,
    stream: Option<Stream>,
    members: BTreeMap<Arc<str>, Arc<ClientInfo>>,
    /// How many clients each user has among them; kept from the first time on that somebody asks.
    users: Option<BTreeMap<Arc<str>, u32>>,
}

impl State {
    pub(super) fn new(page_bytes: usize, now: Instant) -> Self {
        Self {
            page_bytes,
            store: rand::random(),
            started: now,
            channels: HashMap::new(),
            results: HashMap::new(),
            forget: VecDeque::new(),
        }
    }

    /// What a channel without a stream has for an epoch.
    fn provisional(&self, now: Instant) -> ProvisionalEpoch {
        let seconds = now.saturating_duration_since(self.started).as_secs();
        ProvisionalEpoch { store: self.store, seconds: u32::try_from(seconds).unwrap_or(u32::MAX) }
    }

    pub(super) fn publish(&mut self, publish: Publish, now: Instant) -> Published {
        self.once(publish, now, |state, channel, publication| {
            let shards = state.channels.get(channel).map(|c| c.interest).unwrap_or_default();
            (None, shards, Arc::new(publication))
        })
    }

    pub(super) fn append(&mut self, publish: Publish, retention: Retention, now: Instant) -> Published {
        self.once(publish, now, |state, channel, publication| {
            let began = state.provisional(now);
            let channel = state.channels.entry(channel.clone()).or_default();
            let stream = channel.stream.get_or_insert_with(|| Stream::new(began, now));
            let publication = stream.append(publication, retention, now);
            (Some(stream.position()), channel.interest, publication)
        })
    }

    /// Publishes unless the key is known already.
    fn once(
        &mut self,
        publish: Publish,
        now: Instant,
        place: impl FnOnce(
            &mut Self,
            &Arc<str>,
            Publication,
        ) -> (Option<StreamPosition>, ShardSet, Arc<Publication>),
    ) -> Published {
        let Publish { channel, payload, info, sender, idempotency_key } = publish;
        self.forget(now);
        let keyed = idempotency_key.map(|key| (channel.clone(), key));
        if let Some(position) = keyed.as_ref().and_then(|keyed| self.results.get(keyed)) {
            return (position.clone(), None);
        }
        let publication = Publication { offset: 0, payload, info, sender };
        let (position, shards, publication) = place(self, &channel, publication);
        if let Some(keyed) = keyed {
            self.results.insert(keyed.clone(), position.clone());
            self.forget.push_back((now + REMEMBER, keyed));
        }
        let message = Message::Publication(publication);
        (position, Some(Delivery { channel, shards, message }))
    }

    pub(super) fn subscribe(&mut self, name: Arc<str>, shard: u16) {
        self.channels.entry(name).or_default().interest.insert(shard);
    }

    pub(super) fn follow(
        &mut self,
        name: Arc<str>,
        shard: u16,
        since: Option<&StreamPosition>,
        limit: u32,
        now: Instant,
    ) -> Followed {
        let (epoch, page_bytes) = (self.provisional(now), self.page_bytes);
        let channel = self.channels.entry(name).or_default();
        channel.interest.insert(shard);
        let Some(stream) = &mut channel.stream else {
            let recovered = since.is_some_and(|since| is_before_all(since, epoch));
            return Followed { position: start(epoch), publications: Vec::new(), recovered };
        };
        let missed = since.and_then(|since| stream.missed(since, limit, page_bytes, now));
        let recovered = missed.is_some();
        let publications = missed.unwrap_or_default();
        Followed { position: stream.position(), publications, recovered }
    }

    pub(super) fn release(&mut self, name: &Arc<str>, shard: u16) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.interest.remove(shard);
        }
        self.tidy(name);
    }

    pub(super) fn read(
        &mut self,
        name: &Arc<str>,
        since: Option<&StreamPosition>,
        limit: u32,
        bytes: u32,
        reverse: bool,
        now: Instant,
    ) -> Result<Outcome, BackplaneError> {
        let (epoch, bytes) = (self.provisional(now), self.page_bytes.min(bytes as usize));
        let Some(stream) = self.channels.get_mut(name).and_then(|channel| channel.stream.as_mut()) else {
            return if since.is_none_or(|since| is_before_all(since, epoch)) {
                Ok(Outcome::Read { position: start(epoch), publications: Vec::new() })
            } else {
                Err(BackplaneError::UnrecoverablePosition)
            };
        };
        let publications = stream.read(since, limit, reverse, bytes, now)?;
        Ok(Outcome::Read { position: stream.position(), publications })
    }

    /// Who is to be told that the client joined.
    pub(super) fn enter(&mut self, name: &Arc<str>, info: ClientInfo) -> (ShardSet, Arc<ClientInfo>) {
        let channel = self.channels.entry(name.clone()).or_default();
        let info = Arc::new(info);
        let known = channel.members.insert(info.client.clone(), info.clone()).is_some();
        if !known && let Some(users) = &mut channel.users {
            *users.entry(info.user.clone()).or_default() += 1;
        }
        (if known { ShardSet::default() } else { channel.interest }, info)
    }

    /// Who is to be told that the client left; nothing when it was not there.
    pub(super) fn leave(&mut self, name: &Arc<str>, client: &str) -> Option<(ShardSet, Arc<ClientInfo>)> {
        let channel = self.channels.get_mut(name)?;
        let info = channel.members.remove(client)?;
        if let Some(users) = &mut channel.users
            && let Some(clients) = users.get_mut(&info.user)
        {
            *clients -= 1;
            if *clients == 0 {
                users.remove(&info.user);
            }
        }
        let interest = channel.interest;
        self.tidy(name);
        Some((interest, info))
    }

    /// A client that is there, and who is to be told of it.
    pub(super) fn member(&self, name: &Arc<str>, client: &str) -> Option<(ShardSet, Arc<ClientInfo>)> {
        let channel = self.channels.get(name)?;
        Some((channel.interest, channel.members.get(client)?.clone()))
    }

    pub(super) fn list(&self, name: &Arc<str>, limit: u32) -> Result<Outcome, BackplaneError> {
        let members = || self.channels.get(name).into_iter().flat_map(|channel| channel.members.values());
        let mut bytes = 0;
        let fits = members().all(|info| {
            bytes += info.bytes();
            bytes <= limit as usize
        });
        if !fits {
            return Err(BackplaneError::TooLarge);
        }
        Ok(Outcome::Listed { clients: members().map(|info| info.as_ref().clone()).collect() })
    }

    pub(super) fn count(&mut self, name: &Arc<str>) -> Outcome {
        let Some(channel) = self.channels.get_mut(name) else {
            return Outcome::Counted { clients: 0, users: 0 };
        };
        let users = channel.users.get_or_insert_with(|| {
            let mut users = BTreeMap::new();
            for info in channel.members.values() {
                *users.entry(info.user.clone()).or_default() += 1;
            }
            users
        });
        Outcome::Counted { clients: channel.members.len() as u64, users: users.len() as u64 }
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

/// The position in a channel without a stream.
fn start(epoch: ProvisionalEpoch) -> StreamPosition {
    StreamPosition { epoch: epoch.to_string().into(), offset: 0 }
}

/// Whether a position in a channel that has no stream now is from before any publication.
fn is_before_all(since: &StreamPosition, epoch: ProvisionalEpoch) -> bool {
    let known = ProvisionalEpoch::parse(&since.epoch);
    since.offset == 0 && known.is_some_and(|known| epoch.continues(known, POSITION_OUTLIVES))
}

impl Channel {
    fn is_unused(&self) -> bool {
        self.interest.is_empty() && self.stream.is_none() && self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_that_nothing_is_published_to_leave_nothing() {
        let now = Instant::now();
        let mut state = State::new(1024, now);
        for number in 0..500 {
            let name: Arc<str> = format!("name-{number}").into();
            let since = StreamPosition { epoch: "any".into(), offset: 7 };
            for since in [None, Some(&since)] {
                state.follow(name.clone(), 0, since, 300, now);
                state.read(&name, since, 300, 1024, false, now).ok();
                state.count(&name);
            }
            state.release(&name, 0);
            state.read(&name, None, 300, 1024, true, now).ok();
            state.count(&name);
        }
        assert!(state.channels.is_empty(), "{:?}", state.channels);
    }
}
