//! The raw WebSocket session: each text or binary message goes to everyone else in its channel.
//!
//! There is nothing to recover from in this protocol, so whatever may have been lost ends the connection with a code that says so:
//! a client that reconnects knows that it missed something.

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    backplane::{self, BackplaneError, Op, Outcome, Payload},
    hub::ChannelId,
    key::{ConnectionKey, RequestId},
    protocol::{Cause, Kind, Protocol, Received},
    shard::{
        broadcast::{Broadcast, Encoding},
        heartbeat::{Beat, Heartbeat, first_beat},
        link::Link,
    },
    transport::{Goodbye, Message, Transport},
};

/// The backplane's name for a raw channel. No namespace is named by the empty string, so it is no centrifuge channel's name.
#[must_use]
pub fn backplane_channel(channel: &str) -> String {
    format!(":raw:{channel}")
}

/// Completes the subscription; publishes count from there.
const SUBSCRIBE: RequestId = 0;

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
        Self { channel: id, membership, unconfirmed: 0, next_request: SUBSCRIBE + 1 }
    }
}

impl Protocol for Session {
    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn goodbye(&self, cause: Cause) -> Goodbye {
        goodbye(cause)
    }

    fn first_wake(&self, link: &Link<'_>) -> Duration {
        first_beat(link.key.generation)
    }

    /// Publishes the message to everyone else in the channel.
    fn receive(&mut self, message: Received<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        let payload = match message {
            Received::Text(text) => Payload::Text(Bytes::copy_from_slice(text.as_bytes())),
            Received::Binary(bytes) => Payload::Binary(Bytes::copy_from_slice(bytes)),
        };
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
        Ok(())
    }

    /// The completion of the subscription, or of a publish.
    fn complete(
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

    /// Nothing comes back to its sender.
    fn push<'b>(
        &mut self,
        broadcast: &'b mut Broadcast<'_>,
        key: ConnectionKey,
        transport: Transport,
    ) -> Option<&'b Bytes> {
        if broadcast.from == Some(key) { None } else { broadcast.bytes(Encoding::Raw, transport) }
    }

    fn discontinued(&mut self, _: ChannelId, _: &Arc<str>, _: &mut Link<'_>) -> Result<(), Goodbye> {
        Err(LOST)
    }

    fn beat(&mut self, heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
        beat(heartbeat, link)
    }

    fn is_settled(&self) -> bool {
        self.unconfirmed == 0
    }

    fn is_waiting_for(&self, count: usize) -> bool {
        self.unconfirmed as usize >= count
    }

    fn end(&mut self, link: &mut Link<'_>) {
        match mem::replace(&mut self.membership, Membership::Out) {
            Membership::Joining => link.abandon(self.channel),
            Membership::Joined => link.leave(self.channel),
            Membership::Out => {}
        }
    }
}

/// The close codes of RFC 6455's registry that say it best.
pub(crate) fn goodbye(cause: Cause) -> Goodbye {
    match cause {
        Cause::Moved => Goodbye { code: 1012, reason: "service restart" },
        Cause::Slow => Goodbye { code: 1008, reason: "slow consumer" },
    }
}

/// Pings who is silent; returns the time until the next beat.
pub(crate) fn beat(heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
    match heartbeat.when_silent() {
        Beat::Ping(next) => {
            link.ping();
            Ok(next)
        }
        Beat::Rest(next) => Ok(next),
        Beat::Dead => Err(SILENT),
    }
}

/// What raw clients get of a channel's message; joins and leaves are not for them.
pub(crate) fn message(message: &backplane::Message) -> Option<Message<'_>> {
    let backplane::Message::Publication(publication) = message else { return None };
    Some(match &publication.payload {
        Payload::Binary(body) => Message::Binary(body),
        Payload::Text(body) | Payload::Json(body) => Message::Text(body),
    })
}
