//! What tokens say.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Flaw, TokenError};
use crate::time::Now;

/// The claims that mean something here; null is the same as nothing. Dates are RFC 7519's NumericDate, which may have fractions.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    #[serde(deserialize_with = "or_default")]
    pub(super) sub: String,
    pub(super) exp: Option<f64>,
    pub(super) nbf: Option<f64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) aud: Audience,
    pub(super) iss: Option<String>,
    pub(super) jti: Option<Arc<str>>,
    expire_at: Option<f64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) channels: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) subs: BTreeMap<String, SubscriptionClaims>,
    pub(super) channel: Option<String>,
}

/// One string or many (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SubscriptionClaims {
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: Option<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: Option<String>,
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audience {
    pub(super) fn includes(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

impl Claims {
    pub(super) fn info(&self) -> Result<Option<Bytes>, TokenError> {
        document(self.info.as_deref(), self.b64info.as_deref())
    }

    /// `expire_at` takes the place of `exp`, and 0 there means never.
    pub(super) fn expires_at(&self, now: Now) -> Result<Option<u64>, TokenError> {
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
pub(super) fn document(plain: Option<&RawValue>, base64: Option<&str>) -> Result<Option<Bytes>, TokenError> {
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

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
