//! One connection of a shard: its framing, its protocol's session, and how far its end is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    heartbeat::{CONNECT_TIMEOUT, Heartbeat, first_beat},
    link::{Backlog, Goodbye, Link, MAX_WAITING},
};
use crate::{
    backplane::{BackplaneError, Outcome, Payload},
    centrifuge::{codes::DisconnectCode, session as centrifuge},
    frame::{self, Decoder, Event},
    hub::ChannelId,
    key::RequestId,
    raw,
    wheel::Timer,
};

/// How long the other side may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, in its shard's slab.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// Nothing is read, because too much of what was read waits for the backplane.
    paused: bool,
    pub(super) timer: Timer,
    decoder: Decoder,
    pub(super) session: Session,
}

/// How far a connection's end is; never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    /// About to be moved: nothing more is read, so that the client knows the fate of everything it was answered.
    Leaving,
    /// The close frame is sent and the session is over; the other side's close frame is awaited.
    Closing,
    /// The TCP connection is being closed; the shell will hang up.
    Closed,
}

/// The protocol's state.
#[derive(Debug)]
pub(super) enum Session {
    Centrifuge(centrifuge::Session),
    Raw(raw::Session),
    Echo(Heartbeat),
}

impl Connection {
    pub(super) fn new(generation: u32, timer: Timer, session: Session) -> Self {
        Self { generation, phase: Phase::Open, paused: false, timer, decoder: Decoder::default(), session }
    }

    /// Handles bytes from the socket. Returns the time until the next wake-up when that has changed.
    pub(super) fn receive(&mut self, bytes: &mut [u8], link: &mut Link<'_>) -> Option<Duration> {
        self.session.heard();
        let was_paused = self.paused;
        let wake = self.read(bytes, link);
        if self.paused && !was_paused {
            link.out.pause(link.key);
        }
        wake
    }

    /// Handles frames until too much waits for the backplane; the rest is kept, and nothing more is read.
    fn read(&mut self, mut bytes: &mut [u8], link: &mut Link<'_>) -> Option<Duration> {
        let limit = link.settings.config.limits.max_message_bytes as usize;
        let mut wake = None;
        while self.phase < Phase::Closed {
            if self.paused || self.phase == Phase::Open && self.session.is_waiting_for(MAX_WAITING) {
                self.paused = true;
                link.keep_bytes(bytes);
                break;
            }
            let verdict = match self.decoder.next(&mut bytes, limit) {
                Ok(None) => break,
                Ok(Some(Event::Close(close))) => {
                    let code = close.map_or(1000, |close| close.code);
                    self.finish(Goodbye { code, reason: "" }, link);
                    break;
                }
                Err(error) => {
                    self.finish(Goodbye { code: error.close_code(), reason: "" }, link);
                    break;
                }
                Ok(Some(_)) if self.phase > Phase::Open => Ok(()),
                Ok(Some(event)) => self.session.receive(event, link),
            };
            if let Err(goodbye) = verdict {
                wake = Some(self.close(goodbye, link));
            }
        }
        wake
    }

    /// Handles what was kept and reads on, once half of what waited is answered, or the session is over. Returns the time until the next
    /// wake-up when that has changed.
    pub(super) fn catch_up(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        if !self.paused || self.phase < Phase::Closing && self.session.is_waiting_for(MAX_WAITING / 2 + 1) {
            return None;
        }
        self.paused = false;
        // The answer to a ping may still be in the socket.
        self.session.heard();
        let Backlog { lines, mut bytes } = link.take_backlog();
        let mut verdict = Ok(());
        if self.phase == Phase::Open && !lines.is_empty() {
            verdict = self.session.receive(Event::Text(&lines), link);
        }
        let wake = verdict.err().map(|goodbye| self.close(goodbye, link));
        let wake = self.read(&mut bytes, link).or(wake);
        if !self.paused && self.phase < Phase::Closed {
            link.out.resume(link.key);
        }
        wake
    }

    /// Takes a completion. Returns the time until the next wake-up when that has changed.
    pub(super) fn complete(
        &mut self,
        request: RequestId,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Option<Duration> {
        if self.phase > Phase::Leaving {
            return None;
        }
        let verdict = match &mut self.session {
            Session::Centrifuge(session) => {
                session.complete(request, result, link);
                Ok(())
            }
            Session::Raw(session) => session.complete(request, result, link),
            Session::Echo(_) => Ok(()),
        };
        match verdict {
            Err(goodbye) => Some(self.close(goodbye, link)),
            Ok(()) if self.phase == Phase::Leaving => self.move_away(link),
            Ok(()) => None,
        }
    }

    /// Sends the client elsewhere, once the backplane has answered what it asked for so far. Returns the time until the next wake-up
    /// when that has changed.
    pub(super) fn move_away(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        self.phase = self.phase.max(Phase::Leaving);
        let (settled, goodbye) = match &self.session {
            Session::Centrifuge(session) => (session.is_settled(), DisconnectCode::Shutdown.into()),
            Session::Raw(session) => (session.is_settled(), raw::MOVED),
            Session::Echo(_) => (true, raw::MOVED),
        };
        settled.then(|| self.close(goodbye, link))
    }

    /// Gives up on a client that reads too slowly; what waits for it is lost to it.
    pub(super) fn overflow(&mut self, link: &mut Link<'_>) {
        let goodbye = match &self.session {
            Session::Centrifuge(_) => DisconnectCode::Slow.into(),
            Session::Raw(_) | Session::Echo(_) => raw::SLOW,
        };
        self.finish(goodbye, link);
    }

    /// The hub has taken the connection out of a channel because deliveries may be missing. Returns the time until the next wake-up
    /// when that has changed.
    pub(super) fn discontinued(
        &mut self,
        channel: ChannelId,
        name: &Arc<str>,
        link: &mut Link<'_>,
    ) -> Option<Duration> {
        let verdict = match &mut self.session {
            Session::Centrifuge(session) => session.discontinued(channel, name, link),
            Session::Raw(session) => Err(session.discontinued()),
            Session::Echo(_) => Ok(()),
        };
        verdict.err().map(|goodbye| self.close(goodbye, link))
    }

    /// Handles the connection's timer. Returns the time until the next one.
    pub(super) fn handle_timeout(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        match self.phase {
            Phase::Open | Phase::Leaving => {}
            Phase::Closing => {
                self.phase = Phase::Closed;
                link.out.close(link.key);
                return None;
            }
            Phase::Closed => return None,
        }
        if self.paused {
            // Nobody listens to the peer at present, so its silence says nothing.
            self.session.heard();
        }
        match self.session.beat(link) {
            Ok(next) => Some(next),
            Err(goodbye) => Some(self.close(goodbye, link)),
        }
    }

    /// Starts the closing handshake. Returns how long it may take.
    pub(super) fn close(&mut self, goodbye: Goodbye, link: &mut Link<'_>) -> Duration {
        self.end(link);
        link.send(frame::close(goodbye.code, goodbye.reason));
        self.phase = Phase::Closing;
        CLOSE_TIMEOUT
    }

    /// Says the last word and closes the TCP connection: the other side has said its own, or cannot be understood.
    fn finish(&mut self, goodbye: Goodbye, link: &mut Link<'_>) {
        if self.phase < Phase::Closing {
            self.close(goodbye, link);
        }
        if self.phase < Phase::Closed {
            self.phase = Phase::Closed;
            self.decoder = Decoder::default();
            link.out.close(link.key);
        }
    }

    /// The socket is gone.
    pub(super) fn hang_up(&mut self, link: &mut Link<'_>) {
        self.end(link);
        self.phase = Phase::Closed;
    }

    /// Ends the session, if nothing has yet.
    fn end(&mut self, link: &mut Link<'_>) {
        if self.phase < Phase::Closing {
            match &mut self.session {
                Session::Centrifuge(session) => session.end(link),
                Session::Raw(session) => session.end(link),
                Session::Echo(_) => {}
            }
        }
    }
}

impl Session {
    fn heard(&mut self) {
        match self {
            Self::Centrifuge(session) => session.heard(),
            Self::Raw(session) => session.heard(),
            Self::Echo(heartbeat) => heartbeat.heard(),
        }
    }

    /// Whether so much of what the client asked for, its subscriptions aside, waits for the backplane.
    fn is_waiting_for(&self, count: usize) -> bool {
        match self {
            Self::Centrifuge(session) => session.is_waiting_for(count),
            Self::Raw(session) => session.is_waiting_for(count),
            Self::Echo(_) => false,
        }
    }

    fn receive(&mut self, event: Event<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        match (self, event) {
            (Self::Centrifuge(session), Event::Text(message)) => return session.receive(message, link),
            (Self::Centrifuge(_), Event::Binary(_)) => {
                return Err(DisconnectCode::InappropriateProtocol.into());
            }
            (Self::Raw(session), Event::Text(message)) => {
                session.publish(Payload::Text(Bytes::copy_from_slice(message.as_bytes())), link);
            }
            (Self::Raw(session), Event::Binary(message)) => {
                session.publish(Payload::Binary(Bytes::copy_from_slice(message)), link);
            }
            (Self::Echo(_), Event::Text(message)) => link.send(frame::text(message.as_bytes())),
            (Self::Echo(_), Event::Binary(message)) => link.send(frame::binary(message)),
            (_, Event::Ping(payload)) => link.send(frame::pong(payload)),
            (_, Event::Pong(_) | Event::Close(_)) => {}
        }
        Ok(())
    }

    /// The heartbeat's timer fired. Returns the time until the next one.
    fn beat(&mut self, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
        match self {
            Self::Centrifuge(session) => session.beat(link),
            Self::Raw(session) => session.beat(link),
            Self::Echo(heartbeat) => raw::beat(heartbeat, link),
        }
    }

    /// How long after its opening a connection's timer fires first.
    pub(super) fn first_wake(&self, generation: u32) -> Duration {
        match self {
            Self::Centrifuge(_) => CONNECT_TIMEOUT,
            Self::Raw(_) | Self::Echo(_) => first_beat(generation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_with_up_to_four_subscriptions_is_this_many_bytes_in_its_shard() {
        // Whatever it speaks; its timer is a node of the wheel's besides, and each subscription an entry in a B-tree of slots.
        assert_eq!(size_of::<Connection>(), 104);
        assert_eq!((size_of::<Decoder>(), size_of::<Timer>(), size_of::<ChannelId>()), (8, 4, 4));
    }
}
