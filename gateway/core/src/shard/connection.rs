//! One connection of a shard: what carries it, what it speaks, and how far its end is.

use std::{sync::Arc, time::Duration};

use super::{
    heartbeat::Heartbeat,
    link::{Backlog, Link, MAX_WAITING},
    pacing::Pace,
};
use crate::{
    backplane::{BackplaneError, Outcome},
    frame::{Event, FrameDecoder, FrameError, Terms},
    hub::ChannelId,
    key::RequestId,
    protocol::{Cause, Parting, Protocol, Received},
    token::CheckedToken,
    transport::{Goodbye, Transport},
    wheel::Timer,
};

/// How long the other side may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a message may take from its first byte to its last, looked at with each heartbeat. What arrives meanwhile counts as a sign of
/// life, so that nothing else would end a message that never ends.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const DRIPPING: Goodbye = Goodbye { code: 1008, reason: "message timeout" };

/// Messages that are handled before they are held against the client's pace: of what was read once and inflated there may be a million.
const UNCHARGED: u64 = 64;

/// Inflated bytes of one client that are handled before others have their turn: what was read once may inflate to a thousand times that.
const SHARE: usize = 128 * 1024;

/// A connection, in its shard's slab.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// Nothing is read, because too much of what was read waits for the backplane, or too much was sent.
    paused: bool,
    heartbeat: Heartbeat,
    pub(super) timer: Timer,
    pub(super) transport: Transport,
    /// Monotonic seconds at which the message that is arriving began; 0 for none.
    message_since: u32,
    pace: Pace,
    decoder: FrameDecoder,
    pub(super) protocol: Box<dyn Protocol>,
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

impl Connection {
    pub(super) fn new(
        generation: u32,
        timer: Timer,
        transport: Transport,
        protocol: Box<dyn Protocol>,
    ) -> Self {
        Self {
            generation,
            phase: Phase::Open,
            paused: false,
            heartbeat: Heartbeat::default(),
            timer,
            transport,
            message_since: 0,
            pace: Pace::default(),
            decoder: FrameDecoder::default(),
            protocol,
        }
    }

    /// Handles bytes from the socket. Returns the time until the next wake-up when that has changed.
    pub(super) fn receive(&mut self, bytes: &mut [u8], link: &mut Link<'_>) -> Option<Duration> {
        self.heartbeat.heard();
        let was_paused = self.paused;
        let wake = self.read(bytes, link.tally.received, link);
        self.time_message(link);
        if self.paused && !was_paused {
            link.out.pause(link.key);
        }
        wake
    }

    /// Handles frames until too much waits for the backplane, or the client is ahead of its pace; the rest is kept, and nothing more is
    /// read. The pace has been held against the client up to the `charged`th message of all. Returns the time until the next wake-up when
    /// that has changed.
    fn read(&mut self, mut bytes: &mut [u8], mut charged: u64, link: &mut Link<'_>) -> Option<Duration> {
        let terms = Terms {
            limit: link.policy.limits().max_message_bytes as usize,
            deflate: self.transport.is_compressed(),
        };
        // Frames that no protocol sees are work as well.
        let (mut wake, mut inflated, mut unseen) = (None, 0, 0);
        while self.phase < Phase::Closed {
            if link.tally.received - charged + unseen >= UNCHARGED {
                wake = self.keep_pace(link.tally.received - charged + unseen, link).or(wake);
                (charged, unseen) = (link.tally.received, 0);
            }
            if inflated > SHARE && !self.paused && !bytes.is_empty() {
                link.pacing.rest(link.key, link.now.monotonic);
                self.paused = true;
            }
            if self.paused || self.phase == Phase::Open && self.protocol.is_waiting_for(MAX_WAITING) {
                self.paused = true;
                link.keep_bytes(bytes);
                break;
            }
            let verdict = match self.decoder.next(&mut bytes, terms) {
                Ok(None) => break,
                Ok(Some(Event::Close(close))) => {
                    let code = close.map_or(1000, |close| close.code);
                    let parting = if code == 1000 { Parting::ForGood } else { Parting::MayReturn };
                    self.finish(Goodbye { code, reason: "" }, parting, link);
                    break;
                }
                Err(flaw) => {
                    self.fail(flaw, link);
                    break;
                }
                Ok(Some(Event::Ping(payload))) if self.phase < Phase::Closing => {
                    link.tally.received += 1;
                    link.pong(payload);
                    Ok(())
                }
                Ok(Some(_)) if self.phase > Phase::Open => Ok(()),
                Ok(Some(Event::Text(text))) => {
                    self.message_since = 0;
                    self.protocol.receive(Received::Text(text), link)
                }
                Ok(Some(Event::Binary(bytes))) => {
                    self.message_since = 0;
                    self.protocol.receive(Received::Binary(bytes), link)
                }
                Ok(Some(Event::Compressed { is_text, payload })) => {
                    self.message_since = 0;
                    match link.inflate(is_text, payload) {
                        Ok(message) => {
                            inflated += message.bytes();
                            let verdict = self.protocol.receive(Received::from(&message), link);
                            link.recycle(message);
                            verdict
                        }
                        Err(flaw) => {
                            self.fail(flaw, link);
                            break;
                        }
                    }
                }
                Ok(Some(Event::Ping(_) | Event::Pong(_) | Event::Fragment)) => {
                    unseen += 1;
                    Ok(())
                }
            };
            if let Err(goodbye) = verdict {
                wake = Some(self.close(goodbye, link));
            }
        }
        self.keep_pace(link.tally.received - charged + unseen, link).or(wake)
    }

    /// Holds messages against the client's pace, and reads no further for a while when it sends more than it may. Returns the time until the
    /// next wake-up when that has changed.
    fn keep_pace(&mut self, messages: u64, link: &mut Link<'_>) -> Option<Duration> {
        let wait = self.pace.charge(messages, link.policy.limits(), link.now.monotonic)?;
        if self.phase > Phase::Open {
            return None;
        }
        if link.pacing.hold(link.key, wait, link.now.monotonic) {
            return Some(self.close(self.protocol.goodbye(Cause::Flood), link));
        }
        self.paused = true;
        None
    }

    /// Handles what was kept and reads on, once half of what waited is answered and the client is no longer ahead of its pace, or the
    /// session is over. Returns the time until the next wake-up when that has changed.
    pub(super) fn catch_up(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        let waits = |protocol: &dyn Protocol| protocol.is_waiting_for(MAX_WAITING / 2 + 1);
        if !self.paused
            || self.phase < Phase::Closing && (waits(&*self.protocol) || link.pacing.is_held(link.key))
        {
            return None;
        }
        self.read_on(link)
    }

    /// Handles what was kept, and reads on if that leaves room. Returns the time until the next wake-up when that has changed.
    fn read_on(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        self.paused = false;
        // The answer to a ping may still be in the socket.
        self.heartbeat.heard();
        let received = link.tally.received;
        let Backlog { lines, mut bytes } = link.take_backlog();
        let mut verdict = Ok(());
        if self.phase == Phase::Open && !lines.is_empty() {
            verdict = self.protocol.receive(Received::Text(&lines), link);
        }
        let wake = verdict.err().map(|goodbye| self.close(goodbye, link));
        self.message_since = 0;
        let wake = self.read(&mut bytes, received, link).or(wake);
        self.time_message(link);
        if !self.paused && self.phase < Phase::Closed {
            link.out.resume(link.key);
        }
        wake
    }

    /// Notes when a message began that is still arriving. While nothing is read it does not age.
    fn time_message(&mut self, link: &Link<'_>) {
        if self.paused || !self.decoder.is_unfinished() {
            self.message_since = 0;
        } else if self.message_since == 0 {
            self.message_since = u32::try_from(link.now.monotonic.as_secs()).unwrap_or(u32::MAX).max(1);
        }
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
        match self.protocol.complete(request, result, link) {
            Err(goodbye) => Some(self.close(goodbye, link)),
            Ok(()) if self.phase == Phase::Leaving => self.move_away(link),
            Ok(()) => None,
        }
    }

    /// Takes a token that has been checked, and handles the command that brought it, since there was room for it when it came. Returns the
    /// time until the next wake-up when that has changed.
    pub(super) fn checked(&mut self, token: CheckedToken, link: &mut Link<'_>) -> Option<Duration> {
        if self.phase > Phase::Open {
            return None;
        }
        self.protocol.checked(token);
        (self.paused && !link.pacing.is_held(link.key)).then(|| self.read_on(link)).flatten()
    }

    /// Sends the client elsewhere, once the backplane has answered what it asked for so far. Returns the time until the next wake-up
    /// when that has changed.
    pub(super) fn move_away(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        self.phase = self.phase.max(Phase::Leaving);
        self.protocol.is_settled().then(|| self.close(self.protocol.goodbye(Cause::Moved), link))
    }

    /// Gives up on a client that reads too slowly; what waits for it is lost to it.
    pub(super) fn overflow(&mut self, link: &mut Link<'_>) {
        self.finish(self.protocol.goodbye(Cause::Slow), Parting::MayReturn, link);
    }

    /// Publications of a channel may be missing. Returns the time until the next wake-up when that has changed.
    pub(super) fn discontinued(
        &mut self,
        channel: ChannelId,
        name: &Arc<str>,
        link: &mut Link<'_>,
    ) -> Option<Duration> {
        let verdict = self.protocol.discontinued(channel, name, link);
        verdict.err().map(|goodbye| self.close(goodbye, link))
    }

    /// Whether the policy in force gives the client something else than it has.
    pub(super) fn is_outdated(&self, link: &Link<'_>) -> bool {
        self.phase == Phase::Open && self.protocol.is_outdated(link)
    }

    /// Adapts what the client has to the policy in force. Returns the time until the next wake-up when that has changed.
    pub(super) fn adapt(&mut self, link: &mut Link<'_>) -> Option<Duration> {
        self.protocol.adapt(link).err().map(|goodbye| self.close(goodbye, link))
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
            self.heartbeat.heard();
        }
        let is_late = |since| link.now.monotonic.saturating_sub(since) >= MESSAGE_TIMEOUT;
        if self.message_since().is_some_and(is_late) {
            return Some(self.close(DRIPPING, link));
        }
        match self.protocol.beat(&mut self.heartbeat, link) {
            Ok(next) => Some(next),
            Err(goodbye) => Some(self.close(goodbye, link)),
        }
    }

    /// Starts the closing handshake. Returns how long it may take.
    fn close(&mut self, goodbye: Goodbye, link: &mut Link<'_>) -> Duration {
        self.part(goodbye, Parting::MayReturn, link);
        CLOSE_TIMEOUT
    }

    fn part(&mut self, goodbye: Goodbye, parting: Parting, link: &mut Link<'_>) {
        self.end(parting, link);
        link.say_goodbye(goodbye);
        self.phase = Phase::Closing;
    }

    /// The client cannot be understood any more.
    fn fail(&mut self, flaw: FrameError, link: &mut Link<'_>) {
        self.finish(Goodbye { code: flaw.close_code(), reason: "" }, Parting::MayReturn, link);
    }

    /// Says the last word and closes the TCP connection: the other side has said its own, or cannot be understood.
    fn finish(&mut self, goodbye: Goodbye, parting: Parting, link: &mut Link<'_>) {
        if self.phase < Phase::Closing {
            self.part(goodbye, parting, link);
        }
        if self.phase < Phase::Closed {
            self.phase = Phase::Closed;
            self.decoder = FrameDecoder::default();
            link.out.close(link.key);
        }
    }

    /// The socket is gone.
    pub(super) fn hang_up(&mut self, link: &mut Link<'_>) {
        self.end(Parting::MayReturn, link);
        self.phase = Phase::Closed;
        self.decoder = FrameDecoder::default();
    }

    /// Bytes of a message that has arrived in part.
    pub(super) fn held(&self) -> usize {
        self.decoder.held()
    }

    /// Monotonic time at which that message began, as far as it ages.
    pub(super) fn message_since(&self) -> Option<Duration> {
        (self.message_since > 0).then(|| Duration::from_secs(self.message_since.into()))
    }

    /// Ends the session, if nothing has yet.
    fn end(&mut self, parting: Parting, link: &mut Link<'_>) {
        if self.phase < Phase::Closing {
            link.tally.moved += u64::from(self.phase == Phase::Leaving);
            self.protocol.end(parting, link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{centrifuge::session as centrifuge, raw};

    #[test]
    fn an_idle_connection_is_this_many_bytes_in_its_shard_and_its_session_as_many_beside() {
        // Its timer's node of the wheel is besides, and each subscription an entry in a B-tree of slots.
        assert_eq!(size_of::<Connection>(), 48);
        assert_eq!((size_of::<centrifuge::Session>(), size_of::<raw::Session>()), (88, 16));
        assert_eq!((size_of::<FrameDecoder>(), size_of::<Timer>(), size_of::<ChannelId>()), (8, 4, 4));
    }
}
