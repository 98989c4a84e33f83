//! Verification of connection and subscription tokens: JWTs with the claims of
//! <https://centrifugal.dev/docs/server/authentication> and <https://centrifugal.dev/docs/server/channel_token_auth>.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{centrifuge::command::valid_channel, config::Auth, time::Now};

/// A key that tokens may be signed with. Its kind alone says which algorithms it verifies, never the token: an RSA or EC key cannot
/// serve as an HMAC secret (RFC 8725, section 3.1), and an unsigned token is verified by none.
pub struct Key {
    decoding: DecodingKey,
    validation: Validation,
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No secret at all would let everybody sign.
    #[error("the HMAC secret is empty; put at least 32 random bytes into it")]
    EmptySecret,
    /// Not a PEM of a public key, or of another kind.
    #[error("not a PEM-encoded RSA or EC public key; it should start with -----BEGIN PUBLIC KEY-----")]
    NotAPublicKey,
}

impl Key {
    /// A secret shared with whoever signs: HS256, HS384, HS512.
    ///
    /// # Errors
    /// The secret is empty.
    pub fn hmac(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() {
            Err(KeyError::EmptySecret)
        } else {
            Ok(Self::new(DecodingKey::from_secret(secret)))
        }
    }

    /// A public key in PEM: RSA (RS256 to RS512, PS256 to PS512), or EC on P-256 (ES256) or P-384 (ES384).
    ///
    /// # Errors
    /// It is not such a key.
    pub fn public(pem: &[u8]) -> Result<Self, KeyError> {
        // The parser takes private keys as well, but that none should be here is worth saying.
        if pem.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(KeyError::NotAPublicKey);
        }
        DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .map(Self::new)
            .map_err(|_| KeyError::NotAPublicKey)
    }

    fn new(decoding: DecodingKey) -> Self {
        let mut validation = Validation::new_for_family(decoding.family());
        // Signature and algorithm are all that is left to the library: it would read the system's clock for the rest.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        Self { decoding, validation }
    }

    fn family(&self) -> AlgorithmFamily {
        self.decoding.family()
    }
}

/// Verifies the tokens of one gateway.
pub struct Verifier {
    keys: Vec<Key>,
    audience: Option<String>,
    issuer: Option<String>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Error 109: the client fetches a new one.
    #[error("the token is expired")]
    Expired,
    /// Disconnect 3500: another try would end the same.
    #[error("the token is invalid: {0}")]
    Invalid(Flaw),
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
    /// `crit` (RFC 7515, section 4.1.11).
    #[error("its header asks for extensions that are not understood here")]
    Extension,
    /// `nbf`.
    #[error("it is not valid yet")]
    NotYetValid,
    /// `aud`.
    #[error("it is for another audience")]
    Audience,
    /// `iss`.
    #[error("it is from another issuer")]
    Issuer,
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
    /// JSON for presence and joins of this channel.
    pub info: Option<Bytes>,
    /// When the subscription ends unless refreshed, in seconds since the Unix epoch; later than now.
    pub expires_at: Option<u64>,
}

impl Verifier {
    /// With several keys a token is verified by the first of the kind that its algorithm asks for; without keys every one is refused.
    #[must_use]
    pub fn new(keys: Vec<Key>, auth: &Auth) -> Self {
        Self { keys, audience: auth.audience.clone(), issuer: auth.issuer.clone() }
    }

    /// Verifies a connection token.
    ///
    /// # Errors
    /// It is expired or invalid.
    pub fn connection(&self, token: &str, now: Now) -> Result<ConnectionToken, TokenError> {
        let claims = self.claims(token, now)?;
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
            info: claims.info()?,
            expires_at: claims.expires_at(now)?,
            user: claims.sub.into(),
            subscriptions,
        })
    }

    /// Verifies a subscription token of `user` for `channel`.
    ///
    /// # Errors
    /// It is expired, invalid, or another user's or channel's.
    pub fn subscription(
        &self,
        token: &str,
        channel: &str,
        user: &str,
        now: Now,
    ) -> Result<SubscriptionToken, TokenError> {
        let claims = self.claims(token, now)?;
        if claims.channel.as_deref() != Some(channel) {
            return Err(TokenError::Invalid(Flaw::Channel));
        }
        if claims.sub != user {
            return Err(TokenError::Invalid(Flaw::User));
        }
        Ok(SubscriptionToken { info: claims.info()?, expires_at: claims.expires_at(now)? })
    }

    fn claims(&self, token: &str, now: Now) -> Result<Claims, TokenError> {
        let malformed = |_| TokenError::Invalid(Flaw::Malformed);
        let header = jsonwebtoken::decode_header(token).map_err(malformed)?;
        let key = self.keys.iter().find(|key| key.family() == header.alg.family());
        let key = key.ok_or(TokenError::Invalid(Flaw::Signature))?;
        let claims = jsonwebtoken::decode::<Box<RawValue>>(token, &key.decoding, &key.validation)
            .map_err(|error| match error.kind() {
                // Claims are read once the signature is found to be good.
                ErrorKind::Json(_) => TokenError::Invalid(Flaw::Malformed),
                _ => TokenError::Invalid(Flaw::Signature),
            })?
            .claims;
        if header.crit.is_some() {
            return Err(TokenError::Invalid(Flaw::Extension));
        }
        let claims: Claims =
            serde_json::from_str(claims.get()).map_err(|_| TokenError::Invalid(Flaw::Malformed))?;
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err(TokenError::Invalid(Flaw::Issuer));
        }
        if self.audience.as_ref().is_some_and(|audience| !claims.aud.includes(audience)) {
            return Err(TokenError::Invalid(Flaw::Audience));
        }
        let seconds = now.unix_seconds as f64;
        if claims.nbf.is_some_and(|nbf| seconds < nbf) {
            return Err(TokenError::Invalid(Flaw::NotYetValid));
        }
        if claims.exp.is_some_and(|exp| seconds >= exp) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

/// The claims that mean something here. Dates are RFC 7519's NumericDate, which may have fractions.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: String,
    exp: Option<f64>,
    nbf: Option<f64>,
    aud: Audience,
    iss: Option<String>,
    expire_at: Option<f64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    channels: Vec<String>,
    subs: BTreeMap<String, SubscriptionClaims>,
    channel: Option<String>,
}

/// One string or many (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubscriptionClaims {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audience {
    fn includes(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

impl Claims {
    fn info(&self) -> Result<Option<Bytes>, TokenError> {
        document(self.info.as_deref(), self.b64info.as_deref())
    }

    /// `expire_at` takes the place of `exp`, and 0 there means never.
    fn expires_at(&self, now: Now) -> Result<Option<u64>, TokenError> {
        if self.expire_at == Some(0.0) {
            return Ok(None);
        }
        match self.expire_at.or(self.exp).map(|seconds| seconds as u64) {
            Some(at) if at <= now.unix_seconds => Err(TokenError::Expired),
            at => Ok(at),
        }
    }
}

/// A JSON document given as such, or as base64 of one.
fn document(plain: Option<&RawValue>, base64: Option<&str>) -> Result<Option<Bytes>, TokenError> {
    let malformed = TokenError::Invalid(Flaw::Malformed);
    match (plain, base64) {
        (Some(document), _) => Ok(Some(Bytes::copy_from_slice(document.get().as_bytes()))),
        (None, None | Some("")) => Ok(None),
        (None, Some(base64)) => {
            let document = STANDARD.decode(base64).map_err(|_| malformed)?;
            serde_json::from_slice::<&RawValue>(&document).map_err(|_| malformed)?;
            Ok(Some(document.into()))
        }
    }
}

#[cfg(test)]
mod tests;
