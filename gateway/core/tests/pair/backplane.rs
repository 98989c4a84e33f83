//! A model of the backplane that uses every freedom of its contract: operations of a shard are carried out in order but late, and
//! items of different channels overtake each other on the way back; only within a channel is the sequence kept.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use gateway_core::backplane::{
    BackplaneError, BusOp, Followed, Inbound, LogOp, Message, Op, Outcome, PresenceOp, Publication, Publish,
    StreamPosition,
};

use crate::node::Waiter;

/// Publications that it reads at once, so that a client that missed more of them comes again.
const PAGE: usize = 3;

/// Streams, who is subscribed, and what is on its way to each shard.
#[derive(Debug, Default)]
pub struct Backplane {
    streams: BTreeMap<Arc<str>, Stream>,
    subscribed: BTreeSet<(usize, Arc<str>)>,
    /// By shard and channel: what the shard has not taken yet.
    lanes: BTreeMap<(usize, Arc<str>), VecDeque<Inbound>>,
}

#[derive(Debug, Default)]
struct Stream {
    publications: Vec<Arc<Publication>>,
    /// Offsets up to here are trimmed away.
    trimmed: u64,
}

impl Stream {
    fn position(&self) -> StreamPosition {
        StreamPosition { epoch: Arc::from("epoch"), offset: self.publications.len() as u64 }
    }

    /// What is there after a place; nothing where that is not all.
    fn since(&self, since: &StreamPosition) -> Option<&[Arc<Publication>]> {
        let top = self.publications.len() as u64;
        let is_there = *since.epoch == *"epoch" && (self.trimmed..=top).contains(&since.offset);
        is_there.then(|| &self.publications[since.offset as usize..])
    }
}

impl Backplane {
    /// Carries out an operation of `shard`, or, with `fault`, answers that it failed; `Unanswered` is carried out all the same.
    pub fn execute(&mut self, shard: usize, waiter: Waiter, op: Op, fault: Option<BackplaneError>) {
        let carried_out = fault.is_none_or(|fault| fault == BackplaneError::Unanswered);
        let (channel, outcome) = match op {
            Op::Bus(BusOp::Subscribe { channel }) => {
                if carried_out {
                    self.subscribed.insert((shard, channel.clone()));
                }
                (channel, Ok(Outcome::Done))
            }
            Op::Log(LogOp::Follow { channel, since, .. }) => {
                if carried_out {
                    self.subscribed.insert((shard, channel.clone()));
                }
                let stream = self.streams.entry(channel.clone()).or_default();
                let missed = since.as_ref().and_then(|since| stream.since(since));
                let recovered = missed.filter(|missed| missed.len() <= PAGE);
                let followed = Followed {
                    position: stream.position(),
                    recovered: recovered.is_some(),
                    publications: recovered.unwrap_or_default().to_vec(),
                };
                (channel, Ok(Outcome::Followed(followed)))
            }
            Op::Log(LogOp::Read { channel, since: Some(since), reverse: false, .. }) => {
                let stream = self.streams.entry(channel.clone()).or_default();
                let page = stream.since(&since).ok_or(BackplaneError::UnrecoverablePosition);
                let outcome = page.map(|page| Outcome::Read {
                    position: stream.position(),
                    publications: page[..page.len().min(PAGE)].to_vec(),
                });
                (channel, outcome)
            }
            Op::Bus(BusOp::Release { channel }) => {
                self.subscribed.remove(&(shard, channel.clone()));
                (channel, Ok(Outcome::Done))
            }
            Op::Bus(BusOp::Publish(publish)) => {
                let Publish { channel, payload, info, sender, .. } = publish;
                if carried_out {
                    let publication = Arc::new(Publication { offset: 0, payload, info, sender });
                    self.deliver(&channel, &Message::Publication(publication));
                }
                (channel, Ok(Outcome::Done))
            }
            Op::Log(LogOp::Append { publish, .. }) => {
                let Publish { channel, payload, info, sender, .. } = publish;
                let stream = self.streams.entry(channel.clone()).or_default();
                let offset = stream.publications.len() as u64 + 1;
                if carried_out {
                    let publication = Arc::new(Publication { offset, payload, info, sender });
                    stream.publications.push(publication.clone());
                    self.deliver(&channel, &Message::Publication(publication));
                }
                let position = StreamPosition { epoch: Arc::from("epoch"), offset };
                (channel, Ok(Outcome::Appended { position }))
            }
            Op::Presence(PresenceOp::Enter { channel, .. } | PresenceOp::Leave { channel, .. }) => {
                (channel, Ok(Outcome::Done))
            }
            Op::Log(LogOp::Read { .. })
            | Op::Presence(PresenceOp::List { .. } | PresenceOp::Count { .. }) => {
                panic!("no client of the model asks for that")
            }
        };
        if let Some((connection, request)) = waiter {
            let result = fault.map_or(outcome, Err);
            self.lane(shard, &channel).push_back(Inbound::Completed { connection, request, result });
        }
    }

    fn deliver(&mut self, channel: &Arc<str>, message: &Message) {
        for (shard, _) in self.subscribed.clone().iter().filter(|(_, subscribed)| subscribed == channel) {
            let item = Inbound::Delivered { channel: channel.clone(), message: message.clone() };
            self.lane(*shard, channel).push_back(item);
        }
    }

    /// Loses track of a channel on its way to a shard.
    pub fn discontinue(&mut self, shard: usize, channel: &Arc<str>) {
        if self.subscribed.remove(&(shard, channel.clone())) {
            let message = Message::Discontinued;
            self.lane(shard, channel).push_back(Inbound::Delivered { channel: channel.clone(), message });
        }
    }

    /// Trims everything published to a channel so far away, its last publication excepted.
    pub fn trim(&mut self, channel: &Arc<str>) {
        if let Some(stream) = self.streams.get_mut(channel) {
            stream.trimmed = (stream.publications.len() as u64).saturating_sub(1);
        }
    }

    fn lane(&mut self, shard: usize, channel: &Arc<str>) -> &mut VecDeque<Inbound> {
        self.lanes.entry((shard, channel.clone())).or_default()
    }

    /// Takes the next item of one of a shard's channels; `choice` picks the channel.
    pub fn next(&mut self, shard: usize, choice: usize) -> Option<Inbound> {
        let mut lanes: Vec<_> =
            self.lanes.iter_mut().filter(|((to, _), lane)| *to == shard && !lane.is_empty()).collect();
        let count = lanes.len();
        lanes.get_mut(choice % count.max(1)).and_then(|(_, lane)| lane.pop_front())
    }

    /// Whether every shard has taken everything.
    pub fn is_quiet(&self) -> bool {
        self.lanes.values().all(VecDeque::is_empty)
    }

    /// What was published to a channel, in order.
    pub fn published(&self, channel: &str) -> Vec<Arc<Publication>> {
        self.streams.get(channel).map(|stream| stream.publications.clone()).unwrap_or_default()
    }

    /// Whether a shard gets deliveries of any channel.
    pub fn serves(&self, shard: usize) -> bool {
        self.subscribed.iter().any(|(to, _)| *to == shard)
    }
}
