//! The epoch of a channel that nothing was published to.
//!
//! A store keeps nothing for such a channel, so that names cost it nothing, and yet a client that left before the first publication
//! has to get it when it comes back. So the epoch that it is told says by itself which store looked and when; and with a stream's own
//! epoch the store keeps the provisional one that the channel had when the first publication came.

use std::{fmt, time::Duration};

/// Which store had no stream of a channel, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvisionalEpoch {
    /// Random id of the store, drawn anew when it has lost its data.
    pub store: u32,
    /// Of the store's clock.
    pub seconds: u32,
}

impl ProvisionalEpoch {
    /// Reads an epoch; nothing when it is a stream's own.
    #[must_use]
    pub fn parse(epoch: &str) -> Option<Self> {
        let digits = epoch.strip_prefix('p')?;
        if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let (store, seconds) = digits.split_at_checked(8)?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        Some(Self { store: number(store)?, seconds: number(seconds)? })
    }

    /// Whether nothing can have been published between `earlier` and this: what was published would not be forgotten yet, positions
    /// being kept for `kept` after the last publication.
    #[must_use]
    pub fn continues(self, earlier: Self, kept: Duration) -> bool {
        let age = self.seconds.checked_sub(earlier.seconds);
        self.store == earlier.store && age.is_some_and(|age| u64::from(age) < kept.as_secs())
    }
}

impl fmt::Display for ProvisionalEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:08x}{:08x}", self.store, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(100);

    fn at(store: u32, seconds: u32) -> ProvisionalEpoch {
        ProvisionalEpoch { store, seconds }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_told_from_a_stream_s_own_epoch() {
        let epoch = at(0xdead_beef, 7);
        assert_eq!(epoch.to_string(), "pdeadbeef00000007");
        assert_eq!(ProvisionalEpoch::parse(&epoch.to_string()), Some(epoch));
        for other in [
            "",
            "p",
            "deadbeef00000007",
            "pdeadbeef0000000",
            "pdeadbeef0000000g",
            "p+eadbeef00000007",
            "pdeadbeefäääää",
        ] {
            assert_eq!(ProvisionalEpoch::parse(other), None, "{other}");
        }
    }

    #[test]
    fn it_continues_an_earlier_one_of_its_store_unless_a_stream_could_have_been_forgotten_in_between() {
        assert!(at(1, 50).continues(at(1, 50), KEPT));
        assert!(at(1, 149).continues(at(1, 50), KEPT));
        assert!(!at(1, 150).continues(at(1, 50), KEPT));
        assert!(!at(2, 60).continues(at(1, 50), KEPT));
        assert!(!at(1, 49).continues(at(1, 50), KEPT));
    }
}
