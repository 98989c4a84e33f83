//! What is watched, and the stores that hold it.
//!
//! Secrets are not watched: that would take the right to list all of them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use futures::Stream;
use futures::future::{join, join_all};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, DefaultBackoff, watcher};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt, controller, predicates};
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::desired::Stored;
use operator_core::names::{APP_MANAGED_BY, APP_NAME, GATEWAY, MANAGER};
use operator_core::observed::ObjectKind;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::Error;

/// Objects per page of a list: small, since a page is held twice while the store takes it in.
const PAGE: u32 = 50;
/// Passes under way at once, over all namespaces, and one at least in each; each may ask many gateways.
const CONCURRENCY: usize = 16;
/// Changes of this time are folded into one pass: pods change in bursts.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The first lists are there after this time, or something is wrong with the rights or the API server.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// A watch that failed is tried again after this time, or earlier.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Kinds of owned objects besides pods and Secrets.
const OWNED: [ObjectKind; 5] = [
    ObjectKind::NetworkPolicy,
    ObjectKind::PodDisruptionBudget,
    ObjectKind::Service,
    ObjectKind::ServiceAccount,
    ObjectKind::StatefulSet,
];

/// Everything watched in one namespace, or in all of them, as last seen.
#[derive(Clone)]
pub struct Stores {
    /// The clusters.
    pub clusters: Store<Stored>,
    /// Their gateways, without what nobody here reads.
    pub pods: Store<Pod>,
    /// Their other objects, by kind.
    pub owned: BTreeMap<ObjectKind, Store<DynamicObject>>,
}

impl Stores {
    /// Waits for the first lists: a plan made without them would make everything anew.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn synced(&self) -> Result<(), Error> {
        let pods = self.pods.wait_until_ready();
        let owned = join_all(self.owned.values().map(Store::wait_until_ready));
        match timeout(SYNC_TIMEOUT, join(pods, owned)).await {
            Ok((Ok(()), owned)) if owned.iter().all(Result::is_ok) => Ok(()),
            _ => Err(Error::Timeout { doing: "list the owned objects".into(), limit: SYNC_TIMEOUT }),
        }
    }
}

/// How the API server calls a kind of owned object.
#[must_use]
pub fn api_resource(kind: ObjectKind) -> ApiResource {
    match kind {
        ObjectKind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        ObjectKind::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
        ObjectKind::Pod => ApiResource::erase::<Pod>(&()),
        ObjectKind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        ObjectKind::Secret => ApiResource::erase::<Secret>(&()),
        ObjectKind::Service => ApiResource::erase::<Service>(&()),
        ObjectKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
        ObjectKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
    }
}

/// Where clusters are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace, which takes rights in all of them.
    AllNamespaces,
    /// In this one.
    Namespace(String),
}

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::AllNamespaces => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }

    fn objects(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        match self {
            Self::AllNamespaces => Api::all_with(client.clone(), resource),
            Self::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        }
    }
}

/// The stores of each scope, and the controller that fills them and passes over a cluster when it or what it owns changes.
/// Each scope has its own: a list that is made anew replaces the whole store.
#[must_use]
pub fn watch(client: &Client, scopes: &[Scope]) -> Vec<(Stores, Controller<Stored>)> {
    let concurrency = u16::try_from(CONCURRENCY.div_ceil(scopes.len().max(1))).unwrap_or(1);
    scopes.iter().map(|scope| watch_scope(client, scope, concurrency)).collect()
}

fn watch_scope(client: &Client, scope: &Scope, concurrency: u16) -> (Stores, Controller<Stored>) {
    let writer = Writer::default();
    let clusters: Store<Stored> = writer.as_reader();
    let present = clusters.clone();
    // Our own writes of the status are no news. A cluster that is gone has no hash, and so always passes.
    let news = move |cluster: &Stored| {
        present.get(&ObjectRef::from_obj(cluster)).and_then(|_| predicates::generation(cluster))
    };
    let main = reflect(scope.api::<Stored>(client), Config::default(), writer, |_| {})
        .predicate_filter(news, PredicateConfig::default());
    let config = controller::Config::default().concurrency(concurrency).debounce(DEBOUNCE);
    let controller = Controller::for_stream(main, clusters.clone()).with_config(config);
    let mut controller = controller.trigger_backoff(EachByItself);

    let ours = Config::default().labels(&format!("{APP_MANAGED_BY}={MANAGER}"));
    let gateways = Config::default().labels(&format!("{APP_MANAGED_BY}={MANAGER},{APP_NAME}={GATEWAY}"));
    let writer = Writer::default();
    let pods = writer.as_reader();
    controller = controller.owns_stream(reflect(scope.api::<Pod>(client), gateways, writer, slim));
    let mut owned = BTreeMap::new();
    for kind in OWNED {
        let resource = api_resource(kind);
        let writer = Writer::new(resource.clone());
        owned.insert(kind, writer.as_reader());
        let api = scope.objects(client, &resource);
        // What a list holds does not say what it is, while a watch does; plans compare whole objects.
        let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
        let name_kind = move |object: &mut DynamicObject| object.types = Some(types.clone());
        controller = controller.owns_stream_with(reflect(api, ours.clone(), writer, name_kind), resource);
    }
    (Stores { clusters, pods, owned }, controller)
}

/// The controller's own backoff stops reading *every* watch when one has failed. After a restart of the API server all of them
/// fail, one after the other, and what the operator saw stayed minutes old. Each stream of [`reflect`] waits by itself.
struct EachByItself;

impl Iterator for EachByItself {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for EachByItself {
    fn reset(&mut self) {}
}

/// kube's own backoff, but for its half minute at most: what is seen so late is acted on so late.
#[derive(Default)]
struct Retries(DefaultBackoff);

impl Iterator for Retries {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_RETRY))
    }
}

impl Backoff for Retries {
    fn reset(&mut self) {
        self.0.reset();
    }
}

fn reflect<K>(
    api: Api<K>,
    config: Config,
    writer: Writer<K>,
    complete: impl Fn(&mut K) + Send + 'static,
) -> impl Stream<Item = watcher::Result<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Clone + Debug + Eq + Hash + Send + Sync + Unpin,
{
    watcher(api, config.page_size(PAGE))
        .backoff(Retries::default())
        .modify(move |object| {
            object.managed_fields_mut().clear();
            complete(object);
        })
        .reflect(writer)
        .touched_objects()
}

/// Takes out of a pod what nobody here reads; that is most of it.
pub(crate) fn slim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.spec = None;
}
