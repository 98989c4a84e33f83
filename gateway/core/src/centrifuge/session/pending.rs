//! Commands that wait for the backplane, what they count meanwhile, and what becomes of them.

use super::{Failure, Session, page, subscription::Subscribing};
use crate::{
    backplane::{BackplaneError, Op, Outcome},
    centrifuge::{codes::ErrorCode, reply::Reply},
    hub::ChannelId,
    key::RequestId,
    shard::link::{Link, MAX_WAITING},
};

/// What a command counts against [`MAX_WAITING`] whose answer may be half of what may wait for a client: two at a time.
const READ: u32 = MAX_WAITING as u32 / 2;
/// What one counts whose answer is small, or shared with all others who missed the same.
const LOOK: u32 = 32;

/// A command that waits for the backplane.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: RequestId,
    pub(super) command: u32,
    pub(super) awaited: Awaited,
}

#[derive(Debug)]
pub(super) enum Awaited {
    Subscribed(Box<Subscribing>),
    /// With what it weighs.
    Published(u32),
    History,
    /// With the bytes that there was room for.
    Presence(u32),
    PresenceStats,
}

impl Awaited {
    /// What it counts against [`MAX_WAITING`].
    pub(super) fn weight(&self) -> u32 {
        match self {
            // Their number has a limit of its own.
            Self::Subscribed(subscribing) if subscribing.since.is_none() => 0,
            Self::Subscribed(_) | Self::PresenceStats => LOOK,
            Self::History | Self::Presence(_) => READ,
            Self::Published(weight) => *weight,
        }
    }
}

impl Session {
    /// Submits an operation for a command.
    pub(super) fn request(&mut self, command: u32, awaited: Awaited, op: impl Into<Op>, link: &mut Link<'_>) {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        self.weight += awaited.weight();
        self.pending.push(Pending { request, command, awaited });
        link.request(request, op.into());
    }

    /// Does what waited for the backplane.
    pub(super) fn finish(
        &mut self,
        id: u32,
        awaited: Awaited,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Failure> {
        match (awaited, result) {
            (Awaited::Subscribed(subscribing), result) if self.greeting.is_some() => {
                self.greeted(id, *subscribing, result, link)?;
            }
            (Awaited::Subscribed(subscribing), result) => self.subscribed(id, *subscribing, result, link)?,
            // Everybody might fit once the client has read what waits for it.
            (Awaited::Presence(bytes), Err(BackplaneError::TooLarge))
                if (bytes as usize) < page::whole_room(link) =>
            {
                return Err(ErrorCode::TooManyRequests.into());
            }
            (_, Err(error)) => return Err(error.into()),
            (Awaited::Published(_), Ok(_)) => self.reply(id, &Reply::Publish, link),
            (Awaited::History, Ok(Outcome::Read { position, publications })) => {
                self.show_history(id, &position, publications, link)?;
            }
            (Awaited::Presence(_), Ok(Outcome::Listed { clients })) => {
                self.show_presence(id, &clients, link)?;
            }
            (Awaited::PresenceStats, Ok(Outcome::Counted { clients, users })) => {
                self.reply(id, &Reply::PresenceStats { clients, users }, link);
            }
            (Awaited::History | Awaited::Presence(_) | Awaited::PresenceStats, Ok(_)) => {
                return Err(ErrorCode::Internal.into());
            }
        }
        Ok(())
    }

    /// Takes a command off those that wait.
    pub(super) fn take_pending(&mut self, index: usize) -> Pending {
        let pending = self.pending.remove(index);
        self.weight -= pending.awaited.weight();
        if self.pending.is_empty() {
            // An idle connection keeps no buffer.
            self.pending = Vec::new();
        }
        pending
    }

    /// Subscriptions that the backplane has not confirmed yet.
    pub(super) fn subscribing(&self) -> usize {
        self.pending.iter().filter(|pending| matches!(pending.awaited, Awaited::Subscribed(_))).count()
    }

    /// Index of the pending command that subscribes to a channel.
    pub(super) fn under_way(&self, channel: ChannelId) -> Option<usize> {
        self.pending.iter().position(
            |pending| matches!(&pending.awaited, Awaited::Subscribed(subscribing) if subscribing.channel == channel),
        )
    }
}
