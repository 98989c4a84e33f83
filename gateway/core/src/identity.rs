//! Who a client is and what tokens grant it, for how long, whatever protocol it speaks.

use std::{collections::BTreeMap, fmt, mem, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    config::ChannelOptions,
    hub::ChannelId,
    policy::Policy,
    rights::may_enter,
    shard::link::Link,
    time::Now,
    token::{CheckedToken, ConnectionToken, EntryToken, Meter, TokenError, Verifier},
};

/// Good tokens that a client may bring at once at least; as many as it may have subscriptions, if those are more.
const MIN_BURST: u32 = 128;

/// How long after its expiry a token still counts at least where it can be refreshed; looked at with each heartbeat.
const REFRESH_GRACE: Duration = Duration::from_secs(25);

/// What a client has shown of itself. One that never brought a token costs no more than this.
#[derive(Debug, Default)]
pub(crate) struct Credentials(Option<Box<Identity>>);

#[derive(Debug, Default)]
struct Identity {
    /// A token let the connection in.
    has_token: bool,
    /// That token's name.
    token_id: Option<Arc<str>>,
    user: Arc<str>,
    info: Option<Bytes>,
    /// Monotonic time at which the connection ends with its token.
    ends: Option<Duration>,
    verified: Meter,
    check: Check,
    /// By subscribed channel; none for a channel without a token.
    grants: BTreeMap<ChannelId, Grant>,
}

/// What becomes of a token that is checked on another thread, one at a time: its client is read no further meanwhile.
#[derive(Default)]
enum Check {
    #[default]
    None,
    /// With what checks it.
    UnderWay(Arc<Verifier>),
    /// It waits for the command that brought it, which is handled again.
    Done(Arc<Verifier>, Box<CheckedToken>),
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}

/// What a token says about one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    /// The token's name.
    pub(crate) token_id: Option<Arc<str>>,
    pub(crate) info: Option<Bytes>,
    /// The connection token subscribes the client, not the client itself.
    pub(crate) by_server: bool,
    /// Monotonic time at which the subscription ends with its token.
    pub(crate) ends: Option<Duration>,
}

/// Why a client does not get into a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// For its token.
    Token(TokenError),
    /// It brought none, and needs one.
    Forbidden,
}

impl From<TokenError> for Denied {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl Credentials {
    /// Those of a client that has one channel and nothing else, and can't bring another token.
    pub(crate) fn of_entry(token: &EntryToken, channel: ChannelId, now: Now) -> Self {
        let grants = token.names_channel.then(|| (channel, Grant::default()));
        Self(Some(Box::new(Identity {
            has_token: true,
            token_id: token.id.clone(),
            user: token.user.clone(),
            ends: token.expires_at.map(|at| now.at(at)),
            grants: grants.into_iter().collect(),
            ..Identity::default()
        })))
    }

    /// Whether a client that shows these may be connected. Who came with a token that is revoked is not taken for one who came without.
    pub(crate) fn admit(&self, policy: &Policy) -> bool {
        match &self.0 {
            Some(identity) if identity.has_token => !policy.is_revoked(identity.token_id.as_deref()),
            _ => policy.auth().anonymous,
        }
    }

    /// Whether a client that is in a raw channel may be there.
    pub(crate) fn admit_to_raw(&self, channel: ChannelId, name: &str, policy: &Policy) -> bool {
        self.grant(channel).is_some() || policy.may_enter_raw(name, &self.user())
    }

    /// The user's id; empty for an anonymous one.
    pub(crate) fn user(&self) -> Arc<str> {
        self.0.as_ref().map_or_else(Arc::default, |identity| identity.user.clone())
    }

    /// The name of the token that let the connection in.
    pub(crate) fn token_id(&self) -> Option<Arc<str>> {
        self.0.as_ref()?.token_id.clone()
    }

    /// JSON for presence, joins and publications.
    pub(crate) fn info(&self) -> Option<Bytes> {
        self.0.as_ref()?.info.clone()
    }

    /// Monotonic time at which the connection ends with its token.
    pub(crate) fn ends(&self) -> Option<Duration> {
        self.0.as_ref()?.ends
    }

    /// Whether the connection has ended with its token.
    pub(crate) fn are_expired(&self, now: Now) -> bool {
        self.ends().is_some_and(|ends| ends <= now.monotonic)
    }

    /// What a token says about a subscribed channel.
    pub(crate) fn grant(&self, channel: ChannelId) -> Option<&Grant> {
        self.0.as_ref()?.grants.get(&channel)
    }

    /// Keeps what a token says about a channel that is subscribed now.
    pub(crate) fn add_grant(&mut self, channel: ChannelId, grant: Grant) {
        self.0.get_or_insert_default().grants.insert(channel, grant);
    }

    /// The channel is subscribed no more.
    pub(crate) fn remove_grant(&mut self, channel: ChannelId) {
        if let Some(identity) = &mut self.0 {
            identity.grants.remove(&channel);
        }
    }

    /// Subscriptions that have ended with their token.
    pub(crate) fn expired_grants(&self, now: Now) -> Vec<ChannelId> {
        let grants = self.0.iter().flat_map(|identity| &identity.grants);
        let has_ended = |grant: &Grant| grant.ends.is_some_and(|ends| ends <= now.monotonic);
        grants.filter(|(_, grant)| has_ended(grant)).map(|(channel, _)| *channel).collect()
    }

    /// Takes over what a connection token says; returns the seconds until it expires.
    pub(crate) fn identify(&mut self, token: ConnectionToken, now: Now) -> Option<u32> {
        let (ends, ttl) = refreshable(token.expires_at, now);
        let identity = self.0.get_or_insert_default();
        identity.has_token = true;
        identity.token_id = token.id;
        identity.user = token.user;
        identity.info = token.info;
        identity.ends = ends;
        ttl
    }

    /// What tokens have said counts no longer, but that they came does.
    pub(crate) fn forget(&mut self) {
        if let Some(identity) = &mut self.0 {
            **identity = Identity { verified: identity.verified, ..Identity::default() };
        }
    }

    /// What a client's token grants it in a channel, and the seconds until that expires. Nothing where it needs none.
    pub(crate) fn authorize(
        &mut self,
        channel: &str,
        token: &str,
        options: &ChannelOptions,
        link: &mut Link<'_>,
    ) -> Result<(Option<Grant>, Option<u32>), Denied> {
        if !token.is_empty() {
            let (grant, ttl) = self.verify_subscription(channel, token, link)?;
            Ok((Some(grant), ttl))
        } else if may_enter(options, channel, &self.user()) {
            Ok((None, None))
        } else {
            Err(Denied::Forbidden)
        }
    }

    /// What a subscription token grants, and the seconds until it expires.
    pub(crate) fn verify_subscription(
        &mut self,
        channel: &str,
        token: &str,
        link: &mut Link<'_>,
    ) -> Result<(Grant, Option<u32>), TokenError> {
        let user = self.user();
        let token = self.verify(token, link, |token, now| token.subscription(channel, &user, now))?;
        let (ends, ttl) = refreshable(token.expires_at, link.now);
        Ok((Grant { token_id: token.id, info: token.info, by_server: false, ends }, ttl))
    }

    /// Has a connection token verified.
    pub(crate) fn verify_connection(
        &mut self,
        token: &str,
        link: &mut Link<'_>,
    ) -> Result<ConnectionToken, TokenError> {
        self.verify(token, link, CheckedToken::connection)
    }

    /// Whether a token is being checked on another thread, so that everything else has to wait.
    pub(crate) fn is_checking(&self) -> bool {
        self.0.as_ref().is_some_and(|identity| matches!(identity.check, Check::UnderWay(_)))
    }

    /// The token that was being checked has been.
    pub(crate) fn checked(&mut self, token: CheckedToken) {
        if let Some(identity) = &mut self.0
            && let Check::UnderWay(verifier) = mem::take(&mut identity.check)
        {
            identity.check = Check::Done(verifier, Box::new(token));
        }
    }

    /// Has a token verified, unless the client has had too many of late: then it is to come again later. The client's address is charged
    /// with a wrong one.
    fn verify<T>(
        &mut self,
        token: &str,
        link: &mut Link<'_>,
        read: impl FnOnce(CheckedToken, Now) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let burst = link.policy.limits().subscriptions.max(MIN_BURST);
        let identity = self.0.get_or_insert_default();
        let checked = mem::take(&mut identity.check);
        if !identity.verified.has_credit(burst, link.now.monotonic) {
            return Err(TokenError::TooMany);
        }
        let verifier = link.policy.verifier();
        let checked = match checked {
            // What a verifier says counts no longer once the policy has another one.
            Check::Done(by, checked) if Arc::ptr_eq(&by, verifier) && checked.is(token) => *checked,
            _ if !verifier.is_slow() => verifier.check(token),
            _ if link.out.check(link.key, verifier, token) => {
                identity.check = Check::UnderWay(verifier.clone());
                return Err(TokenError::Unchecked);
            }
            _ => return Err(TokenError::TooMany),
        };
        let result = read(checked, link.now);
        // An expired one was good: whoever was away for long brings many.
        let is_unknown = matches!(result, Err(TokenError::UnknownKey { .. }));
        let is_genuine = !is_unknown && !matches!(result, Err(TokenError::Invalid(_)));
        identity.verified.charge(is_genuine, link.now.monotonic);
        if result.as_ref().is_err_and(|error| error.is_charged()) {
            link.out.wrong_token(link.key);
        }
        if is_unknown {
            link.out.unknown_key();
        }
        result
    }
}

/// When the grace of a token ends that can be refreshed, as monotonic time, and the seconds until its expiry.
fn refreshable(expires_at: Option<u64>, now: Now) -> (Option<Duration>, Option<u32>) {
    let ends = expires_at.map(|at| now.at(at).saturating_add(REFRESH_GRACE));
    let ttl = expires_at.map(|at| u32::try_from(at.saturating_sub(now.unix_seconds)).unwrap_or(u32::MAX));
    (ends, ttl)
}
