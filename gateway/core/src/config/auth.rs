//! Who may connect, and whose word for that counts.

use std::{collections::BTreeSet, net::IpAddr};

use http::Uri;
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Auth {
    /// Clients without a token may connect.
    pub anonymous: bool,
    /// Required `aud` of tokens.
    pub audience: Option<String>,
    /// Required `iss` of tokens.
    pub issuer: Option<String>,
    /// Keys of tokens that are fetched, besides those of the gateway's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Jwks>,
    /// Tokens that count no longer although they have not expired, by their `jti`. Who is connected or subscribed with one is sent away.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_tokens: BTreeSet<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { anonymous: true, audience: None, issuer: None, jwks: None, revoked_tokens: BTreeSet::new() }
    }
}

/// A key set (RFC 7517) that is fetched from where who signs tokens publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Jwks {
    /// Like `https://login.example.com/.well-known/jwks.json`.
    pub url: String,
    /// The URL may be `http://` although it is not of this machine: whoever is between can let in whom he likes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_http: bool,
}

impl Jwks {
    /// Whether keys can be fetched from there.
    ///
    /// # Errors
    /// They can't; what helps.
    pub fn check(&self) -> Result<(), &'static str> {
        const FORM: &str = "write it like https://login.example.com/.well-known/jwks.json, without a user, a password or a #";
        let url: Uri = self.url.parse().map_err(|_| FORM)?;
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(FORM)?;
        // One that is no number, or too large a one, would be as if it were not there.
        let has_odd_port = authority.port_u16().is_none() && authority.as_str() != authority.host();
        if authority.host().is_empty() || has_odd_port || self.url.contains('#') {
            return Err(FORM);
        }
        match url.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_http || is_loopback(authority.host()) => Ok(()),
            Some("http") => {
                Err("over http whoever is between could let in whom he likes: write https, or set allowHttp")
            }
            _ => Err(FORM),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
