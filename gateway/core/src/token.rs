//! Verification of connection and subscription tokens: JWTs with the claims of
//! <https://centrifugal.dev/docs/server/authentication> and <https://centrifugal.dev/docs/server/channel_token_auth>.

mod checked;
mod claims;
mod key;
mod key_set;
mod meter;
mod refresh;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Header, errors::ErrorKind};
use serde_json::value::RawValue;

use self::claims::Claims;
pub use self::{
    checked::CheckedToken,
    key::{Key, KeyError},
    key_set::{KeySet, KeySetError},
    meter::Meter,
    refresh::Refresh,
};
use crate::config::Auth;

/// Keys that one token is tried with at most: to try them all would be work that anybody can ask for.
const TRIED: usize = 16;

/// How much longer a try takes with a key on P-384 than with one on P-256.
const EFFORT_OF_P384: usize = 4;

/// Verifies the tokens of one gateway.
pub struct Verifier {
    keys: Vec<Key>,
    key_set: Expectation,
    audience: Option<String>,
    issuer: Option<String>,
    revoked: BTreeSet<String>,
}

/// What is known of the key set that the configuration names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expectation {
    /// It names none.
    None,
    /// Nothing yet.
    Awaited,
    /// Its keys, to which others may come.
    Known,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Error 109: the client fetches a new one.
    #[error("the token is expired")]
    Expired,
    /// Error 111: the client has had too many tokens verified of late, and comes again later.
    #[error("too many tokens were brought of late; try again later")]
    TooMany,
    /// Not yet: the command that brought it is handled once it has been checked on another thread.
    #[error("the token is being checked")]
    Unchecked,
    /// Error 100: it names a key that the key set may have by now, so that the client comes again in a moment.
    #[error("the token names a key that is not known here yet; try again in a moment")]
    UnknownKey {
        /// Keys without a name were tried in vain.
        is_tried: bool,
    },
    /// Disconnect 3500: another try would end the same.
    #[error("the token is invalid: {0}")]
    Invalid(Flaw),
}

impl TokenError {
    /// Whether the address of who brought the token is charged with it. Whoever names a key that is still to come is not, unless that
    /// name alone would have keys tried for nothing.
    #[must_use]
    pub fn is_charged(self) -> bool {
        matches!(self, Self::Invalid(_) | Self::UnknownKey { is_tried: true })
    }
}

/// What is wrong with an invalid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not a JWT, or claims of another type than expected.
    #[error("it is malformed")]
    Malformed,
    /// Not signed by a configured key.
    #[error("no configured key has signed it")]
    Signature,
    /// `crit` (RFC 7515, section 4.1.11) or `b64` (RFC 7797).
    #[error("its header asks for extensions that are not understood here")]
    Extension,
    /// `nbf`.
    #[error("it is not valid yet")]
    NotYetValid,
    /// `jti`, as the configuration says.
    #[error("it has been revoked")]
    Revoked,
    /// `aud`.
    #[error("it is for another audience")]
    Audience,
    /// `iss`.
    #[error("it is from another issuer")]
    Issuer,
    /// It has a `channel`, and so is no connection token.
    #[error("it is a subscription token; a connection needs one without channel")]
    Purpose,
    /// `channel`, or a name among `channels` or `subs` that no channel can have.
    #[error("it is for another channel")]
    Channel,
    /// `sub` of a subscription token.
    #[error("it is for another user")]
    User,
}

/// What a connection token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionToken {
    /// Its name from `jti`.
    pub id: Option<Arc<str>>,
    /// The user's id from `sub`; empty for an anonymous user.
    pub user: Arc<str>,
    /// JSON for presence, joins and publications.
    pub info: Option<Bytes>,
    /// When the connection ends unless refreshed, in seconds since the Unix epoch; later than now.
    pub expires_at: Option<u64>,
    /// Server-side subscriptions, each channel once, from `channels` and `subs`.
    pub subscriptions: Vec<ServerSubscription>,
}

/// A channel that a connection token subscribes its client to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSubscription {
    /// The channel.
    pub channel: Arc<str>,
    /// JSON for presence and joins of this channel.
    pub info: Option<Bytes>,
    /// JSON for the client.
    pub data: Option<Bytes>,
}

/// What a subscription token says, beyond the channel and user it was verified for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionToken {
    /// Its name from `jti`.
    pub id: Option<Arc<str>>,
    /// JSON for presence and joins of this channel.
    pub info: Option<Bytes>,
    /// When the subscription ends unless refreshed, in seconds since the Unix epoch; later than now.
    pub expires_at: Option<u64>,
}

/// What the token of a client says that has one channel and nothing else, beyond that it admits it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryToken {
    /// Its name from `jti`.
    pub id: Option<Arc<str>>,
    /// The user's id from `sub`; empty for an anonymous user.
    pub user: Arc<str>,
    /// When the connection ends, in seconds since the Unix epoch; later than now.
    pub expires_at: Option<u64>,
    /// It is a subscription token for the channel.
    pub names_channel: bool,
}

impl Verifier {
    /// A token is good that one of the keys of the kind its algorithm asks for has signed, so that keys can overlap while they are
    /// exchanged; without keys every one is refused.
    #[must_use]
    pub fn new(keys: Vec<Key>, auth: &Auth) -> Self {
        let key_set = match &auth.jwks {
            None => Expectation::None,
            Some(_) if keys.iter().any(Key::is_published) => Expectation::Known,
            Some(_) => Expectation::Awaited,
        };
        Self {
            keys,
            key_set,
            audience: auth.audience.clone(),
            issuer: auth.issuer.clone(),
            revoked: auth.revoked_tokens.clone(),
        }
    }

    /// Whether to check a token may take up to a millisecond, as with every public key.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.keys.iter().any(|key| key.family() != AlgorithmFamily::Hmac)
    }

    /// How long the check of a token may take, in tries with a key on P-256.
    #[must_use]
    pub fn effort(&self, token: &str) -> usize {
        let Ok(header) = jsonwebtoken::decode_header(token) else { return 1 };
        let each = if header.alg == Algorithm::ES384 { EFFORT_OF_P384 } else { 1 };
        (self.candidates(&header).count() * each).max(1)
    }

    /// Checks what does not depend on when and for what a token is used, the signature above all. That may take long: see
    /// [`Verifier::is_slow`].
    #[must_use]
    pub fn check(&self, token: &str) -> CheckedToken {
        CheckedToken::new(token, self.claims(token))
    }

    fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        let claims: Claims = serde_json::from_str(self.signed(token)?.get())
            .map_err(|_| TokenError::Invalid(Flaw::Malformed))?;
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err(TokenError::Invalid(Flaw::Issuer));
        }
        if self.audience.as_ref().is_some_and(|audience| !claims.aud.includes(audience)) {
            return Err(TokenError::Invalid(Flaw::Audience));
        }
        if claims.jti.as_deref().is_some_and(|id| self.revoked.contains(id)) {
            return Err(TokenError::Invalid(Flaw::Revoked));
        }
        Ok(claims)
    }

    /// The claims of a token that one of the keys has signed.
    fn signed(&self, token: &str) -> Result<Box<RawValue>, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid(Flaw::Malformed))?;
        // RFC 7797, section 6: with `b64` the signed bytes are others.
        if header.crit.is_some() || header.extras.inner().contains_key("b64") {
            return Err(TokenError::Invalid(Flaw::Extension));
        }
        let mut is_tried = false;
        for key in self.candidates(&header) {
            is_tried = true;
            match jsonwebtoken::decode(token, &key.decoding, &key.validation) {
                Ok(token) => return Ok(token.claims),
                // Claims are read once the signature is found to be good.
                Err(error) if matches!(error.kind(), ErrorKind::Json(_)) => {
                    return Err(TokenError::Invalid(Flaw::Malformed));
                }
                Err(_) => {}
            }
        }
        let is_missing = match self.key_set {
            // No set has secrets.
            _ if header.alg.family() == AlgorithmFamily::Hmac => false,
            Expectation::None => false,
            Expectation::Awaited => true,
            Expectation::Known => header.kid.is_some() && !self.keys.iter().any(|key| is_named(key, &header)),
        };
        Err(if is_missing {
            TokenError::UnknownKey { is_tried }
        } else {
            TokenError::Invalid(Flaw::Signature)
        })
    }

    /// The keys that a token is tried with: first those that it names.
    fn candidates<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a Key> {
        let of_family = || self.keys.iter().filter(|key| key.family() == header.alg.family());
        // A token need not name its key, nor has every key a name.
        let nameless = |key: &&Key| key.id().is_none() || header.kid.is_none();
        of_family().filter(|key| is_named(key, header)).chain(of_family().filter(nameless)).take(TRIED)
    }
}

/// Whether a token names this key.
fn is_named(key: &Key, header: &Header) -> bool {
    key.id().is_some() && key.id() == header.kid.as_deref()
}

#[cfg(test)]
mod tests;
