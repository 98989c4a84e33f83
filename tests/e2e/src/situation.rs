//! What is printed when a test fails: everything one would ask for first.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, ResourceExt as _, api::LogParams};
use operator_core::crd::WebSocketCluster;

use crate::{fleet, operator, scope::Scope};

/// Lines of log shown per pod.
const LINES: i64 = 60;
/// Characters shown of each.
const WIDTH: usize = 400;

/// Prints clusters, pods, events, logs and the fleet's stats of a test's namespace, and the operator's log.
pub async fn print(scope: &Scope) {
    eprintln!("==== the situation in namespace {}", scope.namespace);
    print_clusters(scope).await;
    print_pods(scope).await;
    print_events(scope).await;
    if let Ok(stats) = scope.request(http::Method::GET, fleet::NAME, fleet::PORT, "/stats", Vec::new()).await
    {
        eprintln!("---- the fleet's stats\n{stats}");
    }
    for pod in list(&scope.api::<Pod>()).await {
        print_log(&scope.api(), &pod.name_any(), false).await;
    }
    for pod in operator::pods(&scope.client).await {
        let pods = Api::namespaced(scope.client.clone(), operator::NAMESPACE);
        print_log(&pods, &pod.name_any(), true).await;
        print_log(&pods, &pod.name_any(), false).await;
    }
    eprintln!("==== end of the situation");
}

async fn list<K>(api: &Api<K>) -> Vec<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.list(&Default::default()).await.map(|list| list.items).unwrap_or_default()
}

async fn print_clusters(scope: &Scope) {
    for mut cluster in list(&scope.api::<WebSocketCluster>()).await {
        cluster.managed_fields_mut().clear();
        eprintln!("---- WebSocketCluster\n{}", serde_yaml::to_string(&cluster).unwrap_or_default());
    }
}

async fn print_pods(scope: &Scope) {
    eprintln!("---- pods");
    for pod in list(&scope.api::<Pod>()).await {
        let status = pod.status.clone().unwrap_or_default();
        let states = status.container_statuses.unwrap_or_default();
        let states: Vec<String> = states
            .iter()
            .map(|c| {
                format!(
                    "ready={} restarts={} state={:?} last={:?}",
                    c.ready, c.restart_count, c.state, c.last_state
                )
            })
            .collect();
        eprintln!(
            "{} {} deleted={} labels={:?} annotations={:?}\n    {}",
            pod.name_any(),
            status.phase.unwrap_or_default(),
            pod.metadata.deletion_timestamp.is_some(),
            pod.labels(),
            pod.annotations(),
            states.join("; "),
        );
    }
}

async fn print_events(scope: &Scope) {
    eprintln!("---- events");
    let mut events = list(&scope.api::<Event>()).await;
    events.sort_by_key(|event| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
    for event in events {
        let time = event.metadata.creation_timestamp.map(|time| time.0.to_string()).unwrap_or_default();
        let object = event.involved_object;
        eprintln!(
            "{time} {} {}/{} {}: {}",
            event.type_.unwrap_or_default(),
            object.kind.unwrap_or_default(),
            object.name.unwrap_or_default(),
            event.reason.unwrap_or_default(),
            event.message.unwrap_or_default(),
        );
    }
}

/// The end of a pod's log; of its container before the last restart where there was one, if asked for.
async fn print_log(pods: &Api<Pod>, name: &str, previous: bool) {
    let parameters = LogParams { tail_lines: Some(LINES), previous, ..LogParams::default() };
    if let Ok(log) = pods.logs(name, &parameters).await {
        eprintln!("---- log of {name}{}", if previous { " before its restart" } else { "" });
        log.lines().for_each(|line| eprintln!("{}", line.chars().take(WIDTH).collect::<String>()));
    }
}
