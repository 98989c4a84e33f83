//! Which addresses have brought too many wrong tokens of late. The table has one size, whoever comes: in a full place the one that has
//! the least to pay is forgotten.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use gateway_core::{address::Site, config::Limits};

use super::SECOND;

const MINUTE: u64 = 60 * SECOND;
/// Places of the table, and sites that each has.
const PLACES: usize = 1024;
const WAYS: usize = 4;

/// Sites and what they have to pay.
#[derive(Debug)]
pub(super) struct WrongTokens {
    /// Nanoseconds that one wrong token takes at the allowed rate.
    interval: u64,
    /// When nobody is barred any more, so that as a rule the table need not be looked at.
    someone_until: AtomicU64,
    /// Nobody can choose addresses that share a place.
    places: RandomState,
    table: Mutex<Box<[[Entry; WAYS]]>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    site: Option<Site>,
    /// As [`super::Admission`] has it, for a minute instead of a second.
    paid_until: u64,
}

impl WrongTokens {
    /// Nothing where the configuration sets no limit.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let per_minute = limits.wrong_tokens_per_minute_per_address?;
        Some(Self {
            interval: MINUTE / u64::from(per_minute.max(1)),
            someone_until: AtomicU64::new(0),
            places: RandomState::new(),
            table: Mutex::new(vec![[Entry::default(); WAYS]; PLACES].into_boxed_slice()),
        })
    }

    /// Whether a site is not listened to at present.
    pub(super) fn is_barred(&self, site: Site, now: u64) -> bool {
        self.someone_until.load(Relaxed) > now
            && self.at(site, |place| {
                place.iter().any(|entry| entry.site == Some(site) && entry.paid_until > now + MINUTE)
            })
    }

    /// A site brought a wrong token. It is barred for a minute at most, whatever it brings.
    pub(super) fn charge(&self, site: Site, now: u64) {
        let paid_until = self.at(site, |place| {
            let own = place.iter().position(|entry| entry.site == Some(site));
            let least = || (0..WAYS).min_by_key(|way| place[*way].paid_until).unwrap_or(0);
            let way = own.unwrap_or_else(least);
            let entry = &mut place[way];
            let before = if own.is_some() { entry.paid_until.max(now) } else { now };
            *entry = Entry { site: Some(site), paid_until: (before + self.interval).min(now + 2 * MINUTE) };
            entry.paid_until
        });
        if paid_until > now + MINUTE {
            self.someone_until.fetch_max(paid_until - MINUTE, Relaxed);
        }
    }

    fn at<T>(&self, site: Site, look: impl FnOnce(&mut [Entry; WAYS]) -> T) -> T {
        // Each change of it is whole.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.places.hash_one(site) as usize % PLACES;
        look(&mut table[place])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn wrong_tokens(per_minute: u32) -> WrongTokens {
        let limits = Limits { wrong_tokens_per_minute_per_address: Some(per_minute), ..Limits::default() };
        WrongTokens::new(&limits).unwrap()
    }

    fn site(number: u32) -> Site {
        Site::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn an_address_is_barred_after_a_minute_s_worth_of_wrong_tokens_for_as_long_as_they_take_and_others_are_not()
     {
        let (tokens, start) = (wrong_tokens(6), 100 * SECOND);
        for _ in 0..6 {
            tokens.charge(site(1), start);
        }
        assert!(!tokens.is_barred(site(1), start));
        tokens.charge(site(1), start);
        assert_eq!([site(1), site(2)].map(|site| tokens.is_barred(site, start)), [true, false]);
        assert_eq!([9, 10].map(|after| tokens.is_barred(site(1), start + after * SECOND)), [true, false]);
        for _ in 0..1_000 {
            tokens.charge(site(1), start);
        }
        assert_eq!([59, 60].map(|after| tokens.is_barred(site(1), start + after * SECOND)), [true, false]);
    }

    #[test]
    fn whoever_comes_from_many_addresses_makes_none_be_forgotten_that_brought_much_more() {
        let tokens = wrong_tokens(10);
        for _ in 0..20 {
            tokens.charge(site(0), 0);
        }
        for number in 1..100_000 {
            tokens.charge(site(number), 0);
        }
        assert!(tokens.is_barred(site(0), 1));
        assert!(!tokens.is_barred(site(5), 1));
    }
}
