//! Key sets as who signs tokens publishes them (RFC 7517, section 5).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Key, key::is_fit};

/// Keys in a set at most; those of the largest providers have a dozen.
const MAX_KEYS: usize = 64;

/// Bytes of an RSA modulus at least: 2048 bits (RFC 7518, section 3.3).
const RSA_MODULUS: usize = 256;

/// The keys of a set that tokens may be signed with.
pub struct KeySet {
    /// At least one.
    pub keys: Vec<Key>,
    /// Those for something else, of kinds that are not understood here, too short or too long. They are passed over (RFC 7517, section 5).
    pub others: usize,
}

/// Why something is no key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not of its form.
    #[error("it is no JWK set (RFC 7517): {0}")]
    Malformed(String),
    /// More keys than are kept.
    #[error("it has {0} keys; at most {MAX_KEYS} are taken")]
    TooMany(usize),
    /// Nothing that a token could be signed with.
    #[error(
        "none of its {0} keys is one for signatures: RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519"
    )]
    NoneUsable(usize),
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// It is none, or of no use here.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let Document { keys } =
            serde_json::from_slice(text).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        let found = keys.len();
        if found > MAX_KEYS {
            return Err(KeySetError::TooMany(found));
        }
        let keys: Vec<_> = keys.into_iter().filter_map(|key| usable(key.get())).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(found));
        }
        Ok(Self { others: found - keys.len(), keys })
    }
}

/// A key that verifies signatures. Never a symmetric one: who can read it could sign.
fn usable(text: &str) -> Option<Key> {
    let jwk: Jwk = serde_json::from_str(text).ok()?;
    let is_for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && jwk.common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
    if !is_for_signatures {
        return None;
    }
    let mut algorithms = algorithms(&jwk.algorithm)?;
    if let Some(only) = jwk.common.key_algorithm {
        let only = Algorithm::try_from(only).ok()?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    if algorithms.is_empty() {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok().filter(is_fit)?;
    Some(Key::published(jwk.common.key_id, decoding, algorithms))
}

/// What a key of a kind that is understood here can verify.
fn algorithms(parameters: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    let length = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().map(|bytes| bytes.len());
    match parameters {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            let modulus = modulus.iter().skip_while(|byte| **byte == 0).count();
            (modulus >= RSA_MODULUS).then(|| {
                let of_pkcs = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
                of_pkcs.into_iter().chain([Algorithm::PS256, Algorithm::PS384, Algorithm::PS512]).collect()
            })
        }
        AlgorithmParameters::EllipticCurve(ec) => {
            let (bytes, algorithm) = match ec.curve {
                EllipticCurve::P256 => (32, Algorithm::ES256),
                EllipticCurve::P384 => (48, Algorithm::ES384),
                _ => return None,
            };
            (length(&ec.x)? == bytes && length(&ec.y)? == bytes).then(|| vec![algorithm])
        }
        AlgorithmParameters::OctetKeyPair(pair) => {
            let is_whole = pair.curve == EllipticCurve::Ed25519 && length(&pair.x)? == 32;
            is_whole.then(|| vec![Algorithm::EdDSA])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
