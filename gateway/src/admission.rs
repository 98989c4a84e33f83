//! Who may still connect: limits of connections and of connections per second, over all shards, for all together and for each address.

mod addresses;
mod wrong_tokens;

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

use self::{addresses::Addresses, wrong_tokens::WrongTokens};

const SECOND: u64 = 1_000_000_000;

/// Counts open connections and paces new ones. Shared by all shards.
#[derive(Debug)]
pub struct Admission {
    /// Connections that the process may open files for.
    files: u32,
    max_connections: AtomicU32,
    open: AtomicU32,
    /// Nanoseconds that one admission takes at the allowed rate.
    interval: AtomicU64,
    /// When the admissions so far are paid for (generic cell rate algorithm), in nanoseconds since the start.
    paid_until: AtomicU64,
    draining: AtomicBool,
    addresses: Addresses,
    /// As it was at the start; absent where nobody is barred for them.
    wrong_tokens: Option<WrongTokens>,
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
    /// What is left of `limits.memoryBytes` is for those who are connected.
    #[error("this gateway is near its limit of memory (limits.memoryBytes)")]
    ShortOfMemory,
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
    /// `limits.wrongTokensPerMinutePerAddress` were brought within a minute.
    #[error("your address has brought too many wrong tokens (limits.wrongTokensPerMinutePerAddress)")]
    AddressBarred,
}

impl Refusal {
    /// Metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "full",
            Self::ShortOfMemory => "memory",
            Self::TooFast => "rate",
            Self::AddressFull => "address_full",
            Self::AddressTooFast => "address_rate",
            Self::AddressBarred => "address_tokens",
        }
    }

    /// The answer's status: 429 (RFC 6585, section 4) where others are still admitted.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Draining | Self::Full | Self::ShortOfMemory | Self::TooFast => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::AddressFull | Self::AddressTooFast | Self::AddressBarred => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Seconds after which another try has a chance. A draining gateway is out of the load balancer by then.
    #[must_use]
    pub fn retry_after(self) -> u32 {
        match self {
            Self::Draining | Self::TooFast | Self::AddressTooFast => 1,
            Self::Full | Self::ShortOfMemory | Self::AddressFull => 10,
            Self::AddressBarred => 60,
        }
    }
}

/// The right to hold one connection; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    of: Arc<Admission>,
    /// Of the client.
    site: Site,
    /// The site has it among its own: addresses had limits when it came.
    is_counted: bool,
}

impl Admission {
    /// Nothing admitted yet. The process may open files for so many connections.
    #[must_use]
    pub fn new(limits: &Limits, files: u32) -> Arc<Self> {
        let admission = Self {
            files,
            max_connections: AtomicU32::new(0),
            open: AtomicU32::new(0),
            interval: AtomicU64::new(0),
            paid_until: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            addresses: Addresses::default(),
            wrong_tokens: WrongTokens::new(limits),
        };
        admission.set_limits(limits);
        Arc::new(admission)
    }

    /// From now on these limits count, that of wrong tokens aside; who has been admitted stays.
    pub fn set_limits(&self, limits: &Limits) {
        let (wanted, files) = (limits.max_connections, self.files);
        if files < wanted {
            tracing::warn!(
                "limits.maxConnections is {wanted}, and at most {files} fit into the files that this process may open; raise that limit"
            );
        }
        self.max_connections.store(wanted.min(files), Relaxed);
        self.interval.store(SECOND / u64::from(limits.connections_per_second.max(1)), Relaxed);
        self.addresses.set_limits(limits);
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
        let (site, now) = (Site::of(client), nanoseconds(now));
        if self.bars(site, now) {
            return Err(Refusal::AddressBarred);
        }
        let (max_connections, interval) = (self.max_connections.load(Relaxed), self.interval.load(Relaxed));
        self.open
            .fetch_update(Relaxed, Relaxed, |open| (open < max_connections).then_some(open + 1))
            .map_err(|_| Refusal::Full)?;
        let mut permit = Permit { of: self.clone(), site, is_counted: false };
        if self.addresses.are_limited() {
            self.addresses.admit(site, now)?;
            permit.is_counted = true;
        }
        self.paid_until
            .fetch_update(Relaxed, Relaxed, |paid| {
                let paid = paid.max(now) + interval;
                (paid <= now + SECOND).then_some(paid)
            })
            .map_err(|_| Refusal::TooFast)?;
        Ok(permit)
    }

    /// Whether an address may bring a token.
    pub fn check(&self, client: IpAddr, now: Duration) -> Result<(), Refusal> {
        let is_barred = self.bars(Site::of(client), nanoseconds(now));
        if is_barred { Err(Refusal::AddressBarred) } else { Ok(()) }
    }

    /// An address brought a token that is none of ours.
    pub fn wrong_token(&self, site: Site, now: Duration) {
        if let Some(tokens) = &self.wrong_tokens {
            tokens.charge(site, nanoseconds(now));
        }
    }

    fn bars(&self, site: Site, now: u64) -> bool {
        self.wrong_tokens.as_ref().is_some_and(|tokens| tokens.is_barred(site, now))
    }

    /// Connections with a permit.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }
}

impl Permit {
    /// Whose it is.
    #[must_use]
    pub fn site(&self) -> Site {
        self.site
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Relaxed);
        if self.is_counted {
            self.of.addresses.leave(self.site);
        }
    }
}

fn nanoseconds(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn admission(max_connections: u32, connections_per_second: u32) -> Arc<Admission> {
        Admission::new(&Limits { max_connections, connections_per_second, ..Limits::default() }, u32::MAX)
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
    fn limits_that_shrink_close_nobody_and_those_that_grow_admit_more_at_once_up_to_the_files_there_are() {
        let limits = |max_connections| Limits { max_connections, ..Limits::default() };
        let admission = Admission::new(&limits(2), 3);
        let admit = || admission.admit(CLIENT, Duration::ZERO);
        let mut held = vec![admit().unwrap(), admit().unwrap()];
        admission.set_limits(&limits(1));
        assert_eq!((admit().unwrap_err(), admission.open()), (Refusal::Full, 2));
        admission.set_limits(&limits(4));
        held.push(admit().unwrap());
        assert_eq!((admit().unwrap_err(), admission.open()), (Refusal::Full, 3));
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
    fn an_address_is_refused_for_the_wrong_tokens_of_its_connections_and_of_its_requests_alike() {
        let limits = Limits { wrong_tokens_per_minute_per_address: Some(2), ..Limits::default() };
        let (admission, other) = (Admission::new(&limits, u32::MAX), IpAddr::from([10, 0, 0, 9]));
        let permit = admission.admit(CLIENT, Duration::ZERO).unwrap();
        admission.wrong_token(permit.site(), Duration::ZERO);
        admission.wrong_token(Site::of(CLIENT), Duration::ZERO);
        assert_eq!(admission.check(CLIENT, Duration::ZERO), Ok(()));
        admission.wrong_token(permit.site(), Duration::ZERO);
        assert_eq!(admission.check(CLIENT, Duration::ZERO), Err(Refusal::AddressBarred));
        assert_eq!(admission.admit(CLIENT, Duration::ZERO).unwrap_err(), Refusal::AddressBarred);
        assert!(admission.admit(other, Duration::ZERO).is_ok());
        assert!(admission.admit(CLIENT, Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn an_address_that_has_its_share_leaves_the_rest_to_others() {
        let limits = Limits {
            connections_per_address: Some(2),
            connections_per_second_per_address: Some(3),
            ..Limits::default()
        };
        let admission = Admission::new(&limits, u32::MAX);
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
