//! Leader election on a coordination.k8s.io Lease, so that one operator writes at a time.
//!
//! The holder gives itself less time than the others grant it: it stops writing [`RENEW_DEADLINE`] after its last renewal
//! began, while nobody takes the Lease before [`DURATION`] has passed. The rules are in [`rules`]; this file carries them out.

pub mod rules;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout, timeout_at};
use tracing::{info, warn};

use rules::{Record, Verdict};

/// Candidates take a Lease that has not been renewed for this long.
pub const DURATION: Duration = Duration::from_secs(15);
/// The holder stops acting this long after the start of its last successful renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// The holder renews this often; each is a write, the only one of an operator at rest.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Candidates look, and a holder whose renewal failed tries again, this often.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// One request to the API server may take this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How an operator stops being the leader without wanting to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Lost {
    /// No renewal succeeded in time; another operator may be about to take over.
    #[error("the lease was not renewed for {}s", RENEW_DEADLINE.as_secs())]
    Expired,
    /// Another operator holds the lease.
    #[error("another operator holds the lease")]
    Taken,
}

/// Tells whoever writes whether this process may still do so.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this process leads at this moment; true only while nobody else can.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }
}

/// This process's candidacy for one Lease.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    held_until: watch::Sender<Option<Instant>>,
    seen: Option<(String, Instant)>,
}

#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("no answer from the API server in {}s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl Election {
    /// A candidate named `identity` for the Lease `namespace/name`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            held_until: watch::Sender::new(None),
            seen: None,
        }
    }

    /// What writers ask before they write.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership(self.held_until.subscribe())
    }

    /// Waits until this process holds the Lease.
    pub async fn acquire(&mut self) {
        let mut ticks = ticks(RETRY_EVERY);
        loop {
            ticks.tick().await;
            match self.attempt().await {
                Ok(true) => break info!(lease = self.name, identity = self.identity, "this operator leads"),
                Ok(false) => {}
                Err(error) => warn!(lease = self.name, %error, "cannot read or write the lease"),
            }
        }
    }

    /// Renews the Lease for as long as that works; returns why it no longer does.
    pub async fn hold(&mut self) -> Lost {
        let mut ticks = ticks(RENEW_EVERY);
        loop {
            let Some(deadline) = *self.held_until.borrow() else { return Lost::Taken };
            match timeout_at(deadline, self.renewed(&mut ticks)).await {
                Ok(true) => {}
                Ok(false) => return self.lost(Lost::Taken),
                Err(_) => return self.lost(Lost::Expired),
            }
        }
    }

    /// Gives the Lease back, so that a successor need not wait for it to run out.
    pub async fn release(mut self) {
        if let Err(error) = self.abandon().await {
            warn!(lease = self.name, %error, "the lease was not given back; it runs out by itself");
        }
    }

    fn lost(&mut self, how: Lost) -> Lost {
        self.held_until.send_replace(None);
        how
    }

    async fn renewed(&mut self, ticks: &mut Interval) -> bool {
        loop {
            ticks.tick().await;
            match self.attempt().await {
                Ok(held) => return held,
                Err(error) => {
                    warn!(lease = self.name, %error, "the lease was not renewed");
                    ticks.reset_after(RETRY_EVERY);
                }
            }
        }
    }

    /// One look at the Lease and the write it calls for. True when this process holds it afterwards.
    async fn attempt(&mut self) -> Result<bool, AttemptError> {
        let started = Instant::now();
        let held =
            timeout(REQUEST_TIMEOUT, self.look_and_write()).await.map_err(|_| AttemptError::Timeout)??;
        if held {
            self.held_until.send_replace(Some(started + RENEW_DEADLINE));
        }
        Ok(held)
    }

    async fn look_and_write(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let unchanged_for = self.observe(lease.as_ref());
        let record = lease.as_ref().map(record);
        match rules::decide(record, &self.identity, unchanged_for) {
            Verdict::Wait => return Ok(false),
            Verdict::Create => self.api.create(&PostParams::default(), &self.claim(None)).await?,
            Verdict::Take | Verdict::Renew => {
                // The resource version of what was read makes the API server refuse if anyone wrote in between.
                self.api.replace(&self.name, &PostParams::default(), &self.claim(lease)).await?
            }
        };
        Ok(true)
    }

    /// How long the Lease has stayed as it is, by this machine's clock: clocks of other machines are not to be trusted.
    fn observe(&mut self, lease: Option<&Lease>) -> Duration {
        let version = lease.and_then(ResourceExt::resource_version).unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed(),
            _ => {
                self.seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn claim(&self, previous: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = previous.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(DURATION.as_secs().try_into().unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        lease
    }

    async fn abandon(&mut self) -> Result<(), AttemptError> {
        self.held_until.send_replace(None);
        let given_back = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok(())
        };
        timeout(REQUEST_TIMEOUT, given_back).await.map_err(|_| AttemptError::Timeout)?
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn record(lease: &Lease) -> Record<'_> {
    let spec = lease.spec.as_ref();
    Record {
        holder: spec.and_then(|s| s.holder_identity.as_deref()).filter(|h| !h.is_empty()),
        duration: spec
            .and_then(|s| s.lease_duration_seconds)
            .and_then(|s| u64::try_from(s).ok())
            .map_or(DURATION, Duration::from_secs),
    }
}
