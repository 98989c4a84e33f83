//! Answers that may be large: none is built that does not fit into what may wait for the client, so that no client reads too slowly for
//! what it was only answered.

use std::sync::Arc;

use super::Session;
use crate::{
    backplane::{ClientInfo, Publication, StreamPosition},
    centrifuge::{
        codes::ErrorCode,
        reply::{self, Reply},
    },
    shard::link::Link,
};

/// How much of the publications asked for fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    All,
    /// The first ones.
    Part,
    /// None of them at present; some will once the client has read what waits for it.
    NotNow,
    /// Not even one, ever.
    Never,
}

/// Bytes of publications that may be in one answer: half of what may wait, which leaves the other half to what happens meanwhile.
pub(super) fn room(link: &Link<'_>) -> usize {
    link.room().saturating_sub(whole_room(link))
}

/// What may be in one when nothing waits.
pub(super) fn whole_room(link: &Link<'_>) -> usize {
    link.policy.limits().outbound_queue_bytes as usize / 2
}

/// Bytes to ask for, where a page needs `least`. With less room nothing is asked, since it might not bring the client on: it has to read
/// first what it asked for before. Queues are far smaller than 4 GiB.
pub(super) fn bytes(room: usize, least: usize) -> Result<u32, ErrorCode> {
    if room < least { Err(ErrorCode::TooManyRequests) } else { Ok(u32::try_from(room).unwrap_or(u32::MAX)) }
}

/// The same for what many missed together: a power of two, so that they ask alike whatever else each of them was sent.
pub(super) fn shared_bytes(room: usize) -> Result<u32, ErrorCode> {
    bytes(room.checked_ilog2().map_or(0, |exponent| 1 << exponent), 1)
}

/// What a page of history needs: the largest publication as a client is told of it, where that leaves room for something to wait beside
/// it. A text may be six times as long in JSON as it is.
pub(super) fn least(link: &Link<'_>) -> usize {
    reply::text_bound(link.policy.limits().max_message_bytes as usize).min(whole_room(link) / 4 * 3)
}

/// Whether a page can ever have this publication in it; not without one.
pub(super) fn may_begin_with(first: Option<&Arc<Publication>>, link: &Link<'_>) -> bool {
    first.is_some_and(|first| reply::publication_bound(first) <= whole_room(link))
}

/// Leaves the first publications that fit into `room`, and takes their bytes off it.
pub(super) fn cut(publications: &mut Vec<Arc<Publication>>, room: &mut usize, link: &Link<'_>) -> Fit {
    let count = publications.len();
    let may_begin = may_begin_with(publications.first(), link);
    let fitting = publications.iter().take_while(|publication| {
        let left = room.checked_sub(reply::publication_bound(publication));
        *room = left.unwrap_or(*room);
        left.is_some()
    });
    let fitting = fitting.count();
    publications.truncate(fitting);
    match fitting {
        _ if fitting == count => Fit::All,
        0 if !may_begin => Fit::Never,
        0 => Fit::NotNow,
        _ => Fit::Part,
    }
}

impl Session {
    /// Answers with a page of history, which ends where it no longer fits.
    pub(super) fn show_history(
        &self,
        id: u32,
        position: &StreamPosition,
        mut publications: Vec<Arc<Publication>>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        match cut(&mut publications, &mut room(link), link) {
            Fit::All | Fit::Part => {}
            Fit::NotNow => return Err(ErrorCode::TooManyRequests),
            Fit::Never => return Err(ErrorCode::LimitExceeded),
        }
        self.reply(id, &Reply::History { position, publications: &publications }, link);
        Ok(())
    }

    /// Answers with everybody who is present, or not at all.
    pub(super) fn show_presence(
        &self,
        id: u32,
        clients: &[ClientInfo],
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let size: usize = clients.iter().map(reply::client_info_bound).sum();
        if size > link.policy.limits().outbound_queue_bytes as usize {
            return Err(ErrorCode::LimitExceeded);
        }
        if size > link.room() {
            return Err(ErrorCode::TooManyRequests);
        }
        self.reply(id, &Reply::Presence(clients), link);
        Ok(())
    }
}
