//! One channel's stream.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::{
    backplane::{BackplaneError, Publication, Retention, StreamPosition},
    provisional::ProvisionalEpoch,
};

/// How much longer than its publications a stream's position is kept, so that a client that comes back late learns whether it
/// missed something.
pub(super) const POSITION_OUTLIVES: Duration = Duration::from_secs(24 * 3600);

/// The last publications of a channel.
#[derive(Debug)]
pub(super) struct Stream {
    epoch: Arc<str>,
    /// The channel's epoch before there was a stream.
    began: ProvisionalEpoch,
    top: u64,
    publications: VecDeque<Arc<Publication>>,
    expires: Instant,
}

impl Stream {
    pub(super) fn new(began: ProvisionalEpoch, now: Instant) -> Self {
        let epoch = format!("{:016x}", rand::random::<u64>()).into();
        Self { epoch, began, top: 0, publications: VecDeque::new(), expires: now }
    }

    pub(super) fn position(&self) -> StreamPosition {
        StreamPosition { epoch: self.epoch.clone(), offset: self.top }
    }

    pub(super) fn append(
        &mut self,
        mut publication: Publication,
        retention: Retention,
        now: Instant,
    ) -> Arc<Publication> {
        self.expire(now);
        self.top += 1;
        publication.offset = self.top;
        let publication = Arc::new(publication);
        self.publications.push_back(publication.clone());
        let size = usize::try_from(retention.size.max(1)).unwrap_or(usize::MAX);
        self.publications.drain(..self.publications.len().saturating_sub(size));
        self.expires = now + retention.ttl;
        publication
    }

    /// Everything after `since`; nothing when it is not all there any more, or more than `limit` or `bytes`.
    pub(super) fn missed(
        &mut self,
        since: &StreamPosition,
        limit: u32,
        bytes: usize,
        now: Instant,
    ) -> Option<Vec<Arc<Publication>>> {
        self.expire(now);
        let missed = self.is_of(&since.epoch).then(|| self.top.checked_sub(since.offset))??;
        let missed = usize::try_from(missed).ok().filter(|&n| n <= self.publications.len())?;
        let range = || self.publications.range(self.publications.len() - missed..);
        let fits = missed as u64 <= u64::from(limit)
            && (missed <= 1 || range().map(|publication| publication.bytes()).sum::<usize>() <= bytes);
        fits.then(|| range().cloned().collect())
    }

    pub(super) fn read(
        &mut self,
        since: Option<&StreamPosition>,
        limit: u32,
        reverse: bool,
        bytes: usize,
        now: Instant,
    ) -> Result<Vec<Arc<Publication>>, BackplaneError> {
        self.expire(now);
        if since.is_some_and(|since| !self.is_of(&since.epoch)) {
            return Err(BackplaneError::UnrecoverablePosition);
        }
        let oldest = self.top - self.publications.len() as u64 + 1;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if reverse {
            let before = since.map_or(u64::MAX, |since| since.offset);
            let earlier = self.publications.iter().rev().filter(|p| p.offset < before);
            return Ok(cut(earlier.take(limit), bytes));
        }
        let after = since.map_or(oldest - 1, |since| since.offset);
        if after.saturating_add(1) < oldest {
            return Err(BackplaneError::UnrecoverablePosition);
        }
        Ok(cut(self.publications.iter().filter(|p| p.offset > after).take(limit), bytes))
    }

    /// Whether an epoch is the stream's, or the provisional one that it had before.
    fn is_of(&self, epoch: &str) -> bool {
        let began = || ProvisionalEpoch::parse(epoch);
        *self.epoch == *epoch || began().is_some_and(|known| self.began.continues(known, POSITION_OUTLIVES))
    }

    /// Whether not even the position is worth keeping.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.expire(now);
        now >= self.expires + POSITION_OUTLIVES
    }

    fn expire(&mut self, now: Instant) {
        if now >= self.expires {
            self.publications.clear();
        }
    }
}

/// As many as fit, but one at least.
fn cut<'a>(publications: impl Iterator<Item = &'a Arc<Publication>>, bytes: usize) -> Vec<Arc<Publication>> {
    let mut total = 0;
    let fits = |(index, publication): &(usize, &Arc<Publication>)| {
        total += publication.bytes();
        *index == 0 || total <= bytes
    };
    publications.enumerate().take_while(fits).map(|(_, publication)| publication.clone()).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gateway_core::backplane::Payload;

    use super::*;

    const BEGAN: ProvisionalEpoch = ProvisionalEpoch { store: 1, seconds: 7 };
    const ROOM: usize = 1024 * 1024;
    const KEPT: Retention = Retention { size: 3, ttl: Duration::from_secs(60) };

    fn filled(now: Instant, count: u64) -> Stream {
        let mut stream = Stream::new(BEGAN, now);
        for _ in 0..count {
            let payload = Payload::Json(Bytes::from_static(b"1"));
            stream.append(Publication { offset: 0, payload, info: None, sender: None }, KEPT, now);
        }
        stream
    }

    fn at(stream: &Stream, offset: u64) -> StreamPosition {
        StreamPosition { offset, ..stream.position() }
    }

    fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
        publications.iter().map(|p| p.offset).collect()
    }

    #[test]
    fn what_was_missed_is_recovered_only_when_all_of_it_is_there() {
        let now = Instant::now();
        let mut stream = filled(now, 5);
        let missed = |stream: &mut Stream, offset, limit| {
            let since = at(stream, offset);
            stream.missed(&since, limit, ROOM, now).map(|missed| offsets(&missed))
        };
        assert_eq!(missed(&mut stream, 2, 10), Some(vec![3, 4, 5]));
        assert_eq!(missed(&mut stream, 5, 10), Some(vec![]));
        assert_eq!(missed(&mut stream, 1, 10), None, "2 is trimmed");
        assert_eq!(missed(&mut stream, 2, 2), None, "over the limit");
        assert_eq!(missed(&mut stream, 6, 10), None, "never published");
        assert_eq!(stream.missed(&StreamPosition { epoch: "other".into(), offset: 5 }, 10, ROOM, now), None);
    }

    #[test]
    fn publications_expire_and_the_position_stays() {
        let now = Instant::now();
        let mut stream = filled(now, 2);
        let later = now + KEPT.ttl;
        let (last, before) = (at(&stream, 2), at(&stream, 1));
        assert_eq!(stream.missed(&last, 10, ROOM, later), Some(vec![]));
        assert_eq!(stream.missed(&before, 10, ROOM, later), None);
        assert!(!stream.is_over(later));
        assert!(stream.is_over(later + POSITION_OUTLIVES));
    }

    #[test]
    fn history_is_read_in_either_direction_from_either_end() {
        let now = Instant::now();
        let mut stream = filled(now, 5);
        let four = at(&stream, 4);
        let mut read = |since: Option<&StreamPosition>, limit, reverse| {
            stream.read(since, limit, reverse, ROOM, now).map(|publications| offsets(&publications))
        };
        assert_eq!(read(None, 2, false), Ok(vec![3, 4]));
        assert_eq!(read(None, 2, true), Ok(vec![5, 4]));
        assert_eq!(read(Some(&four), 9, false), Ok(vec![5]));
        assert_eq!(read(Some(&four), 9, true), Ok(vec![3]));
        assert_eq!(read(None, 0, false), Ok(vec![]));
        let trimmed = StreamPosition { offset: 1, ..four.clone() };
        assert_eq!(read(Some(&trimmed), 9, false), Err(BackplaneError::UnrecoverablePosition));
        let largest = StreamPosition { offset: u64::MAX, ..four };
        assert_eq!(read(Some(&largest), 9, false), Ok(vec![]));
    }

    #[test]
    fn one_answer_brings_what_fits_and_a_recovery_all_or_nothing() {
        let now = Instant::now();
        let mut stream = filled(now, 3);
        let start = at(&stream, 0);
        let two = stream.publications.iter().take(2).map(|p| p.bytes()).sum();
        let mut read = |reverse, bytes| stream.read(None, 9, reverse, bytes, now).map(|all| offsets(&all));
        assert_eq!(read(false, two), Ok(vec![1, 2]));
        assert_eq!(read(true, two), Ok(vec![3, 2]));
        assert_eq!(read(false, 0), Ok(vec![1]), "one at least");
        assert_eq!(stream.missed(&start, 9, two, now), None);
        let last = at(&stream, 2);
        assert_eq!(stream.missed(&last, 9, 0, now).map(|missed| offsets(&missed)), Some(vec![3]));
    }

    #[test]
    fn the_epoch_of_a_channel_without_a_stream_is_good_in_the_stream_that_begins_after_it() {
        let now = Instant::now();
        let mut stream = filled(now, 1);
        let earlier = ProvisionalEpoch { seconds: 6, ..BEGAN }.to_string();
        let since = StreamPosition { epoch: earlier.into(), offset: 0 };
        assert_eq!(stream.missed(&since, 9, ROOM, now).map(|missed| offsets(&missed)), Some(vec![1]));
        let other = ProvisionalEpoch { store: 2, ..BEGAN }.to_string();
        let since = StreamPosition { epoch: other.into(), offset: 0 };
        assert_eq!(stream.missed(&since, 9, ROOM, now), None);
    }
}
