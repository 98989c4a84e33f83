//! When a node does what it does by itself, and whether Redis is well.

use std::time::{Duration, Instant};

use super::trouble::{Notice, Trouble};

/// How often a node sends a message to itself.
const CANARY_EVERY: Duration = Duration::from_secs(2);
/// When a message to itself is given up, and the connection with it, if nothing arrives there.
const CANARY_WITHIN: Duration = Duration::from_secs(5);
/// When it is given up though something arrives: a node that is slower than its messages hears itself late.
const CANARY_BEHIND_OTHERS_WITHIN: Duration = Duration::from_secs(30);

/// For how long Redis counts as out of reach after it denied this node a command.
const DENIED_FOR: Duration = Duration::from_secs(10);

/// How often reads that Redis refused are tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

/// When what was done last.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// When all living nodes began to renew their leases, after a time in which they couldn't.
    leases_since: Option<Instant>,
    lease_renewed: Option<Instant>,
    /// Redis has had this node's lease since this connection began.
    introduced: bool,
    canary: u64,
    /// The node is subscribed to its canary.
    audible: bool,
    /// When the canary under way was sent, or the connection made that is to carry the first one.
    canary_sent: Option<Instant>,
    canary_returned: Option<Instant>,
    /// When something was last heard where the canary is to come.
    live_heard: Option<Instant>,
    /// When the canary was sent that was overdue at the last tick.
    missing: Option<Instant>,
    /// A canary came back since the last trouble.
    heard: bool,
    /// The trouble is not over.
    troubled: bool,
    /// When Redis last said that this node may not do something.
    denied: Option<Instant>,
    /// A reply was overdue at the last tick, and none came since.
    overdue: bool,
    retried: Option<Instant>,
    outage: Trouble,
    refusals: Trouble,
}

impl Upkeep {
    /// Nothing done yet; without a first canary a node is not healthy.
    pub(super) fn new() -> Self {
        Self {
            leases_since: None,
            lease_renewed: None,
            introduced: false,
            canary: 0,
            audible: false,
            canary_sent: None,
            canary_returned: None,
            live_heard: None,
            missing: None,
            heard: false,
            troubled: true,
            denied: None,
            overdue: false,
            retried: None,
            outage: Trouble::default(),
            refusals: Trouble::default(),
        }
    }

    pub(super) fn commands_up(&mut self, now: Instant) {
        self.leases_since = Some(now);
        self.introduced = false;
        // The canary under way may have gone down with the old connection.
        if self.audible {
            self.canary_sent = None;
            self.canary_returned = None;
        }
    }

    /// A new connection: the canary under way went to the old one. The time for the next one counts from here.
    pub(super) fn live_up(&mut self, now: Instant) {
        self.audible = false;
        self.canary_sent = Some(now);
        self.canary_returned = None;
    }

    pub(super) fn canary_audible(&mut self) {
        self.audible = true;
        self.canary_sent = None;
    }

    /// Live messages came and were handled.
    pub(super) fn live_heard(&mut self, now: Instant) {
        self.live_heard = Some(now);
    }

    /// Whether a canary that should be back was missing at the last tick already: after waiting for a slow shard, it may be here and not
    /// yet read.
    pub(super) fn is_canary_lost(&mut self, now: Instant) -> bool {
        let overdue = self.canary_sent.filter(|sent| {
            let silent_since = self.live_heard.map_or(*sent, |heard| heard.max(*sent));
            now >= silent_since + CANARY_WITHIN || now >= *sent + CANARY_BEHIND_OTHERS_WITHIN
        });
        let lost = overdue.is_some() && self.missing == overdue;
        self.missing = overdue;
        lost
    }

    /// The canary to send, if it is time, while both connections are up.
    pub(super) fn next_canary(&mut self, now: Instant) -> Option<u64> {
        let due = self.canary_returned.is_none_or(|at| now >= at + CANARY_EVERY);
        if !due || self.canary_sent.is_some() {
            return None;
        }
        self.canary += 1;
        self.canary_sent = Some(now);
        Some(self.canary)
    }

    /// Something is wrong, until a canary comes back; returns what the log is to be told.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) -> Option<Notice> {
        self.heard = false;
        self.troubled = true;
        self.outage.failed(reason, now)
    }

    /// Whether trouble is over by now.
    pub(super) fn is_well_again(&self, now: Instant) -> bool {
        self.troubled && self.heard && self.denied.is_none_or(|at| now >= at + DENIED_FOR)
    }

    pub(super) fn denied(&mut self, now: Instant) {
        self.denied = Some(now);
    }

    /// Trouble is over; how long it lasted, if the log was told of it.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<Duration> {
        self.troubled = false;
        self.outage.ended(now)
    }

    pub(super) fn answered(&mut self) {
        self.overdue = false;
    }

    /// Whether a reply that is overdue was overdue the last time already: after waiting for a slow shard, the replies may be here and not
    /// yet read.
    pub(super) fn is_hung(&mut self, overdue: bool) -> bool {
        std::mem::replace(&mut self.overdue, overdue) && overdue
    }

    /// Whether it is time to renew the lease, of which this is the length.
    pub(super) fn is_lease_due(&self, lease: Duration, now: Instant) -> bool {
        self.lease_renewed.is_none_or(|renewed| now >= renewed + lease / 3)
    }

    pub(super) fn lease_renewed(&mut self, now: Instant) {
        self.lease_renewed = Some(now);
    }

    pub(super) fn introduced(&mut self) {
        self.introduced = true;
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// Redis did not take the lease: those of the others are running out as well.
    pub(super) fn lease_refused(&mut self, now: Instant) {
        self.leases_since = Some(now);
    }

    /// Whether every living node has had the time to renew its lease since Redis is back.
    pub(super) fn are_leases_current(&self, lease: Duration, now: Instant) -> bool {
        self.leases_since.is_some_and(|since| now >= since + lease)
    }

    /// Whether reads that Redis refused are to be tried again.
    pub(super) fn may_retry(&mut self, now: Instant) -> bool {
        let due = self.retried.is_none_or(|last| now >= last + AGAIN_EVERY);
        if due {
            self.retried = Some(now);
        }
        due
    }

    /// Redis refused a command; whether the log is to say so. The first word of its error tells the kind.
    pub(super) fn may_complain(&mut self, error: &str, now: Instant) -> bool {
        let kind = error.split(' ').next().unwrap_or_default();
        self.refusals.failed(kind, now).is_some()
    }

    pub(super) fn canary_returned(&mut self, payload: &[u8], now: Instant) {
        if payload == self.canary.to_string().as_bytes() {
            self.canary_sent = None;
            self.canary_returned = Some(now);
            self.heard = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_well_once_a_canary_came_back_and_until_something_fails() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new();
        upkeep.live_up(start);
        upkeep.canary_audible();
        assert_eq!(upkeep.next_canary(start), Some(1));
        assert!(!upkeep.is_well_again(start));
        upkeep.canary_returned(b"1", start);
        assert!(upkeep.is_well_again(start));
        assert_eq!(upkeep.recovered(start), None, "nothing was told of its start");
        assert_eq!(upkeep.failed("closed", start), Some(Notice::Began));
        upkeep.canary_returned(b"0", start);
        assert!(!upkeep.is_well_again(start), "an older canary proves nothing");
    }

    #[test]
    fn a_node_that_may_not_do_its_work_is_not_well_though_it_hears_itself() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new();
        assert_eq!(upkeep.next_canary(start), Some(1));
        upkeep.denied(start);
        upkeep.canary_returned(b"1", start);
        assert!(!upkeep.is_well_again(start));
        assert!(upkeep.is_well_again(start + DENIED_FOR));
    }

    #[test]
    fn a_canary_is_sent_every_two_seconds_and_missed_after_five() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new();
        assert_eq!(upkeep.next_canary(start), Some(1));
        upkeep.canary_returned(b"1", start);
        assert_eq!(upkeep.next_canary(start + CANARY_EVERY / 2), None);
        let sent = start + CANARY_EVERY;
        assert_eq!(upkeep.next_canary(sent), Some(2));
        assert_eq!(upkeep.next_canary(sent + CANARY_WITHIN / 2), None);
        assert!(!upkeep.is_canary_lost(sent + CANARY_WITHIN / 2));
        assert!(!upkeep.is_canary_lost(sent + CANARY_WITHIN), "it may be here, behind a slow shard");
        assert!(upkeep.is_canary_lost(sent + CANARY_WITHIN));
        assert_eq!(upkeep.next_canary(sent + CANARY_WITHIN), None, "until there is another connection");
    }

    #[test]
    fn a_canary_behind_other_messages_is_waited_for_as_long_as_they_come_but_not_for_ever() {
        let start = Instant::now();
        let lost_after = |messages: Duration| {
            let mut upkeep = Upkeep::new();
            assert_eq!(upkeep.next_canary(start), Some(1));
            (0_u64..).map(Duration::from_secs).find(|time| {
                if *time <= messages {
                    upkeep.live_heard(start + *time);
                }
                [(); 2].map(|()| upkeep.is_canary_lost(start + *time))[1]
            })
        };
        let seconds = [0, 7, 26, 60].map(Duration::from_secs).map(lost_after);
        assert_eq!(seconds, [5, 12, 30, 30].map(|seconds| Some(Duration::from_secs(seconds))));
    }

    #[test]
    fn a_canary_that_was_read_late_is_not_lost() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new();
        assert_eq!(upkeep.next_canary(start), Some(1));
        assert!(!upkeep.is_canary_lost(start + CANARY_WITHIN));
        upkeep.canary_returned(b"1", start + CANARY_WITHIN);
        assert!(!upkeep.is_canary_lost(start + CANARY_WITHIN));
    }

    #[test]
    fn a_reply_has_to_be_overdue_twice_in_a_row() {
        let mut upkeep = Upkeep::new();
        assert_eq!(
            [true, false, true, true].map(|overdue| upkeep.is_hung(overdue)),
            [false, false, false, true]
        );
        upkeep.answered();
        assert!(!upkeep.is_hung(true));
    }
}
