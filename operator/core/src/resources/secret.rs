//! Secrets that the operator makes once, with a random value that the shell brings.

use crate::desired::Desired;
use crate::names::{GATEWAY, REDIS};
use crate::observed::{ObjectKey, ObjectKind};
use k8s_openapi::api::core::v1::Secret;
use std::collections::BTreeMap;

/// A Secret that the operator makes once, with a random value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GeneratedSecret {
    /// Password of the managed Redis.
    RedisPassword,
    /// Token of the control port.
    ControlToken,
    /// Key of the server API.
    ApiKey,
}

impl GeneratedSecret {
    /// The Secret's name.
    #[must_use]
    pub fn name(self, desired: &Desired) -> String {
        match self {
            Self::RedisPassword => desired.name.redis(),
            Self::ControlToken => desired.name.control_token(),
            Self::ApiKey => desired.name.api_key(),
        }
    }

    /// The Secret.
    #[must_use]
    pub fn object(self, desired: &Desired) -> ObjectKey {
        ObjectKey { kind: ObjectKind::Secret, name: self.name(desired) }
    }

    /// The key that holds the value.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::RedisPassword => "password",
            Self::ControlToken => "token",
            Self::ApiKey => "key",
        }
    }
}

/// Key of the Redis Secret that holds its configuration file: a password among a process's arguments could be read by others.
pub(crate) const REDIS_CONFIG: &str = "redis.conf";

/// The Secret, to be created and never changed. `value` is random, of letters and digits.
#[must_use]
pub fn generated(desired: &Desired, which: GeneratedSecret, value: &str) -> Secret {
    let app = if which == GeneratedSecret::RedisPassword { REDIS } else { GATEWAY };
    let mut data = BTreeMap::from([(which.key().to_owned(), value.to_owned())]);
    if which == GeneratedSecret::RedisPassword {
        data.insert(REDIS_CONFIG.into(), format!("requirepass {value}\n"));
    }
    Secret {
        metadata: super::metadata(desired, app, which.name(desired)),
        string_data: Some(data),
        type_: Some("Opaque".into()),
        ..Secret::default()
    }
}
