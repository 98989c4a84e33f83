//! Secrets, read one by one. They are not watched, so what was found is read again from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use operator_core::refusal::Refusal;
use tokio::time::Instant;

use crate::error::Error;
use crate::kubernetes::call;

/// How long a Secret that was found is taken to be still there. A missing one is looked for at each pass.
const RECHECK: Duration = Duration::from_secs(30);

/// Secrets of one cluster, as last read.
#[derive(Default)]
pub struct Secrets {
    found: BTreeMap<String, Found>,
    refused: BTreeMap<String, Refusal>,
}

struct Found {
    metadata: ObjectMeta,
    keys: BTreeMap<String, ByteString>,
    at: Instant,
}

impl Secrets {
    /// Reads those of the named Secrets that are due; forgets all others. One that was read once, and may not be read now, is as it
    /// was.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn refresh(
        &mut self,
        client: &Client,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<(), Error> {
        self.found.retain(|name, _| names.contains(name));
        self.refused.clear();
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for name in names {
            if self.found.get(name).is_some_and(|found| found.at.elapsed() < RECHECK) {
                continue;
            }
            match call(|| format!("read Secret {namespace}/{name}"), api.get_opt(name)).await {
                Ok(Some(secret)) => {
                    let owners = secret.metadata.owner_references;
                    let metadata = ObjectMeta { owner_references: owners, ..ObjectMeta::default() };
                    let found = Found { metadata, keys: secret.data.unwrap_or_default(), at: Instant::now() };
                    self.found.insert(name.clone(), found);
                }
                Ok(None) => drop(self.found.remove(name)),
                Err(error) => {
                    let refusal = error.refusal().ok_or(error)?;
                    self.refused.insert(name.clone(), refusal);
                }
            }
        }
        Ok(())
    }

    /// Secrets that could not be read, and why.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<String, Refusal> {
        &self.refused
    }

    /// Of a Secret that exists, whose it is.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&ObjectMeta> {
        self.found.get(name).map(|found| &found.metadata)
    }

    /// The value of a key, if it is there and not empty.
    #[must_use]
    pub fn value(&self, name: &str, key: &str) -> Option<&[u8]> {
        self.found.get(name)?.keys.get(key).map(|value| value.0.as_slice()).filter(|value| !value.is_empty())
    }
}
