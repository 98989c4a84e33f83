//! Who may connect, and by which keys.

use super::{Invalid, Secrets, secret};
use crate::crd;
use gateway_core::config::{self, Jwks};
use gateway_core::policy::MOST_REVOKED;
use std::collections::BTreeSet;

/// Bytes of a token's `jti`.
const LONGEST_ID: usize = 253;

/// What gateways are told of it.
pub(super) fn entrants(given: &crd::Auth) -> Result<config::Auth, Invalid> {
    if !given.anonymous && given.jwt.is_none() {
        return Err(Invalid::NobodyCanConnect);
    }
    let jwt = given.jwt.as_ref();
    Ok(config::Auth {
        anonymous: given.anonymous,
        audience: jwt.and_then(|jwt| jwt.audience.clone()),
        issuer: jwt.and_then(|jwt| jwt.issuer.clone()),
        jwks: jwt.and_then(|jwt| jwt.jwks.as_ref()).map(jwks).transpose()?,
        revoked_tokens: jwt.map(|jwt| revoked(&jwt.revoked_tokens)).transpose()?.unwrap_or_default(),
    })
}

fn jwks(given: &crd::Jwks) -> Result<Jwks, Invalid> {
    let jwks = Jwks { url: given.url.clone(), allow_http: given.allow_http };
    match jwks.check() {
        Ok(()) => Ok(jwks),
        Err(remedy) => Err(Invalid::JwksUrl { url: given.url.clone(), remedy }),
    }
}

/// How long the whole list may be is a matter of the configuration.
fn revoked(given: &[String]) -> Result<BTreeSet<String>, Invalid> {
    if given.len() > MOST_REVOKED {
        return Err(Invalid::RevokedTokens { count: given.len(), most: MOST_REVOKED });
    }
    // As they are, in quotation marks, they are JSON.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let is_id = |id: &String| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_plain);
    match given.iter().find(|id| !is_id(id)) {
        Some(id) => Err(Invalid::RevokedToken { id: id.clone() }),
        None => Ok(given.iter().cloned().collect()),
    }
}

/// What gateways are given of it in files.
pub(super) fn secrets(auth: &crd::Auth) -> Result<Secrets, Invalid> {
    if let Some(jwt) = &auth.jwt {
        match (&jwt.hmac_secret_ref, &jwt.public_key_secret_ref) {
            (Some(_), Some(_)) => return Err(Invalid::TwoJwtKeys),
            (None, None) if jwt.jwks.is_none() => return Err(Invalid::NoJwtKey),
            _ => {}
        }
    }
    let jwt = auth.jwt.clone().unwrap_or_default();
    let jwks_ca = jwt.jwks.as_ref().and_then(|jwks| jwks.ca_secret_ref.as_ref());
    Ok(Secrets {
        jwt_hmac: secret("spec.auth.jwt.hmacSecretRef", jwt.hmac_secret_ref.as_ref())?,
        jwt_public_key: secret("spec.auth.jwt.publicKeySecretRef", jwt.public_key_secret_ref.as_ref())?,
        jwks_ca: secret("spec.auth.jwt.jwks.caSecretRef", jwks_ca)?,
        api_key: secret("spec.auth.apiKeySecretRef", auth.api_key_secret_ref.as_ref())?,
    })
}
