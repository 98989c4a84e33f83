//! What this operator wrote and its watches may not show yet: without it, a pass right after a write would plan the same again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

/// A watch that is further behind than this is not waited for: whoever deleted the object in between counts.
const TRUST: Duration = Duration::from_secs(10);

/// Objects as the API server answered our writes, by key.
#[derive(Debug)]
pub struct Written<I, K>(BTreeMap<I, Entry<K>>);

#[derive(Debug)]
struct Entry<K> {
    object: Arc<K>,
    at: Instant,
    /// It was not there before, so that a watch that does not show it lags behind.
    created: bool,
}

impl<I, K> Default for Written<I, K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<I: Clone + Ord, K: ResourceExt> Written<I, K> {
    /// Remembers the answer to a write that made the object.
    pub fn created(&mut self, key: I, object: K) {
        self.record(key, object, true);
    }

    /// Remembers the answer to a write that changed the object.
    pub fn changed(&mut self, key: I, object: K) {
        self.record(key, object, false);
    }

    /// The newest of what the watch shows and what was written; forgets what the watch has caught up with.
    pub fn newest(&mut self, mut seen: BTreeMap<I, Arc<K>>) -> BTreeMap<I, Arc<K>> {
        self.0.retain(|key, entry| {
            let ahead = match seen.get(key) {
                Some(seen) => version(&**seen) < version(&*entry.object),
                None => entry.created,
            };
            ahead && entry.at.elapsed() < TRUST
        });
        seen.extend(self.0.iter().map(|(key, entry)| (key.clone(), entry.object.clone())));
        seen
    }

    fn record(&mut self, key: I, object: K, created: bool) {
        self.0.insert(key, Entry { object: Arc::new(object), at: Instant::now(), created });
    }
}

/// Resource versions of one resource can be compared as numbers (KEP-5504).
fn version(object: &impl ResourceExt) -> Option<u128> {
    object.resource_version().and_then(|version| version.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::ObjectMeta;

    fn pod(version: &str) -> Pod {
        let metadata = ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() };
        Pod { metadata, ..Pod::default() }
    }

    fn seen(version: &str) -> BTreeMap<char, Arc<Pod>> {
        BTreeMap::from([('a', Arc::new(pod(version)))])
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_counts_until_the_watch_shows_it_or_something_newer() {
        let mut written = Written::default();
        written.changed('a', pod("10"));
        assert_eq!(written.newest(seen("9")), seen("10"));
        assert_eq!(written.newest(seen("11")), seen("11"));
        assert_eq!(written.newest(seen("9")), seen("9"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_object_counts_before_the_watch_shows_it_but_not_for_ever() {
        let mut written = Written::default();
        written.created('a', pod("10"));
        assert_eq!(written.newest(BTreeMap::new()), seen("10"));
        tokio::time::advance(TRUST).await;
        assert_eq!(written.newest(BTreeMap::new()), BTreeMap::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_object_that_the_watch_shows_no_more_is_gone() {
        let mut written = Written::default();
        written.changed('a', pod("10"));
        assert_eq!(written.newest(BTreeMap::new()), BTreeMap::new());
    }
}
