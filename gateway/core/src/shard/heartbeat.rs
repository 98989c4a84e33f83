//! Whether the other side still lives: silence, a ping, and a bounded wait for the answer.

use std::time::Duration;

/// Between pings; what the centrifuge protocol's clients are told in the connect reply.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(25);

/// How long the answer to a ping may take.
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a connection may wait before the command that its protocol begins with.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What one connection's heartbeat knows, in one byte; its timer is the shard's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heartbeat(u8);

/// Something arrived since the last beat.
const HEARD: u8 = 1;
/// A ping is out.
const AWAITING: u8 = 2;

/// What is due when the heartbeat's timer fires. Each carries the time until the next beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Send a ping.
    Ping(Duration),
    /// Nothing to send.
    Rest(Duration),
    /// The ping was not answered in time.
    Dead,
}

impl Heartbeat {
    /// Something arrived from the other side; whatever it is, it lives.
    pub(crate) fn heard(&mut self) {
        self.0 |= HEARD;
    }

    /// Pings whether the other side is silent or not, for clients that time the server by its pings.
    pub(crate) fn regular(&mut self) -> Beat {
        match self.answered() {
            Some(true) => Beat::Rest(PING_INTERVAL - PONG_TIMEOUT),
            Some(false) => Beat::Dead,
            None => self.ping(),
        }
    }

    /// Pings only after a silent interval.
    pub(crate) fn when_silent(&mut self) -> Beat {
        match self.answered() {
            Some(true) => Beat::Rest(PING_INTERVAL - PONG_TIMEOUT),
            Some(false) => Beat::Dead,
            None if self.take(HEARD) => Beat::Rest(PING_INTERVAL),
            None => self.ping(),
        }
    }

    /// Takes the verdict on an outstanding ping; nothing when there is none.
    fn answered(&mut self) -> Option<bool> {
        self.take(AWAITING).then(|| self.take(HEARD))
    }

    fn take(&mut self, flag: u8) -> bool {
        let was_set = self.0 & flag != 0;
        self.0 &= !flag;
        was_set
    }

    fn ping(&mut self) -> Beat {
        *self = Self(AWAITING);
        Beat::Ping(PONG_TIMEOUT)
    }
}

/// When a connection's first beat is: spread over the rest of the first interval by the connection's number, so that the pings of
/// clients that came together do not stay together.
pub(crate) fn first_beat(number: u32) -> Duration {
    // Fibonacci hashing: successive numbers land far apart.
    let spread = f64::from(number.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
    CONNECT_TIMEOUT + (PING_INTERVAL - CONNECT_TIMEOUT).mul_f64(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_heartbeat_pings_every_interval_as_long_as_it_is_answered() {
        let mut heartbeat = Heartbeat::default();
        for _ in 0..3 {
            assert_eq!(heartbeat.regular(), Beat::Ping(PONG_TIMEOUT));
            heartbeat.heard();
            assert_eq!(heartbeat.regular(), Beat::Rest(PING_INTERVAL - PONG_TIMEOUT));
        }
    }

    #[test]
    fn an_unanswered_ping_is_the_end() {
        let mut heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.regular(), Beat::Ping(PONG_TIMEOUT));
        assert_eq!(heartbeat.regular(), Beat::Dead);
    }

    #[test]
    fn a_heartbeat_for_silence_sends_nothing_to_who_talks() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.heard();
        assert_eq!(heartbeat.when_silent(), Beat::Rest(PING_INTERVAL));
    }

    #[test]
    fn who_stays_silent_is_pinged_every_interval_as_long_as_it_answers() {
        let mut heartbeat = Heartbeat::default();
        for _ in 0..3 {
            assert_eq!(heartbeat.when_silent(), Beat::Ping(PONG_TIMEOUT));
            heartbeat.heard();
            assert_eq!(heartbeat.when_silent(), Beat::Rest(PING_INTERVAL - PONG_TIMEOUT));
        }
    }

    #[test]
    fn first_beats_are_spread_over_the_rest_of_the_first_interval() {
        let beats: Vec<Duration> = (0..1_000).map(first_beat).collect();
        assert!(beats.iter().all(|beat| (CONNECT_TIMEOUT..=PING_INTERVAL).contains(beat)));
        let middle = (CONNECT_TIMEOUT + PING_INTERVAL) / 2;
        let early = beats.iter().filter(|beat| **beat < middle).count();
        assert!((450..550).contains(&early), "{early} of 1000 in the first half");
    }
}
