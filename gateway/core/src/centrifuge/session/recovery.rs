//! What a client missed: read in parts where it is much, and cut to what fits.

use super::{
    Session,
    page::{self, Fit},
    pending::Awaited,
    request::MAX_PUBLICATIONS,
    subscription::Subscribing,
};
use crate::{
    backplane::{BackplaneError, Followed, LogOp, Outcome, StreamPosition},
    centrifuge::codes::ErrorCode,
    provisional::ProvisionalEpoch,
    shard::link::Link,
};

/// What the client is told of a channel that it asked for.
pub(super) struct Answered {
    pub(super) subscribing: Subscribing,
    /// Where its deliveries start, if it keeps a stream.
    pub(super) result: Result<Option<Followed>, ErrorCode>,
    /// How much of what it missed that is.
    pub(super) fit: Fit,
}

impl Session {
    /// Makes of the backplane's answers what the client is told, as far as it fits into `room`; nothing while there is more to ask. What the
    /// client missed may be more than a subscribe reads: its first part is then read like history.
    pub(super) fn answered(
        &mut self,
        id: u32,
        mut subscribing: Subscribing,
        result: Result<Outcome, BackplaneError>,
        room: &mut usize,
        link: &mut Link<'_>,
    ) -> Option<Answered> {
        match (result, subscribing.retention) {
            (Ok(Outcome::Followed(Followed { position: end, recovered: false, .. })), Some(retention))
                if subscribing.since.as_ref().is_some_and(|since| may_precede(since, &end)) =>
            {
                let (channel, since) = (link.hub.name(subscribing.channel), subscribing.since.clone());
                let Ok(bytes) = page::shared_bytes(*room) else {
                    let nothing =
                        since.map(|position| Followed { position, publications: vec![], recovered: true });
                    return Some(Answered { subscribing, result: Ok(nothing), fit: Fit::NotNow });
                };
                let limit = MAX_PUBLICATIONS;
                let op = LogOp::Read { channel, retention, since, limit, bytes, reverse: false };
                self.request(id, Awaited::Subscribed(Box::new(subscribing)), op, link);
                None
            }
            (Ok(Outcome::Read { mut position, publications }), _)
                if page::may_begin_with(publications.first(), link) =>
            {
                position.offset = publications.last().map_or(position.offset, |last| last.offset);
                let mut part = Followed { position, publications, recovered: true };
                let fit = match fit(&mut part, room, link) {
                    Fit::All => Fit::Part,
                    fit => fit,
                };
                Some(Answered { subscribing, result: Ok(Some(part)), fit })
            }
            (Ok(Outcome::Read { .. }) | Err(BackplaneError::UnrecoverablePosition), _)
                if subscribing.since.is_some() =>
            {
                subscribing.since = None;
                self.start(id, subscribing, link);
                None
            }
            (Ok(Outcome::Followed(mut followed)), _) => {
                let fit = fit(&mut followed, room, link);
                Some(Answered { subscribing, result: Ok(Some(followed)), fit })
            }
            (result, _) => {
                let result = match result {
                    Ok(Outcome::Done) => Ok(None),
                    Ok(_) => Err(ErrorCode::Internal),
                    Err(error) => Err(error.into()),
                };
                Some(Answered { subscribing, result, fit: Fit::All })
            }
        }
    }
}

/// Cuts a recovery to what fits: its position is then where its publications end.
fn fit(followed: &mut Followed, room: &mut usize, link: &Link<'_>) -> Fit {
    let Followed { position, publications, recovered } = followed;
    let start = publications.first().map_or(position.offset, |first| first.offset.saturating_sub(1));
    let fit = page::cut(publications, room, link);
    match fit {
        Fit::All => {}
        Fit::Part | Fit::NotNow => {
            position.offset = publications.last().map_or(start, |last| last.offset);
        }
        Fit::Never => *recovered = false,
    }
    fit
}

/// Whether what comes between two places may be in one stream. The position of a channel without a stream stays good in the stream that
/// begins after it.
fn may_precede(since: &StreamPosition, end: &StreamPosition) -> bool {
    since.offset < end.offset && (since.epoch == end.epoch || ProvisionalEpoch::parse(&since.epoch).is_some())
}
