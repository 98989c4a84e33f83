//! The raw WebSocket session: each text or binary message goes to everyone else in its channel.
//!
//! There is nothing to recover from in this protocol, so whatever may have been lost ends the connection with a code that says so:
//! a client that reconnects knows that it missed something.

use std::{mem, time::Duration};

use bytes::Bytes;

use crate::{
    backplane::{BackplaneError, Message, Op, Outcome, Payload},
    frame,
    hub::ChannelId,
    key::RequestId,
    shard::{
        heartbeat::{Beat, Heartbeat},
        link::{Goodbye, Link},
    },
};

/// The backplane's name for a raw channel. No namespace is named by the empty string, so it is no centrifuge channel's name.
#[must_use]
pub fn backplane_channel(channel: &str) -> String {
    format!(":raw:{channel}")
}

/// Completes the subscription; publishes count from there.
const SUBSCRIBE: RequestId = 0;

/// The gateway moves this client: reconnect (RFC 6455 registry, "Service Restart").
pub(crate) const MOVED: Goodbye = Goodbye { code: 1012, reason: "service restart" };
/// The client reads too slowly.
pub(crate) const SLOW: Goodbye = Goodbye { code: 1008, reason: "slow consumer" };
const LOST: Goodbye = Goodbye { code: 1012, reason: "messages may have been lost" };
const UNAVAILABLE: Goodbye = Goodbye { code: 1013, reason: "backplane unavailable" };
const SILENT: Goodbye = Goodbye { code: 1001, reason: "no pong" };

/// Where the hub has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Joining,
    Joined,
    Out,
}

/// One raw connection.
#[derive(Debug)]
pub(crate) struct Session {
    channel: ChannelId,
    membership: Membership,
    heartbeat: Heartbeat,
    /// Publishes the backplane has not confirmed yet.
    unconfirmed: u32,
    next_request: RequestId,
}

impl Session {
    /// Joins a channel, named as [`backplane_channel`] does.
    pub(crate) fn open(channel: &str, link: &mut Link<'_>) -> Self {
        let id = link.hub.join(channel);
        let membership = if link.hub.is_delivered(id) {
            link.hub.joined(id, link.key.slot);
            Membership::Joined
        } else {
            let op = Op::Subscribe { channel: link.hub.name(id), retention: None, since: None, limit: 0 };
            link.request(SUBSCRIBE, op);
            Membership::Joining
        };
        link.accepted.new += 1;
        Self {
            channel: id,
            membership,
            heartbeat: Heartbeat::default(),
            unconfirmed: 0,
            next_request: SUBSCRIBE + 1,
        }
    }

    /// Publishes a message to everyone else in the channel.
    pub(crate) fn publish(&mut self, payload: Payload, link: &mut Link<'_>) {
        let op = Op::Publish {
            channel: link.hub.name(self.channel),
            payload,
            info: None,
            origin: Some(link.settings.origin(link.key)),
            retention: None,
            idempotency_key: None,
        };
        link.request(self.next_request, op);
        self.next_request = self.next_request.wrapping_add(1).max(SUBSCRIBE + 1);
        self.unconfirmed += 1;
    }

    /// Takes the completion of the subscription or of a publish.
    pub(crate) fn complete(
        &mut self,
        request: RequestId,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        if request == SUBSCRIBE {
            result.map_err(|_| UNAVAILABLE)?;
            link.hub.joined(self.channel, link.key.slot);
            self.membership = Membership::Joined;
        } else {
            self.unconfirmed = self.unconfirmed.saturating_sub(1);
            result.map_err(|_| UNAVAILABLE)?;
        }
        Ok(())
    }

    /// The hub has taken this connection out of its channel because deliveries may be missing.
    pub(crate) fn discontinued(&mut self) -> Goodbye {
        self.membership = Membership::Out;
        LOST
    }

    /// Whether the backplane has confirmed everything this client published.
    pub(crate) fn is_settled(&self) -> bool {
        self.unconfirmed == 0
    }

    /// Whether so many publishes wait for the backplane.
    pub(crate) fn is_waiting_for(&self, count: usize) -> bool {
        self.unconfirmed as usize >= count
    }

    /// Something arrived from the client.
    pub(crate) fn heard(&mut self) {
        self.heartbeat.heard();
    }

    /// Handles the heartbeat's timer; returns the time until the next one.
    pub(crate) fn beat(&mut self, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
        beat(&mut self.heartbeat, link)
    }

    /// Leaves the channel; the session is over.
    pub(crate) fn end(&mut self, link: &mut Link<'_>) {
        match mem::replace(&mut self.membership, Membership::Out) {
            Membership::Joining => link.abandon(self.channel),
            Membership::Joined => link.leave(self.channel),
            Membership::Out => {}
        }
    }
}

/// Pings who is silent; returns the time until the next beat.
pub(crate) fn beat(heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
    match heartbeat.when_silent() {
        Beat::Ping(next) => {
            link.send(frame::ping(b""));
            Ok(next)
        }
        Beat::Rest(next) => Ok(next),
        Beat::Dead => Err(SILENT),
    }
}

/// A channel's message as the frame that raw clients get; joins and leaves are not for them.
pub(crate) fn encode(message: &Message) -> Option<Bytes> {
    let Message::Publication(publication) = message else { return None };
    Some(match &publication.payload {
        Payload::Binary(body) => frame::binary(body),
        Payload::Text(body) | Payload::Json(body) => frame::text(body),
    })
}
