//! Keys of clients' tokens that whoever signs them publishes: fetched, and fetched again, while the gateway runs. What was fetched once
//! stays in force for as long as the place that it is from can't be reached.

mod fetch;

use std::{cell::RefCell, collections::BTreeSet, path::Path, rc::Rc, time::Duration};

use gateway_core::{
    config::{Auth, Jwks},
    control::KeySetHealth,
    token::{KeySet, Refresh},
};
use tokio::{sync::watch, task::spawn_local};

use self::fetch::FetchError;
use crate::{
    node::Node,
    policies::{ExchangeError, Policies},
};

/// For the shards to have room for an exchange, where they had none.
const BUSY: Duration = Duration::from_secs(1);

/// How the key set in force came here. Shared with the control port.
#[derive(Clone, Debug, Default)]
pub struct KeySetStatus(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    source: Option<Jwks>,
    /// Monotonic time of the last success, and the keys it brought.
    fetched: Option<(Duration, usize)>,
    /// What came of the last fetch, if it failed.
    failure: Option<String>,
    /// Without these keys no client gets in.
    is_awaited: bool,
}

impl KeySetStatus {
    /// Of a gateway that starts; `is_needed` where nobody gets in without fetched keys.
    #[must_use]
    pub fn new(is_needed: bool) -> Self {
        Self(Rc::new(RefCell::new(Inner { is_awaited: is_needed, ..Inner::default() })))
    }

    /// Whether no client can get in before the first fetch has succeeded. Never again after that, nor after a configuration that lets in
    /// others: then there are clients to serve.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.0.borrow().is_awaited
    }

    /// For the report; nothing where no key set is named.
    #[must_use]
    pub fn health(&self, now: Duration) -> Option<KeySetHealth> {
        let inner = self.0.borrow();
        let source = inner.source.as_ref()?;
        Some(KeySetHealth {
            url: source.url.clone(),
            keys: inner.fetched.map_or(0, |(_, keys)| keys),
            age_seconds: inner.fetched.map(|(at, _)| now.saturating_sub(at).as_secs()),
            failure: inner.failure.clone(),
        })
    }

    fn begin(&self, source: Option<Jwks>) {
        let mut inner = self.0.borrow_mut();
        *inner = Inner { source, is_awaited: inner.is_awaited, ..Inner::default() };
    }

    /// Another configuration is in force.
    pub fn reconfigured(&self, auth: &Auth) {
        self.0.borrow_mut().is_awaited &= !auth.anonymous && auth.jwks.is_some();
    }

    fn succeeded(&self, now: Duration, keys: usize) {
        let mut inner = self.0.borrow_mut();
        inner.fetched = Some((now, keys));
        inner.failure = None;
        inner.is_awaited = false;
    }

    fn failed(&self, reason: String) {
        self.0.borrow_mut().failure = Some(reason);
    }
}

/// Keeps the key set of the configuration in force; never returns.
pub async fn follow(node: &Node, policies: &Rc<Policies>, status: &KeySetStatus) {
    let mut sources = policies.jwks();
    loop {
        let source = sources.borrow_and_update().clone();
        status.begin(source.clone());
        node.metrics.jwks_keys.set(0);
        let Some(source) = source else {
            changed(&mut sources).await;
            continue;
        };
        tokio::select! {
            () = changed(&mut sources) => {}
            () = Fetcher { source, node, policies, status }.run() => {}
        }
    }
}

async fn changed(sources: &mut watch::Receiver<Option<Jwks>>) {
    if sources.changed().await.is_err() {
        // There are no policies any more, and nothing changes.
        std::future::pending().await
    }
}

/// Fetches one key set.
struct Fetcher<'a> {
    source: Jwks,
    node: &'a Node,
    policies: &'a Rc<Policies>,
    status: &'a KeySetStatus,
}

impl Fetcher<'_> {
    async fn run(self) {
        let mut refresh = Refresh::begin(self.node.clock.elapsed());
        let mut in_force = BTreeSet::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.node.clock.instant(refresh.due())) => {}
                () = self.node.unknown_keys.notified() => {
                    refresh.want(self.node.clock.elapsed());
                    continue;
                }
            }
            let result = self.fetch(&mut in_force).await;
            let now = self.node.clock.elapsed();
            match result {
                Ok(()) => refresh.succeeded(now, rand::random()),
                Err(error) => {
                    tracing::warn!(url = self.source.url, "keys of tokens stay as they are: {error}");
                    self.node.metrics.jwks_failures.inc();
                    self.status.failed(error.to_string());
                    refresh.failed(now, rand::random());
                }
            }
        }
    }

    async fn fetch(&self, in_force: &mut BTreeSet<String>) -> Result<(), FetchError> {
        let ca_file: Option<&Path> = self.node.settings.jwks_ca_file.as_deref();
        let text = fetch::fetch(&self.source, ca_file).await?;
        let KeySet { keys, others, identity } = KeySet::parse(&text)?;
        let count = keys.len();
        if identity != *in_force {
            self.exchange(keys).await?;
            tracing::info!(url = self.source.url, keys = count, others, "keys of tokens fetched");
            *in_force = identity;
        }
        self.status.succeeded(self.node.clock.elapsed(), count);
        self.node.metrics.jwks_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.node.metrics.jwks_fetched.set(self.node.clock.now().unix_seconds.cast_signed());
        Ok(())
    }

    async fn exchange(&self, keys: Vec<gateway_core::token::Key>) -> Result<(), FetchError> {
        loop {
            // A task of its own, which ends even if the configuration names another place meanwhile.
            let exchange = self.policies.clone().exchange_fetched(self.source.clone(), keys.clone());
            match spawn_local(exchange).await {
                Ok(Err(ExchangeError::Busy)) => tokio::time::sleep(BUSY).await,
                Ok(result) => return Ok(result?),
                Err(error) => return Err(FetchError::Ended(error.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
