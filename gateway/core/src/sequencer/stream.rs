//! What one node knows of one stream.

use std::{collections::BTreeMap, sync::Arc};

use super::{Entry, POSITION_OUTLIVES, Page, Range, window::Window};
use crate::{backplane::StreamPosition, provisional::ProvisionalEpoch};

/// Live messages held per channel while something before them is read. More are let go and read again.
const HELD: usize = 512;
/// Entries read beyond what is known to be there.
const AHEAD: u32 = 512;

#[derive(Debug)]
pub(super) struct Stream {
    /// What is read, held or kept at once at most.
    page_bytes: usize,
    last: Option<Last>,
    /// Nothing up to `last` is missing and what follows arrives. Otherwise deliveries wait for a read.
    verified: bool,
    reading: Option<Reading>,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// Highest offset let go since the read under way was issued.
    let_go: u64,
    /// A message of another epoch came since the read under way was issued.
    stray: bool,
}

/// The last publication handed to the shards.
#[derive(Clone, Debug)]
struct Last {
    position: StreamPosition,
    tag: u64,
    /// The provisional epoch that came before this one, or is this one.
    began: Option<ProvisionalEpoch>,
}

impl Last {
    /// Whether nothing was published yet.
    fn is_provisional(&self) -> bool {
        self.began.is_some_and(|began| *began.to_string() == *self.position.epoch)
    }

    /// Whether a page of another epoch tells of the stream that this provisional one became.
    fn became(&self, page: &Page) -> bool {
        self.is_provisional()
            && page
                .provisional()
                .zip(self.began)
                .is_some_and(|(now, then)| now.continues(then, POSITION_OUTLIVES))
    }
}

#[derive(Debug)]
struct Held {
    epoch: Arc<str>,
    entry: Entry,
}

#[derive(Debug)]
struct Reading {
    /// The last publication when the read was issued: the store had it already.
    base: Option<Last>,
    /// Delivered since.
    recent: Window,
}

/// What a page says about the stream.
#[derive(Debug)]
pub(super) enum Found {
    /// No read is under way.
    Nothing,
    /// The epoch is over, or what comes next is trimmed.
    Over,
    /// The store lost the end of the stream, and would use its offsets again.
    RolledBack { epoch: Arc<str> },
    /// Publications up to the last one delivered.
    Window(Window),
}

impl Stream {
    pub(super) fn new(page_bytes: usize) -> Self {
        Self {
            page_bytes,
            last: None,
            verified: false,
            reading: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            let_go: 0,
            stray: false,
        }
    }

    /// Starts anew.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.page_bytes);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Whether a position's epoch is the stream's, or the provisional one that it had before, or has.
    pub(super) fn knows(&self, epoch: &Arc<str>) -> bool {
        let Some(last) = &self.last else { return false };
        let Some(began) = last.began.filter(|_| last.position.epoch != *epoch) else {
            return last.position.epoch == *epoch;
        };
        ProvisionalEpoch::parse(epoch).is_some_and(|known| {
            // Nothing was published since this node looked, so whoever looked later saw the same.
            let later = last.is_provisional() && known.continues(began, POSITION_OUTLIVES);
            later || began.continues(known, POSITION_OUTLIVES)
        })
    }

    /// Whether a client may have been at a position, as far as is known.
    pub(super) fn may_have(&self, since: &StreamPosition) -> bool {
        self.last.as_ref().is_none_or(|last| self.knows(&since.epoch) && since.offset <= last.position.offset)
    }

    pub(super) fn has_position(&self) -> bool {
        self.last.is_some()
    }

    /// Whether nothing was published yet, as far as this node has heard.
    pub(super) fn is_provisional(&self) -> bool {
        self.last.as_ref().is_some_and(Last::is_provisional)
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether the last position can be built upon.
    pub(super) fn is_trustworthy(&self) -> bool {
        self.verified
    }

    pub(super) fn trusted_position(&self) -> Option<&StreamPosition> {
        self.last.as_ref().filter(|_| self.verified).map(|last| &last.position)
    }

    /// Whether only a read can tell what comes next.
    pub(super) fn is_doubtful(&self) -> bool {
        self.last.as_ref().is_some_and(|last| {
            !self.verified || self.stray || !self.held.is_empty() || self.let_go > last.position.offset
        })
    }

    /// Forgets what was not delivered: a store that comes back may have lost it.
    pub(super) fn doubt(&mut self) {
        self.verified = false;
        self.reading = None;
        self.held.clear();
        self.held_bytes = 0;
        self.let_go = 0;
        self.stray = false;
    }

    pub(super) fn abandon_read(&mut self) {
        self.reading = None;
    }

    pub(super) fn live(&mut self, epoch: &Arc<str>, entry: Entry, room: usize) {
        let offset = entry.publication.offset;
        if let Some(last) = &self.last {
            if last.position.epoch != *epoch {
                self.verified = false;
                // It may be the first of a stream that has just begun.
                if last.is_provisional() {
                    self.hold(epoch, entry, room);
                } else {
                    self.stray = true;
                }
                return;
            }
            if offset <= last.position.offset {
                // One offset, two publications: only the store knows how that came.
                if offset == last.position.offset && entry.tag != last.tag {
                    self.verified = false;
                    self.stray = true;
                }
                return;
            }
        }
        self.hold(epoch, entry, room);
    }

    fn hold(&mut self, epoch: &Arc<str>, entry: Entry, room: usize) {
        let (offset, bytes) = (entry.publication.offset, entry.publication.bytes());
        // What comes next is never let go: only with it can there be progress.
        let is_next = self.last.as_ref().is_some_and(|last| offset == last.position.offset + 1);
        let fits = bytes <= room && self.held_bytes + bytes <= self.page_bytes;
        if is_next || self.held.len() < HELD && fits {
            self.put(offset, Held { epoch: epoch.clone(), entry });
        } else {
            self.let_go = self.let_go.max(offset);
        }
    }

    fn put(&mut self, offset: u64, held: Held) {
        self.held_bytes += held.entry.publication.bytes();
        if let Some(replaced) = self.held.insert(offset, held) {
            self.held_bytes -= replaced.entry.publication.bytes();
        }
    }

    /// Publications that come next, without a gap.
    pub(super) fn take_next(&mut self) -> Vec<Entry> {
        let mut next = Vec::new();
        let Some(last) = self.last.as_mut().filter(|_| self.verified) else { return next };
        while let Some(first) = self.held.first_entry()
            && *first.key() == last.position.offset + 1
            && first.get().epoch == last.position.epoch
        {
            let held = first.remove();
            last.position.offset += 1;
            last.tag = held.entry.tag;
            self.held_bytes -= held.entry.publication.bytes();
            if let Some(reading) = &mut self.reading {
                reading.recent.push(held.entry.clone());
            }
            next.push(held.entry);
        }
        next
    }

    /// Starts a read of what comes next, and of what came after `since` as far as `limit` allows.
    pub(super) fn start_read(&mut self, since: Option<u64>, limit: u32) -> Range {
        let wanted = since.map(|since| since.saturating_add(1));
        let range = match &self.last {
            None => Range {
                pivot: None,
                from: wanted.unwrap_or(1),
                up_to: if since.is_some() { limit } else { 0 },
                after: 0,
            },
            Some(last) => {
                let last = last.position.offset;
                // With the last publication, so that its tag can be compared.
                let oldest = last.saturating_sub(u64::from(limit)).saturating_add(1);
                let from = wanted.map_or(last, |wanted| wanted.max(oldest).min(last)).max(1);
                let known = last.saturating_add(1).saturating_sub(from);
                let up_to = u32::try_from(known).unwrap_or(u32::MAX);
                Range { pivot: Some(last), from, up_to, after: AHEAD }
            }
        };
        self.stray = false;
        self.let_go = 0;
        self.reading = Some(Reading { base: self.last.clone(), recent: Window::new(self.page_bytes) });
        range
    }

    pub(super) fn page(&mut self, page: Page) -> Found {
        let Some(reading) = self.reading.take() else { return Found::Nothing };
        let Some(base) = reading.base else { return self.start(page) };
        if page.top.epoch != base.position.epoch {
            if !base.became(&page) {
                // Where there was a stream, a store that knows of none, or of one that came after none, would let a client's provisional epoch
                // name the next.
                return if page.provisional().is_some() && !base.is_provisional() {
                    self.roll_back(page.top.epoch)
                } else {
                    Found::Over
                };
            }
            if page.top.offset > 0 {
                self.begin(&page);
            }
        }
        let last = self.last.as_ref().unwrap_or(&base);
        let delivered = last.position.offset;
        match continuity(&base, last, &page) {
            Continuity::Kept => {}
            Continuity::Trimmed => return Found::Over,
            Continuity::RolledBack => return self.roll_back(page.top.epoch),
        }
        self.verified = !self.stray;
        let mut window = Window::new(self.page_bytes);
        for entry in page.entries {
            let offset = entry.publication.offset;
            if offset > delivered {
                self.put(offset, Held { epoch: page.top.epoch.clone(), entry });
            } else if offset <= base.position.offset {
                window.push(entry);
            }
        }
        self.let_go = self.let_go.max(page.top.offset);
        reading.recent.into_entries().for_each(|entry| window.push(entry));
        Found::Window(window)
    }

    /// Nothing is read or delivered until the epoch is replaced.
    fn roll_back(&mut self, epoch: Arc<str>) -> Found {
        self.verified = false;
        self.reading = Some(Reading { recent: Window::new(self.page_bytes), base: None });
        Found::RolledBack { epoch }
    }

    /// The stream that this page tells of has begun since.
    fn begin(&mut self, page: &Page) {
        if let Some(last) = &mut self.last {
            last.position.epoch = page.top.epoch.clone();
            last.began = page.began;
        }
        self.keep_held(&page.top.epoch, 0);
    }

    /// Lets go what is held of other epochs, which may be newer than the page, and what is not beyond an offset.
    fn keep_held(&mut self, epoch: &Arc<str>, offset: u64) {
        let held = self.held.len();
        self.held.retain(|_, held| held.epoch == *epoch);
        self.stray |= self.held.len() < held;
        self.held = self.held.split_off(&offset.saturating_add(1));
        self.held_bytes = self.held.values().map(|held| held.entry.publication.bytes()).sum();
    }

    /// The first page: the position is its top.
    fn start(&mut self, page: Page) -> Found {
        self.keep_held(&page.top.epoch, page.top.offset);
        self.verified = !self.stray;
        let began = page.provisional();
        let mut window = Window::new(self.page_bytes);
        page.entries.into_iter().for_each(|entry| window.push(entry));
        if window.end().is_some_and(|end| end != page.top.offset) {
            window = Window::new(self.page_bytes);
        }
        self.last = Some(Last { position: page.top, tag: page.tag, began });
        Found::Window(window)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Continuity {
    /// The page goes on from the last publication delivered.
    Kept,
    /// What comes right after it is gone.
    Trimmed,
    /// The store no longer has what it once had.
    RolledBack,
}

/// How a page of the same epoch relates to the last publication delivered, and to the one at the time the read was issued.
fn continuity(base: &Last, last: &Last, page: &Page) -> Continuity {
    let (top, delivered) = (page.top.offset, last.position.offset);
    let ends_at = |last: &Last| top == last.position.offset && page.tag != last.tag;
    if top < base.position.offset || ends_at(base) || ends_at(last) {
        return Continuity::RolledBack;
    }
    if top <= delivered {
        return Continuity::Kept;
    }
    if delivered == 0 {
        let first = page.entries.first().map(|entry| entry.publication.offset);
        return if first == Some(1) { Continuity::Kept } else { Continuity::Trimmed };
    }
    match page.entries.iter().find(|entry| entry.publication.offset >= delivered) {
        Some(entry) if entry.publication.offset > delivered => Continuity::Trimmed,
        Some(entry) if entry.tag == last.tag => Continuity::Kept,
        Some(_) => Continuity::RolledBack,
        // More was delivered during the read than the page could hold; the next one goes on from there.
        None if page.entries.last().is_some_and(|entry| entry.publication.offset < top) => Continuity::Kept,
        None => Continuity::Trimmed,
    }
}
