//! What one node knows of one stream.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Entry, Page};
use crate::backplane::{Publication, StreamPosition};

/// Live messages held per channel while something before them is read. More are let go and read again.
const HELD: usize = 512;
/// Publications delivered during a read that are kept for those who wait for it.
const RECENT: usize = 4096;
/// Entries read beyond what is known to be there.
const AHEAD: u32 = 512;

#[derive(Debug, Default)]
pub(super) struct Stream {
    last: Option<Last>,
    /// Nothing up to `last` is missing and what follows arrives. Otherwise deliveries wait for a read.
    verified: bool,
    reading: Option<Reading>,
    held: BTreeMap<u64, Held>,
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
}

#[derive(Debug)]
struct Held {
    epoch: Arc<str>,
    entry: Entry,
}

#[derive(Debug)]
struct Reading {
    range: Range,
    /// The last publication when the read was issued: the store had it already.
    base: Option<Last>,
    /// Delivered since.
    recent: VecDeque<Entry>,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) from: u64,
    pub(super) limit: u32,
    pub(super) latest: bool,
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

/// Publications without a gap, up to the last one delivered.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Entry>);

impl Window {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.0.back().is_some_and(|last| last.publication.offset + 1 != entry.publication.offset) {
            self.0.clear();
        }
        self.0.push_back(entry);
    }

    /// Everything after `offset`, when it is all there.
    pub(super) fn after(&self, offset: u64) -> Option<Vec<Arc<Publication>>> {
        let first = self.0.front()?.publication.offset;
        let skip = usize::try_from(offset.checked_add(1)?.checked_sub(first)?).ok()?;
        Some(self.0.iter().skip(skip).map(|entry| entry.publication.clone()).collect())
    }
}

impl Stream {
    pub(super) fn has_position(&self) -> bool {
        self.last.is_some()
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
        self.let_go = 0;
        self.stray = false;
    }

    pub(super) fn abandon_read(&mut self) {
        self.reading = None;
    }

    pub(super) fn live(&mut self, epoch: &Arc<str>, entry: Entry) {
        let offset = entry.publication.offset;
        if let Some(last) = &self.last {
            if last.position.epoch != *epoch {
                self.verified = false;
                self.stray = true;
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
        if self.held.len() < HELD {
            self.held.insert(offset, Held { epoch: epoch.clone(), entry });
        } else {
            self.let_go = self.let_go.max(offset);
        }
    }

    /// Publications that come next, without a gap.
    pub(super) fn take_next(&mut self) -> Vec<Entry> {
        let mut next = Vec::new();
        let Some(last) = self.last.as_mut().filter(|_| self.verified) else { return next };
        while let Some(held) = self.held.remove(&(last.position.offset + 1)) {
            last.position.offset += 1;
            last.tag = held.entry.tag;
            if let Some(reading) = &mut self.reading {
                reading.recent.push_back(held.entry.clone());
                if reading.recent.len() > RECENT {
                    reading.recent.pop_front();
                }
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
                from: wanted.unwrap_or(1),
                limit: if since.is_some() { limit } else { 0 },
                latest: true,
            },
            Some(last) => {
                let last = last.position.offset;
                // From the last publication on, so that its tag can be compared.
                let oldest = last.saturating_sub(u64::from(limit)).saturating_add(1);
                let from = wanted.map_or(last, |wanted| wanted.max(oldest).min(last)).max(1);
                let known = u32::try_from(last.saturating_sub(from).saturating_add(1)).unwrap_or(u32::MAX);
                Range { from, limit: known.saturating_add(AHEAD), latest: false }
            }
        };
        self.stray = false;
        self.let_go = 0;
        self.reading = Some(Reading { range, base: self.last.clone(), recent: VecDeque::new() });
        range
    }

    pub(super) fn page(&mut self, page: Page) -> Found {
        let Some(reading) = self.reading.take() else { return Found::Nothing };
        let Some(base) = reading.base else { return self.start(page) };
        if page.top.epoch != base.position.epoch {
            return Found::Over;
        }
        let last = self.last.as_ref().unwrap_or(&base);
        let delivered = last.position.offset;
        match continuity(&base, last, &page, reading.range) {
            Continuity::Kept => {}
            Continuity::Trimmed => return Found::Over,
            Continuity::RolledBack => {
                // Nothing is read or delivered until the epoch is replaced.
                self.verified = false;
                self.reading = Some(Reading { recent: VecDeque::new(), base: None, ..reading });
                return Found::RolledBack { epoch: base.position.epoch };
            }
        }
        self.verified = !self.stray;
        let mut window = Window::default();
        for entry in page.entries {
            let offset = entry.publication.offset;
            if offset > delivered {
                self.held.insert(offset, Held { epoch: page.top.epoch.clone(), entry });
            } else if offset <= base.position.offset {
                window.push(entry);
            }
        }
        self.let_go = self.let_go.max(page.top.offset);
        reading.recent.into_iter().for_each(|entry| window.push(entry));
        Found::Window(window)
    }

    /// The first page: the position is its top.
    fn start(&mut self, page: Page) -> Found {
        let held = self.held.len();
        self.held.retain(|_, held| held.epoch == page.top.epoch);
        // One of another epoch may be newer than the page.
        self.stray |= self.held.len() < held;
        self.held = self.held.split_off(&page.top.offset.saturating_add(1));
        self.verified = !self.stray;
        let mut window = Window::default();
        page.entries.into_iter().for_each(|entry| window.push(entry));
        if window.0.back().is_some_and(|last| last.publication.offset != page.top.offset) {
            window = Window::default();
        }
        self.last = Some(Last { position: page.top, tag: page.tag });
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
fn continuity(base: &Last, last: &Last, page: &Page, range: Range) -> Continuity {
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
        None if u64::try_from(page.entries.len()).is_ok_and(|len| len >= u64::from(range.limit)) => {
            Continuity::Kept
        }
        None => Continuity::Trimmed,
    }
}
