//! Tokens whose signature has been looked at: what they are good for, and when.

use std::{collections::BTreeMap, fmt};

use super::{
    ConnectionToken, EntryToken, Flaw, ServerSubscription, SubscriptionToken, TokenError,
    claims::{Claims, document},
};
use crate::{centrifuge::command::valid_channel, rights::ChannelName, time::Now};

/// How far the clock of who signs may be ahead: a token that is valid from now on is valid at once.
const LEEWAY_SECONDS: f64 = 10.0;

/// A token and what came of checking it.
pub struct CheckedToken {
    token: Box<str>,
    claims: Result<Box<Claims>, TokenError>,
}

impl fmt::Debug for CheckedToken {
    /// A token is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckedToken")
    }
}

impl CheckedToken {
    pub(super) fn new(token: &str, claims: Result<Claims, TokenError>) -> Self {
        Self { token: token.into(), claims: claims.map(Box::new) }
    }

    /// One that could not be checked, for want of time.
    #[must_use]
    pub fn postponed(token: &str) -> Self {
        Self::new(token, Err(TokenError::TooMany))
    }

    /// Whether it is this token.
    #[must_use]
    pub fn is(&self, token: &str) -> bool {
        *self.token == *token
    }

    /// Whether no key of ours has signed it, or not for here: see [`TokenError::is_charged`].
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.claims.as_ref().is_err_and(|error| error.is_charged())
    }

    /// As a connection token.
    ///
    /// # Errors
    /// It is expired or invalid.
    pub fn connection(self, now: Now) -> Result<ConnectionToken, TokenError> {
        let claims = self.valid(now)?;
        if claims.channel.is_some() {
            return Err(TokenError::Invalid(Flaw::Purpose));
        }
        let mut subscriptions = BTreeMap::new();
        for channel in &claims.channels {
            subscriptions.insert(channel.as_str(), (None, None));
        }
        for (channel, options) in &claims.subs {
            let info = document(options.info.as_deref(), options.b64info.as_deref())?;
            let data = document(options.data.as_deref(), options.b64data.as_deref())?;
            subscriptions.insert(channel.as_str(), (info, data));
        }
        if !subscriptions.keys().all(|channel| valid_channel(channel)) {
            return Err(TokenError::Invalid(Flaw::Channel));
        }
        let subscriptions = subscriptions
            .into_iter()
            .map(|(channel, (info, data))| ServerSubscription { channel: channel.into(), info, data })
            .collect();
        Ok(ConnectionToken {
            id: claims.jti.clone(),
            info: claims.info()?,
            expires_at: claims.expires_at(now)?,
            user: claims.sub.into(),
            subscriptions,
        })
    }

    /// As a subscription token of `user` for `channel`.
    ///
    /// # Errors
    /// It is expired, invalid, or another user's or channel's.
    pub fn subscription(self, channel: &str, user: &str, now: Now) -> Result<SubscriptionToken, TokenError> {
        let claims = self.valid(now)?;
        if claims.channel.as_deref() != Some(channel) {
            return Err(TokenError::Invalid(Flaw::Channel));
        }
        if claims.sub != user {
            return Err(TokenError::Invalid(Flaw::User));
        }
        Ok(SubscriptionToken { info: claims.info()?, expires_at: claims.expires_at(now)?, id: claims.jti })
    }

    /// As the token of a client that has one channel and nothing else: a subscription token for it, or a connection token of a
    /// user whom it admits.
    ///
    /// # Errors
    /// It is expired, invalid, or for other channels.
    pub fn entry(self, channel: &str, now: Now) -> Result<EntryToken, TokenError> {
        let claims = self.valid(now)?;
        let admitted = match &claims.channel {
            Some(named) => named == channel,
            None => ChannelName::of(channel).admits(&claims.sub),
        };
        if !admitted {
            return Err(TokenError::Invalid(Flaw::Channel));
        }
        Ok(EntryToken {
            id: claims.jti.clone(),
            expires_at: claims.expires_at(now)?,
            names_channel: claims.channel.is_some(),
            user: claims.sub.into(),
        })
    }

    fn valid(self, now: Now) -> Result<Claims, TokenError> {
        let claims = self.claims?;
        let seconds = now.unix_seconds as f64;
        if claims.nbf.is_some_and(|nbf| seconds + LEEWAY_SECONDS < nbf) {
            return Err(TokenError::Invalid(Flaw::NotYetValid));
        }
        if claims.exp.is_some_and(|exp| seconds >= exp) {
            return Err(TokenError::Expired);
        }
        Ok(*claims)
    }
}
