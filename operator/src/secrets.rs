//! Secrets, read one by one. They are not watched, so what was found is read again from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::error::Error;
use crate::kubernetes::call;

/// How long a Secret that was found is taken to be still there. A missing one is looked for at each pass.
const RECHECK: Duration = Duration::from_secs(30);

/// Secrets of one cluster, as last read.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, Found>);

struct Found {
    keys: BTreeMap<String, ByteString>,
    at: Instant,
}

impl Secrets {
    /// Reads those of the named Secrets that are due; forgets all others.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn refresh(
        &mut self,
        client: &Client,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<(), Error> {
        self.0.retain(|name, found| names.contains(name) && found.at.elapsed() < RECHECK);
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for name in names {
            if self.0.contains_key(name) {
                continue;
            }
            let secret = call(|| format!("read Secret {namespace}/{name}"), api.get_opt(name)).await?;
            if let Some(secret) = secret {
                let found = Found { keys: secret.data.unwrap_or_default(), at: Instant::now() };
                self.0.insert(name.clone(), found);
            }
        }
        Ok(())
    }

    /// Whether a Secret exists.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of a key, if it is there and not empty.
    #[must_use]
    pub fn value(&self, name: &str, key: &str) -> Option<&[u8]> {
        self.0.get(name)?.keys.get(key).map(|value| value.0.as_slice()).filter(|value| !value.is_empty())
    }
}
