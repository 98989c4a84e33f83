//! One channel's stream.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway_core::backplane::{BackplaneError, Publication, Retention, StreamPosition};

/// How much longer than its publications a stream's position is kept, so that a client that comes back late learns whether it
/// missed something.
const POSITION_OUTLIVES: Duration = Duration::from_secs(24 * 3600);

/// The last publications of a channel.
#[derive(Debug)]
pub(super) struct Stream {
    epoch: Arc<str>,
    top: u64,
    publications: VecDeque<Arc<Publication>>,
    expires: Instant,
}

impl Stream {
    pub(super) fn new(now: Instant, ttl: Duration) -> Self {
        let epoch = format!("{:016x}", rand::random::<u64>()).into();
        Self { epoch, top: 0, publications: VecDeque::new(), expires: now + ttl }
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

    /// Everything after `since`; nothing when it is not all there any more, or more than `limit`.
    pub(super) fn missed(
        &mut self,
        since: &StreamPosition,
        limit: u32,
        now: Instant,
    ) -> Option<Vec<Arc<Publication>>> {
        self.expire(now);
        let missed = (since.epoch == self.epoch).then(|| self.top.checked_sub(since.offset))??;
        let missed = usize::try_from(missed).ok().filter(|&n| n <= self.publications.len())?;
        (missed as u64 <= u64::from(limit))
            .then(|| self.publications.range(self.publications.len() - missed..).cloned().collect())
    }

    pub(super) fn read(
        &mut self,
        since: Option<&StreamPosition>,
        limit: u32,
        reverse: bool,
        now: Instant,
    ) -> Result<Vec<Arc<Publication>>, BackplaneError> {
        self.expire(now);
        if since.is_some_and(|since| since.epoch != self.epoch) {
            return Err(BackplaneError::UnrecoverablePosition);
        }
        let oldest = self.top - self.publications.len() as u64 + 1;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if reverse {
            let before = since.map_or(u64::MAX, |since| since.offset);
            return Ok(self
                .publications
                .iter()
                .rev()
                .filter(|p| p.offset < before)
                .take(limit)
                .cloned()
                .collect());
        }
        let after = since.map_or(oldest - 1, |since| since.offset);
        if after + 1 < oldest {
            return Err(BackplaneError::UnrecoverablePosition);
        }
        Ok(self.publications.iter().filter(|p| p.offset > after).take(limit).cloned().collect())
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gateway_core::backplane::Payload;

    use super::*;

    const KEPT: Retention = Retention { size: 3, ttl: Duration::from_secs(60) };

    fn filled(now: Instant, count: u64) -> Stream {
        let mut stream = Stream::new(now, KEPT.ttl);
        for _ in 0..count {
            let payload = Payload::Json(Bytes::from_static(b"1"));
            stream.append(Publication { offset: 0, payload, info: None, origin: None }, KEPT, now);
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
            stream.missed(&since, limit, now).map(|missed| offsets(&missed))
        };
        assert_eq!(missed(&mut stream, 2, 10), Some(vec![3, 4, 5]));
        assert_eq!(missed(&mut stream, 5, 10), Some(vec![]));
        assert_eq!(missed(&mut stream, 1, 10), None, "2 is trimmed");
        assert_eq!(missed(&mut stream, 2, 2), None, "over the limit");
        assert_eq!(missed(&mut stream, 6, 10), None, "never published");
        assert_eq!(stream.missed(&StreamPosition { epoch: "other".into(), offset: 5 }, 10, now), None);
    }

    #[test]
    fn publications_expire_and_the_position_stays() {
        let now = Instant::now();
        let mut stream = filled(now, 2);
        let later = now + KEPT.ttl;
        let (last, before) = (at(&stream, 2), at(&stream, 1));
        assert_eq!(stream.missed(&last, 10, later), Some(vec![]));
        assert_eq!(stream.missed(&before, 10, later), None);
        assert!(!stream.is_over(later));
        assert!(stream.is_over(later + POSITION_OUTLIVES));
    }

    #[test]
    fn history_is_read_in_either_direction_from_either_end() {
        let now = Instant::now();
        let mut stream = filled(now, 5);
        let four = at(&stream, 4);
        let mut read = |since: Option<&StreamPosition>, limit, reverse| {
            stream.read(since, limit, reverse, now).map(|publications| offsets(&publications))
        };
        assert_eq!(read(None, 2, false), Ok(vec![3, 4]));
        assert_eq!(read(None, 2, true), Ok(vec![5, 4]));
        assert_eq!(read(Some(&four), 9, false), Ok(vec![5]));
        assert_eq!(read(Some(&four), 9, true), Ok(vec![3]));
        assert_eq!(read(None, 0, false), Ok(vec![]));
        let trimmed = StreamPosition { offset: 1, ..four };
        assert_eq!(read(Some(&trimmed), 9, false), Err(BackplaneError::UnrecoverablePosition));
    }
}
