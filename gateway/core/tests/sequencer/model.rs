//! One channel on a model of Redis, the sequencer of one node, and its shards.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use gateway_core::{
    backplane::{Followed, Message, Outcome, Payload, Publication, StreamPosition},
    provisional::ProvisionalEpoch,
    sequencer::{Effect, Entry, Follow, Generation, Page, Range, Read, Sequencer, Subscribe},
};

pub const SHARDS: u16 = 3;
pub const RETAINED: usize = 4;
const LIMIT: u32 = 3;
/// Room for three publications.
const PAGE_BYTES: usize = 800;

#[derive(Clone, Debug)]
pub enum Step {
    Publish,
    Live,
    DropLive,
    RepeatLive,
    DelayLive,
    Execute,
    Answer,
    FailAnswer,
    Retry,
    Disconnect,
    Connect,
    Acknowledge,
    Subscribe { shard: u16, back: u8 },
    Release { shard: u16 },
    RollBack { lost: u8 },
    Flush,
}

#[derive(Clone, Debug)]
enum Question {
    Read(Read),
    Rotate { generation: Generation, epoch: Arc<str> },
}

#[derive(Debug)]
enum Answer {
    Page(Generation, Page),
    Rotated(Generation),
}

/// What a shard has of the channel since it subscribed.
#[derive(Debug, Default)]
struct Shard {
    active: bool,
    discontinued: bool,
    position: Option<StreamPosition>,
    since: u64,
    entries: Vec<Arc<Publication>>,
}

pub struct Model {
    channel: Arc<str>,
    sequencer: Sequencer,
    /// What the store keeps of the stream, once there is one: its epoch, and the provisional one before it.
    stream: Option<(Arc<str>, Option<ProvisionalEpoch>)>,
    /// What the stream, or the lack of one, was called in answers, and goes by still.
    names: BTreeSet<Arc<str>>,
    store: u32,
    seconds: u32,
    log: Vec<Entry>,
    drawn: u64,
    subscribed: bool,
    connected: bool,
    registrations: VecDeque<Generation>,
    lives: VecDeque<(Arc<str>, Entry)>,
    questions: VecDeque<Question>,
    answers: VecDeque<Answer>,
    shards: Vec<Shard>,
    subscribes: BTreeMap<u64, Subscribe>,
    recovered: BTreeMap<u64, bool>,
    reads: Vec<Range>,
}

impl Model {
    pub fn new() -> Self {
        let mut model = Self {
            channel: "channel".into(),
            // So small that some pages are cut.
            sequencer: Sequencer::new(PAGE_BYTES),
            stream: None,
            names: BTreeSet::new(),
            store: 0,
            seconds: 0,
            log: Vec::new(),
            drawn: 0,
            subscribed: false,
            connected: false,
            registrations: VecDeque::new(),
            lives: VecDeque::new(),
            questions: VecDeque::new(),
            answers: VecDeque::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            subscribes: BTreeMap::new(),
            recovered: BTreeMap::new(),
            reads: Vec::new(),
        };
        model.step(&Step::Connect);
        model
    }

    pub fn subscribed(shards: &[u16]) -> Self {
        let mut model = Self::new();
        for &shard in shards {
            model.step(&Step::Subscribe { shard, back: 0 });
        }
        model.settle();
        model
    }

    pub fn steps(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
    }

    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Publish => self.publish(),
            Step::Live => _ = self.lives.pop_front().map(|live| self.live(live)),
            Step::DropLive => _ = self.lives.pop_front(),
            Step::RepeatLive => self.lives.extend(self.lives.front().cloned()),
            Step::DelayLive => _ = self.lives.pop_front().map(|live| self.lives.push_back(live)),
            Step::Execute => _ = self.questions.pop_front().map(|question| self.execute(question)),
            Step::Answer => _ = self.answers.pop_front().map(|answer| self.answer(answer)),
            Step::FailAnswer => self.fail_answer(),
            Step::Retry => self.sequencer.retry(),
            Step::Disconnect => self.disconnect(),
            Step::Connect => {
                if !self.connected {
                    self.connected = true;
                    self.sequencer.connected();
                }
            }
            Step::Acknowledge => {
                if let Some(generation) = self.registrations.pop_front() {
                    self.sequencer.registered(&self.channel, generation);
                }
            }
            Step::Subscribe { shard, back } => self.come_back(*shard, *back),
            Step::Release { shard } => {
                self.shards[usize::from(*shard)] = Shard::default();
                self.sequencer.release(&self.channel, *shard);
            }
            Step::RollBack { lost } => {
                self.log.truncate(self.log.len().saturating_sub(usize::from(*lost)));
                if self.log.is_empty() && self.stream.take().is_some() {
                    // Who was told that there was nothing yet, and got nothing, goes on from there.
                    self.names.retain(|name| ProvisionalEpoch::parse(name).is_some());
                }
                self.restart();
            }
            Step::Flush => {
                self.log.clear();
                self.stream = None;
                self.names.clear();
                self.store += 1;
                self.restart();
            }
        }
        self.carry_out();
    }

    /// Everything gets through again, and one more message shows what was lost silently.
    pub fn settle(&mut self) {
        self.step(&Step::Connect);
        let mut idle = 0;
        for _ in 0..10_000 {
            self.step(&Step::Retry);
            self.step(&Step::Acknowledge);
            self.step(&Step::Execute);
            self.step(&Step::Answer);
            self.step(&Step::Live);
            let quiet = self.registrations.is_empty()
                && self.questions.is_empty()
                && self.answers.is_empty()
                && self.lives.is_empty();
            idle = if quiet { idle + 1 } else { 0 };
            if idle > 2 {
                return;
            }
        }
        panic!("the sequencer does not come to rest: {:?}", self.sequencer);
    }

    pub fn check(&mut self) {
        self.step(&Step::Publish);
        self.settle();
        for (index, shard) in self.shards.iter().enumerate() {
            let Some(position) = &shard.position else { continue };
            if !shard.active {
                continue;
            }
            let current = self.epoch() == position.epoch || self.names.contains(&position.epoch);
            assert!(current, "shard {index} follows {position:?}, which is over");
            let since = usize::try_from(shard.since).unwrap();
            let expected: Vec<_> = self.log[since..].iter().map(|entry| entry.publication.clone()).collect();
            assert_eq!(shard.entries, expected, "shard {index} since {since}");
        }
        assert!(self.subscribes.is_empty(), "unanswered: {:?}", self.subscribes);
        assert!(self.sequencer.is_settled());
    }

    pub fn subscribe(&mut self, subscribe: Subscribe) {
        self.subscribes.insert(subscribe.ticket, subscribe.clone());
        let channel = self.channel.clone();
        self.sequencer.subscribe(&channel, subscribe);
        self.carry_out();
    }

    pub fn delivered(&self, shard: usize) -> Vec<u64> {
        self.shards[shard].entries.iter().map(|publication| publication.offset).collect()
    }

    pub fn is_discontinued(&self, shard: usize) -> bool {
        self.shards[shard].discontinued
    }

    pub fn position(&self, offset: u64) -> StreamPosition {
        StreamPosition { epoch: self.epoch(), offset }
    }

    pub fn epoch(&self) -> Arc<str> {
        match &self.stream {
            Some((epoch, _)) => epoch.clone(),
            None => self.provisional().to_string().into(),
        }
    }

    fn provisional(&self) -> ProvisionalEpoch {
        ProvisionalEpoch { store: self.store, seconds: self.seconds }
    }

    pub fn reads(&self) -> usize {
        self.reads.len()
    }

    /// What was asked for, read by read.
    pub fn ranges(&self) -> &[Range] {
        &self.reads
    }

    pub fn completed(&self) -> usize {
        self.recovered.len()
    }

    pub fn recovered(&self, ticket: u64) -> Option<bool> {
        self.recovered.get(&ticket).copied()
    }

    fn publish(&mut self) {
        self.seconds += 1;
        if self.stream.is_none() {
            self.begin(Some(self.provisional()));
        }
        let tag = self.draw();
        let payload = Payload::Json(Bytes::from(tag.to_string()));
        let offset = self.log.len() as u64 + 1;
        let publication = Arc::new(Publication { offset, payload, info: None, sender: None });
        let entry = Entry { tag, publication };
        self.log.push(entry.clone());
        if self.subscribed {
            self.lives.push_back((self.epoch(), entry));
        }
    }

    fn live(&mut self, (epoch, entry): (Arc<str>, Entry)) {
        self.sequencer.live(&self.channel, &epoch, entry);
    }

    fn execute(&mut self, question: Question) {
        let answer = match question {
            Question::Read(read) => Answer::Page(read.generation, self.read(&read)),
            Question::Rotate { generation, epoch } => {
                if self.stream.as_ref().is_none_or(|(current, _)| *current == epoch) {
                    self.log.clear();
                    self.names.clear();
                    self.begin(None);
                }
                Answer::Rotated(generation)
            }
        };
        self.answers.push_back(answer);
    }

    fn read(&mut self, read: &Read) -> Page {
        let Range { pivot, from, up_to, after } = read.range;
        let retained = &self.log[self.log.len().saturating_sub(RETAINED)..];
        let is_before = |entry: &&Entry| pivot.is_none_or(|pivot| entry.publication.offset <= pivot);
        let before = retained.iter().rev().filter(is_before).filter(|e| e.publication.offset >= from);
        let mut entries = cut(before, up_to, read.bytes);
        entries.reverse();
        entries.extend(cut(retained.iter().filter(|entry| !is_before(entry)), after, read.bytes));
        self.seconds += 1;
        let top = self.position(self.log.len() as u64);
        self.names.insert(top.epoch.clone());
        let began = self.stream.as_ref().and_then(|(_, began)| *began);
        Page { top, began, tag: self.log.last().map_or(0, |entry| entry.tag), entries }
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Page(generation, page) => self.sequencer.page(&self.channel, generation, page),
            Answer::Rotated(generation) => self.sequencer.rotated(&self.channel, generation),
        }
    }

    fn fail_answer(&mut self) {
        match self.answers.pop_front() {
            Some(Answer::Page(generation, _) | Answer::Rotated(generation)) => {
                self.sequencer.read_failed(&self.channel, generation);
            }
            None => {}
        }
    }

    fn disconnect(&mut self) {
        if self.connected {
            self.connected = false;
            self.subscribed = false;
            self.lives.clear();
            self.registrations.clear();
            self.sequencer.disconnected();
        }
    }

    /// Redis goes away with its connections: what was asked and not answered fails.
    fn restart(&mut self) {
        self.disconnect();
        let asked = self.questions.drain(..).map(|question| match question {
            Question::Read(Read { generation, .. }) | Question::Rotate { generation, .. } => generation,
        });
        let answered = self.answers.drain(..).map(|answer| match answer {
            Answer::Page(generation, _) | Answer::Rotated(generation) => generation,
        });
        for generation in asked.chain(answered) {
            self.sequencer.read_failed(&self.channel, generation);
        }
    }

    /// A client of the shard comes back from `back` publications before the shard's position.
    fn come_back(&mut self, shard: u16, back: u8) {
        let known = &self.shards[usize::from(shard)];
        // Positions that the store had lost and used again cannot be told from their successors by a client.
        let is_current = |epoch: &Arc<str>| *epoch == self.epoch() || self.names.contains(epoch);
        let since = known.position.as_ref().filter(|position| is_current(&position.epoch)).map(|position| {
            StreamPosition { offset: position.offset.saturating_sub(back.into()), ..position.clone() }
        });
        let same = since.as_ref().is_none_or(|since| {
            known.entries.iter().filter(|p| p.offset <= since.offset).all(|p| {
                let index = usize::try_from(p.offset - 1).unwrap();
                self.log.get(index).is_some_and(|entry| entry.publication == *p)
            })
        });
        let since = since.filter(|_| same && known.active);
        let ticket = self.draw();
        self.subscribe(Subscribe { ticket, shard, follow: Some(Follow { since, limit: LIMIT }) });
    }

    fn carry_out(&mut self) {
        for effect in self.sequencer.take_effects() {
            match effect {
                Effect::Register { generation, .. } => {
                    self.subscribed = true;
                    self.registrations.push_back(generation);
                }
                Effect::Unregister { .. } => self.subscribed = false,
                Effect::Read(read) => {
                    self.reads.push(read.range);
                    self.questions.push_back(Question::Read(read));
                }
                Effect::Rotate { generation, epoch, .. } => {
                    self.questions.push_back(Question::Rotate { generation, epoch });
                }
                Effect::Deliver { shards, message, .. } => {
                    shards.iter().for_each(|shard| self.shards[usize::from(shard)].take(&message));
                }
                Effect::Complete { ticket, result } => self.complete(ticket, result.ok()),
            }
        }
    }

    fn complete(&mut self, ticket: u64, outcome: Option<Outcome>) {
        let subscribe = self.subscribes.remove(&ticket).expect("answered once");
        let Some(outcome) = outcome else { return };
        let shard = &mut self.shards[usize::from(subscribe.shard)];
        let Some(Follow { since, .. }) = subscribe.follow else {
            assert_eq!(outcome, Outcome::Done);
            *shard = Shard { active: true, ..Shard::default() };
            return;
        };
        let Outcome::Followed(Followed { position, publications, recovered }) = outcome else {
            panic!("{outcome:?}")
        };
        self.recovered.insert(ticket, recovered);
        let since = since.map_or(0, |since| since.offset);
        if recovered {
            let offsets: Vec<_> = publications.iter().map(|publication| publication.offset).collect();
            assert_eq!(offsets, (since + 1..=position.offset).collect::<Vec<_>>());
        } else {
            assert_eq!(publications, []);
        }
        if shard.active {
            let known = shard.position.as_ref().map(|known| known.offset);
            assert_eq!(known, Some(position.offset), "deliveries go on from where they are");
        } else {
            let since = position.offset;
            *shard = Shard { active: true, since, position: Some(position), ..Shard::default() };
        }
    }

    fn begin(&mut self, began: Option<ProvisionalEpoch>) {
        self.stream = Some((format!("epoch-{}", self.draw()).into(), began));
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }
}

/// As many as fit, but one at least.
fn cut<'a>(entries: impl Iterator<Item = &'a Entry>, most: u32, bytes: usize) -> Vec<Entry> {
    let mut total = 0;
    let fits = |(index, entry): &(usize, &Entry)| {
        total += entry.publication.bytes();
        *index == 0 || total <= bytes
    };
    entries.take(most as usize).enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect()
}

impl Shard {
    fn take(&mut self, message: &Message) {
        assert!(self.active, "{message:?} after the channel was discontinued");
        match message {
            Message::Publication(publication) => {
                let position = self.position.as_mut().unwrap();
                assert_eq!(publication.offset, position.offset + 1, "in order, once");
                position.offset += 1;
                self.entries.push(publication.clone());
            }
            Message::Discontinued => {
                self.active = false;
                self.discontinued = true;
            }
            Message::Join(_) | Message::Leave(_) => panic!("nobody joined"),
        }
    }
}
