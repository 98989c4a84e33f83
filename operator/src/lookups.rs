//! Objects looked up by their names: the watches show only what bears our labels, and a name may be another's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::api::DynamicObject;
use kube::{Api, Client};
use operator_core::observed::ObjectKey;
use tokio::time::Instant;

use crate::error::Error;
use crate::kubernetes::call;
use crate::watches::api_resource;

/// How long an answer holds. Nobody tells us when another's object goes, and a write asks by itself.
const RECHECK: Duration = Duration::from_secs(10);
/// Objects of one cluster looked up at once.
const AT_ONCE: usize = 16;

/// Objects of one cluster's namespace, as last looked up.
#[derive(Debug, Default)]
pub struct Lookups(BTreeMap<ObjectKey, Found>);

#[derive(Debug)]
struct Found {
    object: Result<Option<DynamicObject>, Error>,
    at: Instant,
}

impl Lookups {
    /// Looks up those of the named objects that are due; forgets all others.
    pub async fn refresh(&mut self, client: &Client, namespace: &str, keys: &BTreeSet<ObjectKey>) {
        self.0.retain(|key, found| keys.contains(key) && found.at.elapsed() < RECHECK);
        let due: Vec<_> = keys.iter().filter(|key| !self.0.contains_key(*key)).cloned().collect();
        let questions = stream::iter(due).map(|key| async move {
            let object = look_up(client, namespace, &key).await;
            (key, Found { object, at: Instant::now() })
        });
        let answers: Vec<_> = questions.buffer_unordered(AT_ONCE).collect().await;
        self.0.extend(answers);
    }

    /// The object, nothing if there is none of that name, or why that is not known.
    ///
    /// # Errors
    /// When the API server did not say, or was not asked.
    pub fn get(&self, key: &ObjectKey) -> Result<Option<&DynamicObject>, Option<&Error>> {
        match self.0.get(key).map(|found| &found.object) {
            Some(Ok(object)) => Ok(object.as_ref()),
            Some(Err(error)) => Err(Some(error)),
            None => Err(None),
        }
    }

    /// What was known of an object is not true any more.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }
}

async fn look_up(client: &Client, namespace: &str, key: &ObjectKey) -> Result<Option<DynamicObject>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &api_resource(key.kind));
    let doing = || format!("look up {} {namespace}/{}", key.kind.as_str(), key.name);
    let mut found = call(doing, api.get_opt(&key.name)).await?;
    if let Some(object) = &mut found {
        object.metadata.managed_fields = None;
    }
    Ok(found)
}
