//! The policy in force: how it is exchanged in all shards.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use futures::future::try_join_all;
use gateway_core::{
    config::{GatewayConfig, Jwks, Limits},
    policy::{Invalid, Policy},
    token::Key,
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::timeout,
};

use crate::{node::Node, settings::SettingsError, shard::Order};

/// For every shard to have room for an order.
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// What the shards of a gateway go by.
pub struct Policies {
    node: Arc<Node>,
    /// To the shards.
    orders: Vec<mpsc::Sender<Order>>,
    in_force: RefCell<Arc<Policy>>,
    /// The keys in force. Who exchanges something holds them, so that one exchange comes after the other.
    keys: Mutex<Keys>,
    /// Where some of them are fetched from.
    jwks: watch::Sender<Option<Jwks>>,
}

/// What clients' tokens may be signed with.
struct Keys {
    of_files: Vec<Key>,
    fetched: Vec<Key>,
}

impl Keys {
    fn all(&self) -> Vec<Key> {
        self.of_files.iter().chain(&self.fetched).cloned().collect()
    }
}

/// Why a policy stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The other one can't work.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No keys.
    #[error(transparent)]
    Keys(#[from] SettingsError),
    /// A shard's queue of orders is full.
    #[error("a shard is too busy to be told; nothing has changed, so send it again")]
    Busy,
}

impl Policies {
    /// `first` is what the shards were started with, with the keys of files.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        orders: Vec<mpsc::Sender<Order>>,
        first: Arc<Policy>,
        of_files: Vec<Key>,
    ) -> Rc<Self> {
        let (jwks, _) = watch::channel(first.auth().jwks.clone());
        let keys = Mutex::new(Keys { of_files, fetched: Vec::new() });
        Rc::new(Self { node, orders, in_force: RefCell::new(first), keys, jwks })
    }

    /// Where keys are to be fetched from, now and whenever that changes.
    #[must_use]
    pub fn jwks(&self) -> watch::Receiver<Option<Jwks>> {
        self.jwks.subscribe()
    }

    /// What every shard goes by.
    #[must_use]
    pub fn in_force(&self) -> Arc<Policy> {
        self.in_force.borrow().clone()
    }

    /// Exchanges the configuration; returns once every shard goes by it.
    pub async fn exchange_config(
        self: Rc<Self>,
        config: GatewayConfig,
    ) -> Result<Arc<Policy>, ExchangeError> {
        let mut keys = self.keys.lock().await;
        if config.hash() == self.in_force().hash() {
            return Ok(self.in_force());
        }
        let jwks = config.auth.jwks.clone();
        let is_elsewhere = jwks != self.in_force().auth().jwks;
        // Whoever names another issuer trusts the one before no longer.
        let known = if is_elsewhere { keys.of_files.clone() } else { keys.all() };
        let policy = Policy::compile(config, known)?;
        check_fixed(self.in_force().limits(), policy.limits())?;
        let policy = self.exchange(policy).await?;
        if is_elsewhere {
            keys.fetched.clear();
            self.jwks.send_replace(jwks);
        }
        Ok(policy)
    }

    /// Exchanges the keys of files; returns once every shard goes by them.
    pub async fn exchange_keys(self: Rc<Self>, of_files: Vec<Key>) -> Result<(), ExchangeError> {
        let mut keys = self.keys.lock().await;
        let now = Keys { of_files, fetched: keys.fetched.clone() };
        self.recompile(&mut keys, now).await
    }

    /// Exchanges the keys that were fetched from there, which changes nothing where the configuration names another place by now.
    pub async fn exchange_fetched(
        self: Rc<Self>,
        from: Jwks,
        fetched: Vec<Key>,
    ) -> Result<(), ExchangeError> {
        let mut keys = self.keys.lock().await;
        if self.in_force().auth().jwks.as_ref() != Some(&from) {
            return Ok(());
        }
        let now = Keys { of_files: keys.of_files.clone(), fetched };
        self.recompile(&mut keys, now).await
    }

    async fn recompile(&self, keys: &mut Keys, now: Keys) -> Result<(), ExchangeError> {
        let config = self.in_force().document().clone();
        self.exchange(Policy::compile(config, now.all())?).await?;
        *keys = now;
        Ok(())
    }

    /// Either every shard is told, or none. Each goes by the policy from its next turn on, after what it was told before.
    async fn exchange(&self, policy: Policy) -> Result<Arc<Policy>, ExchangeError> {
        let policy = Arc::new(policy);
        let rooms = try_join_all(self.orders.iter().map(mpsc::Sender::reserve));
        let rooms = timeout(ROOM_WITHIN, rooms).await.map_err(|_| ExchangeError::Busy)?;
        // A shard that is gone ends the gateway.
        let rooms = rooms.map_err(|_| ExchangeError::Busy)?;
        let (told, mut all_told) = mpsc::channel(1);
        for room in rooms {
            room.send(Order::Exchange(policy.clone(), told.clone()));
        }
        drop(told);
        self.node.admission.set_limits(policy.limits());
        // Nothing comes but the end, when the last shard has dropped its sender.
        all_told.recv().await;
        *self.in_force.borrow_mut() = policy.clone();
        tracing::info!(hash = policy.hash(), "configuration exchanged");
        Ok(policy)
    }
}

/// Refuses to change what a gateway sets up once, when it starts.
fn check_fixed(before: &Limits, now: &Limits) -> Result<(), Invalid> {
    let tokens = |limits: &Limits| limits.wrong_tokens_per_minute_per_address.map(u64::from);
    let fixed = [
        ("limits.memoryBytes", before.memory_bytes, now.memory_bytes),
        ("limits.wrongTokensPerMinutePerAddress", tokens(before), tokens(now)),
    ];
    match fixed.into_iter().find(|(_, before, now)| before != now) {
        Some((field, _, now)) => Err(Invalid {
            field: field.to_owned(),
            value: now.map_or_else(|| "absent".to_owned(), |value| value.to_string()),
            remedy: "it can't change while the gateway runs; start it anew with this configuration",
        }),
        None => Ok(()),
    }
}
