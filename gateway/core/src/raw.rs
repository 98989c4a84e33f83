//! The raw WebSocket session: each text or binary message goes to everyone else in its channel.
//!
//! There is no way to tell such a client what it missed, and reconnecting would not bring it back. So it stays through every outage of
//! the backplane: where its channel keeps a stream, the gap is filled as for others; otherwise it is counted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    backplane::{self, BackplaneError, Op, Outcome, Payload, Retention},
    config::Channels,
    hub::ChannelId,
    key::{ConnectionKey, RequestId},
    protocol::{Cause, Kind, Parting, Protocol, Received},
    shard::{
        broadcast::{Broadcast, Encoding},
        heartbeat::{Beat, Heartbeat, first_beat},
        link::Link,
    },
    time::Now,
    transport::{Goodbye, Message, Transport},
};

/// The backplane's name for a raw channel. No namespace is named by the empty string, so it is no centrifuge channel's name.
#[must_use]
pub fn backplane_channel(channel: &str) -> String {
    [PREFIX, channel].concat()
}

const PREFIX: &str = ":raw:";

/// How much of a channel, named as [`backplane_channel`] does, is kept: as much as of one of the centrifuge protocol that clients know by
/// the same name, or, since no name is refused here, by none without a namespace.
#[must_use]
pub fn retention(channels: &Channels, channel: &str) -> Option<Retention> {
    let options = channels.options(channel.strip_prefix(PREFIX).unwrap_or(channel));
    options.unwrap_or(&channels.default).history.map(Retention::from)
}

const SILENT: Goodbye = Goodbye { code: 1001, reason: "no pong" };
const EXPIRED: Goodbye = Goodbye { code: 3000, reason: "token expired" };

/// One raw connection.
#[derive(Debug)]
pub(crate) struct Session {
    channel: ChannelId,
    /// Monotonic time of the end of its token.
    ends: Option<Duration>,
    /// Publishes the backplane has not confirmed yet.
    unconfirmed: u32,
    next_request: RequestId,
}

impl Session {
    /// Joins a channel, named as clients do.
    pub(crate) fn open(channel: &str, expires_at: Option<u64>, link: &mut Link<'_>) -> Self {
        link.accepted.new += 1;
        Self {
            channel: link.follow(&backplane_channel(channel)),
            ends: expires_at.map(|at| link.now.at(at)),
            unconfirmed: 0,
            next_request: 0,
        }
    }

    /// The end of the token, or the next beat if that comes first.
    fn until(&self, beat: Duration, now: Now) -> Duration {
        self.ends.map_or(beat, |ends| ends.saturating_sub(now.monotonic).min(beat))
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
        self.until(first_beat(link.key.generation), link.now)
    }

    /// Publishes the message to everyone else in the channel.
    fn receive(&mut self, message: Received<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        let payload = match message {
            Received::Text(text) => Payload::Text(Bytes::copy_from_slice(text.as_bytes())),
            Received::Binary(bytes) => Payload::Binary(Bytes::copy_from_slice(bytes)),
        };
        let channel = link.hub.name(self.channel);
        let op = Op::Publish {
            retention: retention(&link.settings.config.channels, &channel),
            channel,
            payload,
            info: None,
            origin: Some(link.settings.origin(link.key)),
            idempotency_key: None,
        };
        link.request(self.next_request, op);
        self.next_request = self.next_request.wrapping_add(1);
        self.unconfirmed += 1;
        Ok(())
    }

    /// The completion of a publish.
    fn complete(
        &mut self,
        _: RequestId,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        link.tally.raw_unpublished += u64::from(result.is_err());
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

    fn discontinued(&mut self, _: ChannelId, _: &Arc<str>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        link.tally.raw_gaps += 1;
        Ok(())
    }

    fn beat(&mut self, heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
        if self.ends.is_some_and(|ends| ends <= link.now.monotonic) {
            return Err(EXPIRED);
        }
        Ok(self.until(beat(heartbeat, link)?, link.now))
    }

    fn is_settled(&self) -> bool {
        self.unconfirmed == 0
    }

    fn is_waiting_for(&self, count: usize) -> bool {
        self.unconfirmed as usize >= count
    }

    fn end(&mut self, _: Parting, link: &mut Link<'_>) {
        link.leave(self.channel);
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
