//! What each address has of the limits that are its own.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gateway_core::{address::Site, config::Limits};

use super::{Refusal, SECOND};

/// Addresses that are remembered before the first look for those that can be forgotten.
const FIRST_SWEEP: usize = 1024;

/// The addresses of all connections, and of those that came of late.
#[derive(Debug)]
pub(super) struct Addresses {
    max_connections: u32,
    /// Nanoseconds that one admission takes at the allowed rate.
    interval: u64,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    sites: HashMap<Site, Usage>,
    /// So many are too many to remember without a look.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Usage {
    open: u32,
    /// As [`super::Admission`] has it for all.
    paid_until: u64,
}

impl Addresses {
    /// Nothing where the configuration sets no limit.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let (connections, rate) = (limits.connections_per_address, limits.connections_per_second_per_address);
        connections.or(rate)?;
        Some(Self {
            max_connections: connections.unwrap_or(u32::MAX),
            interval: rate.map_or(0, |rate| SECOND / u64::from(rate.max(1))),
            known: Mutex::new(Known { sites: HashMap::new(), sweep_at: FIRST_SWEEP }),
        })
    }

    pub(super) fn admit(&self, site: Site, now: u64) -> Result<(), Refusal> {
        let mut known = self.lock();
        known.sweep(now);
        let usage = known.sites.entry(site).or_default();
        if usage.open >= self.max_connections {
            return Err(Refusal::AddressFull);
        }
        let paid_until = usage.paid_until.max(now) + self.interval;
        if paid_until > now + SECOND {
            return Err(Refusal::AddressTooFast);
        }
        *usage = Usage { open: usage.open + 1, paid_until };
        Ok(())
    }

    pub(super) fn leave(&self, site: Site) {
        if let Some(usage) = self.lock().sites.get_mut(&site) {
            usage.open -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each change of it is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets those that have nothing open and nothing to pay, whenever there are twice as many as after the last time.
    fn sweep(&mut self, now: u64) {
        if self.sites.len() >= self.sweep_at {
            self.sites.retain(|_, usage| usage.open > 0 || usage.paid_until > now);
            self.sweep_at = FIRST_SWEEP.max(self.sites.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let limits = Limits { connections_per_second_per_address: Some(1), ..Limits::default() };
        let addresses = Addresses::new(&limits).unwrap();
        let mut most = 0;
        for (index, second) in (0..100_000_u32).zip(0..) {
            let site = Site::of(IpAddr::V4(Ipv4Addr::from_bits(index)));
            addresses.admit(site, second * SECOND).unwrap();
            addresses.leave(site);
            most = most.max(addresses.lock().sites.len());
        }
        assert!(most <= FIRST_SWEEP, "{most}");
    }
}
