//! Who may still connect: limits of connections and of connections per second, over all shards, for all together and for each address.

mod addresses;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use gateway_core::{address::Site, config::Limits};
use hyper::StatusCode;

use self::addresses::Addresses;

const SECOND: u64 = 1_000_000_000;

/// Counts open connections and paces new ones. Shared by all shards.
#[derive(Debug)]
pub struct Admission {
    max_connections: u32,
    open: AtomicU32,
    /// Nanoseconds that one admission takes at the allowed rate.
    interval: u64,
    /// When the admissions so far are paid for (generic cell rate algorithm), in nanoseconds since the start.
    paid_until: AtomicU64,
    draining: AtomicBool,
    /// Absent where addresses have no limit of their own.
    addresses: Option<Addresses>,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The gateway moves its clients away.
    #[error("this gateway is draining; connect again")]
    Draining,
    /// `limits.maxConnections` are open.
    #[error("this gateway has reached its limit of connections (limits.maxConnections)")]
    Full,
    /// `limits.connectionsPerSecond` were admitted within a second.
    #[error("this gateway has reached its limit of new connections per second (limits.connectionsPerSecond)")]
    TooFast,
    /// `limits.connectionsPerAddress` are open.
    #[error("your address has reached its limit of connections (limits.connectionsPerAddress)")]
    AddressFull,
    /// `limits.connectionsPerSecondPerAddress` were admitted within a second.
    #[error(
        "your address has reached its limit of new connections per second (limits.connectionsPerSecondPerAddress)"
    )]
    AddressTooFast,
}

impl Refusal {
    /// Metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "full",
            Self::TooFast => "rate",
            Self::AddressFull => "address_full",
            Self::AddressTooFast => "address_rate",
        }
    }

    /// The answer's status: 429 (RFC 6585, section 4) where others are still admitted.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Draining | Self::Full | Self::TooFast => StatusCode::SERVICE_UNAVAILABLE,
            Self::AddressFull | Self::AddressTooFast => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Seconds after which another try has a chance. A draining gateway is out of the load balancer by then.
    #[must_use]
    pub fn retry_after(self) -> u32 {
        match self {
            Self::Draining | Self::TooFast | Self::AddressTooFast => 1,
            Self::Full | Self::AddressFull => 10,
        }
    }
}

/// The right to hold one connection; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    of: Arc<Admission>,
    /// Of the client, where addresses have a limit.
    site: Option<Site>,
}

impl Admission {
    /// Nothing admitted yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max_connections: limits.max_connections,
            open: AtomicU32::new(0),
            interval: SECOND / u64::from(limits.connections_per_second.max(1)),
            paid_until: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            addresses: Addresses::new(limits),
        })
    }

    /// Refuses everybody from now on, or no longer.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Relaxed);
    }

    /// Admits one connection of an address, or says why not. `now` is the time since the start.
    pub fn admit(self: &Arc<Self>, client: IpAddr, now: Duration) -> Result<Permit, Refusal> {
        if self.draining.load(Relaxed) {
            return Err(Refusal::Draining);
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.open
            .fetch_update(Relaxed, Relaxed, |open| (open < self.max_connections).then_some(open + 1))
            .map_err(|_| Refusal::Full)?;
        let mut permit = Permit { of: self.clone(), site: None };
        if let Some(addresses) = &self.addresses {
            let site = Site::of(client);
            addresses.admit(site, now)?;
            permit.site = Some(site);
        }
        self.paid_until
            .fetch_update(Relaxed, Relaxed, |paid| {
                let paid = paid.max(now) + self.interval;
                (paid <= now + SECOND).then_some(paid)
            })
            .map_err(|_| Refusal::TooFast)?;
        Ok(permit)
    }

    /// Connections with a permit.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Relaxed);
        if let (Some(addresses), Some(site)) = (&self.of.addresses, self.site) {
            addresses.leave(site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn admission(max_connections: u32, connections_per_second: u32) -> Arc<Admission> {
        Admission::new(&Limits { max_connections, connections_per_second, ..Limits::default() })
    }

    #[test]
    fn a_full_gateway_refuses_until_a_connection_ends() {
        let admission = admission(1, 100);
        let permit = admission.admit(CLIENT, Duration::ZERO).unwrap();
        assert_eq!(admission.admit(CLIENT, Duration::ZERO).unwrap_err(), Refusal::Full);
        drop(permit);
        assert!(admission.admit(CLIENT, Duration::ZERO).is_ok());
    }

    #[test]
    fn at_most_the_configured_number_is_admitted_at_once_and_then_at_the_configured_pace() {
        let admission = admission(1000, 10);
        let admit = |now| admission.admit(CLIENT, now).map(std::mem::forget);
        for _ in 0..10 {
            admit(Duration::ZERO).unwrap();
        }
        assert_eq!(admit(Duration::from_millis(99)), Err(Refusal::TooFast));
        assert_eq!(admit(Duration::from_millis(100)), Ok(()));
        assert_eq!(admit(Duration::from_millis(100)), Err(Refusal::TooFast));
    }

    #[test]
    fn a_refused_connection_takes_no_place() {
        let admission = admission(2, 1);
        let _permit = admission.admit(CLIENT, Duration::ZERO).unwrap();
        assert_eq!(admission.admit(CLIENT, Duration::ZERO).unwrap_err(), Refusal::TooFast);
        assert_eq!(admission.open(), 1);
    }

    #[test]
    fn a_draining_gateway_refuses_and_one_whose_drain_is_cancelled_admits_again() {
        let admission = admission(1, 1);
        admission.set_draining(true);
        assert_eq!(admission.admit(CLIENT, Duration::ZERO).unwrap_err(), Refusal::Draining);
        admission.set_draining(false);
        assert!(admission.admit(CLIENT, Duration::ZERO).is_ok());
    }

    #[test]
    fn an_address_that_has_its_share_leaves_the_rest_to_others() {
        let limits = Limits {
            connections_per_address: Some(2),
            connections_per_second_per_address: Some(3),
            ..Limits::default()
        };
        let admission = Admission::new(&limits);
        let admit = |client: [u8; 4], millis| admission.admit(client.into(), Duration::from_millis(millis));
        let (greedy, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let held = [admit(greedy, 0).unwrap(), admit(greedy, 0).unwrap()];
        assert_eq!(admit(greedy, 0).unwrap_err(), Refusal::AddressFull);
        let [first, _second] = held;
        drop(first);
        drop(admit(greedy, 0).unwrap());
        assert_eq!(admit(greedy, 0).unwrap_err(), Refusal::AddressTooFast);
        assert!(admit(other, 0).is_ok());
        assert!(admit(greedy, 400).is_ok());
        assert_eq!(admission.open(), 1, "what was refused holds no place");
    }
}
