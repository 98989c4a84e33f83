//! The raw WebSocket session: each text or binary message goes to everyone else in its channel.
//!
//! There is no way to tell such a client what it missed, and reconnecting would not bring it back. So it stays through every outage of
//! the backplane: where its channel keeps a stream, the gap is filled as for others; otherwise it is counted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    backplane::{self, BackplaneError, Op, Outcome, Payload, Publish, Retention},
    config::{self, Audience, ChannelOptions},
    hub::ChannelId,
    identity::Credentials,
    key::{ConnectionKey, RequestId},
    protocol::{Cause, Kind, Parting, Protocol, Received},
    rights::is_among,
    shard::{
        broadcast::{Broadcast, Encoding},
        heartbeat::{Beat, Heartbeat, first_beat},
        link::{Link, weight},
    },
    time::Now,
    token::EntryToken,
    transport::{Goodbye, Message, Transport},
};

/// The backplane's name for a raw channel. No namespace is named by the empty string, so it is no centrifuge channel's name.
#[must_use]
pub fn backplane_channel(channel: &str) -> String {
    [PREFIX, channel].concat()
}

const PREFIX: &str = ":raw:";

/// A raw channel's name as clients know it, from the backplane's.
#[must_use]
pub fn client_channel(channel: &str) -> &str {
    channel.strip_prefix(PREFIX).unwrap_or(channel)
}

// The close codes of RFC 6455's registry that say it best.
pub(crate) const SILENT: Goodbye = Goodbye { code: 1001, reason: "no pong" };
pub(crate) const SLOW: Goodbye = Goodbye { code: 1008, reason: "slow consumer" };
pub(crate) const FLOOD: Goodbye = Goodbye { code: 1008, reason: "too many messages" };
pub(crate) const NOT_SERVED: Goodbye = Goodbye { code: 1008, reason: "not available" };
pub(crate) const DENIED: Goodbye = Goodbye { code: 1008, reason: "permission denied" };
pub(crate) const MOVED: Goodbye = Goodbye { code: 1012, reason: "service restart" };
pub(crate) const EXPIRED: Goodbye = Goodbye { code: 3000, reason: "token expired" };

/// One raw connection.
#[derive(Debug)]
pub(crate) struct Session {
    channel: ChannelId,
    credentials: Credentials,
    /// What the publishes weigh that the backplane has not confirmed yet.
    unconfirmed: u32,
}

impl Session {
    /// Joins a channel, named as clients do.
    pub(crate) fn open(channel: &str, token: Option<&EntryToken>, link: &mut Link<'_>) -> Self {
        link.accepted.new += 1;
        let channel = link.follow(&backplane_channel(channel));
        let credentials = token.map(|token| Credentials::of_entry(token, channel, link.now));
        Self { channel, credentials: credentials.unwrap_or_default(), unconfirmed: 0 }
    }

    /// Whether the client may stay under the policy in force.
    fn standing(&self, link: &Link<'_>) -> Result<(), Goodbye> {
        if !link.policy.serves(config::ProtocolName::Raw) {
            return Err(NOT_SERVED);
        }
        let name = link.hub.name(self.channel);
        let may_enter = self.credentials.admit_to_raw(self.channel, client_channel(&name), link.policy);
        if self.credentials.admit(link.policy) && may_enter { Ok(()) } else { Err(DENIED) }
    }

    /// Whether the client may publish; in most channels whoever is in them may.
    fn may_publish(&self, channel: &str, options: &ChannelOptions) -> bool {
        options.publish == Audience::Subscribers
            || is_among(options.publish, options, channel, &self.credentials.user(), true)
    }

    /// The end of the token, or the next beat if that comes first.
    fn until(&self, beat: Duration, now: Now) -> Duration {
        self.credentials.ends().map_or(beat, |ends| ends.saturating_sub(now.monotonic).min(beat))
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

    /// Publishes the message to everyone else in the channel. There is no word for a refusal, and a close would only bring back whoever
    /// reconnects by itself: what may not be published is dropped and counted.
    fn receive(&mut self, message: Received<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        link.tally.received += 1;
        let channel = link.hub.name(self.channel);
        let options = link.policy.raw_options(client_channel(&channel));
        if !self.may_publish(client_channel(&channel), options) {
            link.tally.raw_refused += 1;
            return Ok(());
        }
        let (payload, bytes) = match message {
            Received::Text(text) => (Payload::Text(Bytes::copy_from_slice(text.as_bytes())), text.len()),
            Received::Binary(bytes) => (Payload::Binary(Bytes::copy_from_slice(bytes)), bytes.len()),
        };
        let retention = Retention::of(options);
        let sender = Some(link.settings.sender(link.key));
        let publish = Publish { channel, payload, info: None, sender, idempotency_key: None };
        // Its completion brings back what it weighed; which one it is does not matter.
        let weight = weight(bytes);
        link.request(weight, Op::publish(publish, retention));
        self.unconfirmed += weight;
        Ok(())
    }

    /// The completion of a publish.
    fn complete(
        &mut self,
        weight: RequestId,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        self.unconfirmed = self.unconfirmed.saturating_sub(weight);
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
        if self.credentials.are_expired(link.now) {
            return Err(EXPIRED);
        }
        Ok(self.until(beat(heartbeat, link)?, link.now))
    }

    fn is_outdated(&self, link: &Link<'_>) -> bool {
        self.standing(link).is_err()
    }

    fn adapt(&mut self, link: &mut Link<'_>) -> Result<(), Goodbye> {
        self.standing(link)
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

pub(crate) fn goodbye(cause: Cause) -> Goodbye {
    match cause {
        Cause::Moved => MOVED,
        Cause::Slow => SLOW,
        Cause::Flood => FLOOD,
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
