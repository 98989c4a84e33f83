//! Who may take a Lease: a pure decision, as in the Kubernetes project's own leader election.

use std::time::Duration;

/// What a Lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Who holds it; nobody after it was given back.
    pub holder: Option<&'a str>,
    /// For how long without a renewal the holder may count on it.
    pub duration: Duration,
}

/// What a candidate does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none: make it.
    Create,
    /// Nobody holds it, or the holder stopped renewing it.
    Take,
    /// It is ours.
    Renew,
    /// Somebody holds it and renews it.
    Wait,
}

/// What `me` does about a Lease that has not changed for `unchanged_for` by its own clock.
#[must_use]
pub fn decide(record: Option<Record<'_>>, me: &str, unchanged_for: Duration) -> Verdict {
    match record {
        None => Verdict::Create,
        Some(Record { holder: Some(holder), .. }) if holder == me => Verdict::Renew,
        Some(Record { holder: None, .. }) => Verdict::Take,
        Some(Record { duration, .. }) if unchanged_for >= duration => Verdict::Take,
        Some(_) => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{DURATION, RENEW_DEADLINE};

    const fn held_by(holder: Option<&str>) -> Option<Record<'_>> {
        Some(Record { holder, duration: DURATION })
    }

    #[test]
    fn a_missing_lease_is_created() {
        assert_eq!(decide(None, "a", Duration::ZERO), Verdict::Create);
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once() {
        assert_eq!(decide(held_by(None), "a", Duration::ZERO), Verdict::Take);
    }

    #[test]
    fn a_restarted_holder_goes_on_at_once() {
        assert_eq!(decide(held_by(Some("a")), "a", Duration::ZERO), Verdict::Renew);
    }

    #[test]
    fn a_lease_that_was_renewed_in_time_is_left_alone() {
        assert_eq!(decide(held_by(Some("b")), "a", DURATION - Duration::from_millis(1)), Verdict::Wait);
    }

    #[test]
    fn a_lease_whose_holder_fell_silent_is_taken_after_its_duration() {
        assert_eq!(decide(held_by(Some("b")), "a", DURATION), Verdict::Take);
    }

    #[test]
    fn the_holder_stops_before_anyone_may_take_over() {
        assert!(RENEW_DEADLINE < DURATION);
    }
}
