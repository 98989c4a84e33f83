//! Who the client is and what its tokens grant it, for how long.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Session, Stage};
use crate::{
    backplane::ClientInfo,
    centrifuge::{
        codes::{DisconnectCode, ErrorCode},
        command::{Connect, Refresh, SubRefresh},
        reply::{ConnectResult, Reply, SubscribeResult},
    },
    hub::ChannelId,
    rights::ChannelName,
    shard::{heartbeat::PING_INTERVAL, link::Link},
    time::Now,
    token::{ConnectionToken, Meter, TokenError, Verifier},
    transport::Goodbye,
};

/// Good tokens that a client may bring at once at least; as many as it may have subscriptions, if those are more.
const MIN_BURST: u32 = 128;

/// How long after its expiry a token still counts at least, so that a client can refresh it; looked at with each heartbeat.
const EXPIRY_GRACE: Duration = Duration::from_secs(25);

/// How long a client that did not say goodbye stays present, so that a moved client's user is never absent.
pub(super) const PRESENCE_GRACE: Duration = Duration::from_secs(10);

/// What a client's tokens say.
#[derive(Debug, Default)]
pub(super) struct Identity {
    user: Arc<str>,
    info: Option<Bytes>,
    /// Monotonic time of the end of the token's grace.
    ends: Option<Duration>,
    verified: Meter,
    /// By subscribed channel; none for a channel without a token.
    pub(super) grants: BTreeMap<ChannelId, Grant>,
}

/// What a token says about one channel.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) info: Option<Bytes>,
    /// The connection token subscribes the client, not the client itself.
    pub(super) by_server: bool,
    /// Monotonic time of the end of the token's grace.
    pub(super) ends: Option<Duration>,
}

impl Session {
    /// The first command of a connection.
    pub(super) fn connect(
        &mut self,
        id: u32,
        request: &Connect<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        if self.stage > Stage::Refused || self.greeting.is_some() {
            return Err(DisconnectCode::BadRequest.into());
        }
        if request.token.is_empty() && link.settings.config.auth.anonymous {
            self.welcome(id, None, &[], link);
            return Ok(());
        }
        match self.verify(link, |verifier, now| verifier.connection(&request.token, now)) {
            Ok(mut claims) => {
                let subscriptions = mem::take(&mut claims.subscriptions);
                let ttl = self.identify(claims, link.now);
                self.greet(id, ttl, subscriptions, request, link)
            }
            Err(error @ (TokenError::Expired | TokenError::TooMany)) => {
                self.stage = Stage::Refused;
                self.fail(id, refusal(error), link);
                Ok(())
            }
            Err(TokenError::Invalid(_)) => Err(DisconnectCode::InvalidToken.into()),
        }
    }

    /// Answers the connect command; from here on the client may do what its token allows.
    pub(super) fn welcome(
        &mut self,
        id: u32,
        ttl: Option<u32>,
        subs: &[(&str, SubscribeResult<'_>)],
        link: &mut Link<'_>,
    ) {
        self.stage = Stage::Connected;
        let result = ConnectResult {
            client: &link.settings.client_id(link.key),
            version: &link.settings.version,
            node: &link.settings.node_name,
            ttl,
            ping: PING_INTERVAL.as_secs() as u32,
            subs,
        };
        self.reply(id, &Reply::Connect(result), link);
    }

    pub(super) fn refresh(
        &mut self,
        id: u32,
        request: &Refresh<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        match self.verify(link, |verifier, now| verifier.connection(&request.token, now)) {
            Ok(claims) if claims.user == self.user() => {
                let ttl = self.identify(claims, link.now);
                let client = link.settings.client_id(link.key);
                self.reply(id, &Reply::Refresh { client: &client, ttl }, link);
                Ok(())
            }
            Err(error @ (TokenError::Expired | TokenError::TooMany)) => {
                self.fail(id, refusal(error), link);
                Ok(())
            }
            Ok(_) | Err(TokenError::Invalid(_)) => Err(DisconnectCode::InvalidToken.into()),
        }
    }

    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        request: &SubRefresh<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let channel = link.hub.find(&request.channel).filter(|channel| self.subscriptions.contains(channel));
        let channel = channel.ok_or(ErrorCode::PermissionDenied)?;
        let (grant, ttl) = self.verify_subscription(&request.channel, &request.token, link)?;
        self.identity.get_or_insert_default().grants.insert(channel, grant);
        self.reply(id, &Reply::SubRefresh { ttl }, link);
        Ok(())
    }

    /// Whether the client may subscribe to a channel, and what its token grants it there.
    pub(super) fn authorize(
        &mut self,
        channel: &str,
        token: &str,
        link: &Link<'_>,
    ) -> Result<(Option<Grant>, Option<u32>), ErrorCode> {
        if !token.is_empty() {
            let (grant, ttl) = self.verify_subscription(channel, token, link)?;
            Ok((Some(grant), ttl))
        } else if ChannelName::of(channel).admits(&self.user()) {
            Ok((None, None))
        } else {
            Err(ErrorCode::PermissionDenied)
        }
    }

    fn verify_subscription(
        &mut self,
        channel: &str,
        token: &str,
        link: &Link<'_>,
    ) -> Result<(Grant, Option<u32>), ErrorCode> {
        let user = self.user();
        let verified = self.verify(link, |verifier, now| verifier.subscription(token, channel, &user, now));
        let claims = verified.map_err(refusal)?;
        let (ends, ttl) = expiry(claims.expires_at, link.now);
        Ok((Grant { info: claims.info, by_server: false, ends }, ttl))
    }

    /// Has a token verified, unless the client has had too many of late: then it is to come again later.
    fn verify<T>(
        &mut self,
        link: &Link<'_>,
        verify: impl FnOnce(&Verifier, Now) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let burst = link.settings.config.limits.subscriptions.max(MIN_BURST);
        let meter = &mut self.identity.get_or_insert_default().verified;
        if !meter.has_credit(burst, link.now.monotonic) {
            return Err(TokenError::TooMany);
        }
        let result = verify(&link.settings.verifier, link.now);
        // An expired one was good: whoever was away for long brings many.
        let is_genuine = !matches!(result, Err(TokenError::Invalid(_)));
        meter.charge(is_genuine, link.now.monotonic);
        result
    }

    /// What tokens have said counts no longer, but that they came does.
    pub(super) fn forget_tokens(&mut self) {
        if let Some(identity) = &mut self.identity {
            **identity = Identity { verified: identity.verified, ..Identity::default() };
        }
    }

    /// Takes over what a connection token says; returns the seconds until it expires.
    fn identify(&mut self, claims: ConnectionToken, now: Now) -> Option<u32> {
        let (ends, ttl) = expiry(claims.expires_at, now);
        let identity = self.identity.get_or_insert_default();
        identity.user = claims.user;
        identity.info = claims.info;
        identity.ends = ends;
        ttl
    }

    /// Ends what has expired: the connection, or single subscriptions.
    pub(super) fn expire(&mut self, link: &mut Link<'_>) -> Result<(), Goodbye> {
        let ends = self.identity.as_ref().and_then(|identity| identity.ends);
        if ends.is_some_and(|ends| ends <= link.now.monotonic) {
            return Err(DisconnectCode::Expired.into());
        }
        self.expire_subscriptions(link);
        Ok(())
    }

    /// How the client appears to others, in general or in one channel.
    pub(super) fn info(&self, channel: Option<ChannelId>, link: &Link<'_>) -> ClientInfo {
        let identity = self.identity.as_ref();
        let grant = channel.and_then(|channel| self.grant(channel));
        ClientInfo {
            client: link.settings.client_id(link.key),
            user: self.user(),
            conn_info: identity.and_then(|identity| identity.info.clone()),
            chan_info: grant.and_then(|grant| grant.info.clone()),
        }
    }

    /// What a token says about a subscribed channel.
    pub(super) fn grant(&self, channel: ChannelId) -> Option<&Grant> {
        self.identity.as_ref()?.grants.get(&channel)
    }

    /// The user's id; empty for an anonymous one.
    pub(super) fn user(&self) -> Arc<str> {
        self.identity.as_ref().map_or_else(Arc::default, |identity| identity.user.clone())
    }
}

/// What a command is answered whose token is refused, where the connection goes on.
fn refusal(error: TokenError) -> ErrorCode {
    match error {
        TokenError::Expired => ErrorCode::TokenExpired,
        TokenError::TooMany => ErrorCode::TooManyRequests,
        TokenError::Invalid(_) => ErrorCode::PermissionDenied,
    }
}

/// When a token's grace ends as monotonic time, and the seconds until its expiry.
fn expiry(expires_at: Option<u64>, now: Now) -> (Option<Duration>, Option<u32>) {
    let ends = expires_at.map(|at| now.at(at).saturating_add(EXPIRY_GRACE));
    let ttl = expires_at.map(|at| u32::try_from(at.saturating_sub(now.unix_seconds)).unwrap_or(u32::MAX));
    (ends, ttl)
}
