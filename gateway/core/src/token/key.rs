//! Keys that tokens are verified with.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, crypto};
use rsa::{BigUint, RsaPublicKey, pkcs1::DecodeRsaPublicKey as _};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// A key that tokens may be signed with. Its kind alone says which algorithms it verifies, never the token: an RSA or EC key cannot
/// serve as an HMAC secret (RFC 8725, section 3.1), and an unsigned token is verified by none.
#[derive(Clone)]
pub struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
    origin: Origin,
}

/// Where a key is from.
#[derive(Clone, PartialEq, Eq)]
enum Origin {
    /// Whoever started the gateway gave it.
    Given,
    /// Published in a key set, by this name if it has one (`kid`).
    Published(Option<String>),
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No secret at all would let everybody sign.
    #[error("the HMAC secret is empty; put at least 32 random bytes into it")]
    EmptySecret,
    /// Not a PEM of public keys, or of another kind.
    #[error(
        "not a PEM-encoded RSA, EC or Ed25519 public key; each should start with -----BEGIN PUBLIC KEY-----"
    )]
    NotAPublicKey,
    /// One of RSA that is too long to verify with, or a point that is on no curve.
    #[error(
        "no token can be verified with this key; take RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519"
    )]
    UnfitKey,
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

    /// Public keys in PEM, one after the other: RSA (RS256 to RS512, PS256 to PS512), EC on P-256 (ES256) or P-384 (ES384), Ed25519
    /// (EdDSA).
    ///
    /// # Errors
    /// One of them is no such key, or there is none.
    pub fn public(pem: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut rest = std::str::from_utf8(pem).map_err(|_| KeyError::NotAPublicKey)?;
        let mut keys = Vec::new();
        while !rest.trim_ascii().is_empty() {
            let (block, after) = first_block(rest).ok_or(KeyError::NotAPublicKey)?;
            keys.push(Self::parse(block)?);
            rest = after;
        }
        if keys.is_empty() { Err(KeyError::NotAPublicKey) } else { Ok(keys) }
    }

    fn parse(pem: &str) -> Result<Self, KeyError> {
        // The parser takes private keys as well, but that none should be here is worth saying.
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::NotAPublicKey);
        }
        let pem = pem.as_bytes();
        let decoding = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| KeyError::NotAPublicKey)?;
        if is_fit(&decoding) { Ok(Self::new(decoding)) } else { Err(KeyError::UnfitKey) }
    }

    /// A key of a key set, for these algorithms of its family.
    pub(super) fn published(id: Option<String>, decoding: DecodingKey, algorithms: Vec<Algorithm>) -> Self {
        let mut key = Self { origin: Origin::Published(id), ..Self::new(decoding) };
        key.validation.algorithms = algorithms;
        key
    }

    fn new(decoding: DecodingKey) -> Self {
        let mut validation = Validation::new_for_family(decoding.family());
        // Signature and algorithm are all that is left to the library: it would read the system's clock for the rest.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        Self { decoding, validation, origin: Origin::Given }
    }

    pub(super) fn is_published(&self) -> bool {
        self.origin != Origin::Given
    }

    /// The name that tokens call it by.
    pub(super) fn id(&self) -> Option<&str> {
        match &self.origin {
            Origin::Published(id) => id.as_deref(),
            Origin::Given => None,
        }
    }

    pub(super) fn family(&self) -> AlgorithmFamily {
        self.decoding.family()
    }
}

/// Whether tokens can be verified with a key. It is read anew for each of them: one of RSA is refused then if it is longer than 4096 bits,
/// and a point of another kind if it is not on its curve.
pub(super) fn is_fit(key: &DecodingKey) -> bool {
    let reads = |algorithm: &Algorithm| crypto::verify("", b"", key, *algorithm).is_ok();
    if !key.family().algorithms().iter().any(reads) {
        return false;
    }
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKey::new(BigUint::from_bytes_be(n), BigUint::from_bytes_be(e)).is_ok()
        }
        DecodingKeyKind::SecretOrDer(der) => {
            key.family() != AlgorithmFamily::Rsa || RsaPublicKey::from_pkcs1_der(der).is_ok()
        }
    }
}

/// Splits after the first block; what stands before it, like a certificate's description, belongs to it.
fn first_block(pem: &str) -> Option<(&str, &str)> {
    let end = pem.find(END)?;
    pem[..end].contains(BEGIN).then_some(())?;
    let line = pem[end..].find('\n').map_or(pem.len(), |newline| end + newline + 1);
    Some(pem.split_at(line))
}
