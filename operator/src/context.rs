//! What every pass over a cluster needs; one for each namespace that is watched by itself.

use kube::Client;
use operator_core::desired::Defaults;

use crate::error::Error;
use crate::gateways::Gateways;
use crate::lease::Leadership;
use crate::memory::Memories;
use crate::metrics::Metrics;
use crate::watches::Stores;

/// What every pass needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is watched.
    pub stores: Stores,
    /// The gateways.
    pub gateways: Gateways,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// What clusters get that name no image or pull secret.
    pub defaults: Defaults,
    /// What passes remember.
    pub memories: Memories,
    /// What is counted.
    pub metrics: Metrics,
    /// This process, as events name it.
    pub identity: String,
}

impl Context {
    /// Whoever writes asks this first.
    ///
    /// # Errors
    /// When another operator may be about to act.
    pub fn must_lead(&self) -> Result<(), Error> {
        if self.leadership.is_held() { Ok(()) } else { Err(Error::NotLeading) }
    }
}
