//! What is known of a stream's end.

use std::{collections::VecDeque, sync::Arc};

use super::Entry;
use crate::backplane::Publication;

/// Publications of one window at most.
const WINDOW: usize = 4096;

/// Publications without a gap, up to the last one delivered; of more than fit, the last ones.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    bytes: usize,
    most: usize,
}

impl Window {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, most }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.back().is_some_and(|last| last.publication.offset + 1 != entry.publication.offset) {
            *self = Self::new(self.most);
        }
        self.bytes += entry.publication.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > WINDOW || self.bytes > self.most && self.entries.len() > 1 {
            let Some(first) = self.entries.pop_front() else { return };
            self.bytes -= first.publication.bytes();
        }
    }

    /// Everything after `offset`, when it is all there.
    pub(super) fn after(&self, offset: u64) -> Option<Vec<Arc<Publication>>> {
        let first = self.entries.front()?.publication.offset;
        let skip = usize::try_from(offset.checked_add(1)?.checked_sub(first)?).ok()?;
        Some(self.entries.iter().skip(skip).map(|entry| entry.publication.clone()).collect())
    }

    /// Offset of the last one.
    pub(super) fn end(&self) -> Option<u64> {
        self.entries.back().map(|last| last.publication.offset)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }
}
