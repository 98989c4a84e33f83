//! Whom the NetworkPolicies let in, as an attacker's pods see it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use e2e::{
    Fleet, Gateways, Scope, eventually, in_namespace,
    load::{SOON, spec},
    measured, skipped,
};
use futures::future::join_all;
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{ListParams, PostParams},
};
use mooring_fleet::stats::{ClientsRequest, ProbeRequest, Reach};
use operator_core::names::{APP_NAME, CLIENT_PORT, CLUSTER, CONTROL_PORT, GATEWAY, REDIS_PORT};
use serde_json::{Value, json};

const TEST: &str = "policies";
/// How long a cluster that enforces policies may take to do so.
const ENFORCED: Duration = Duration::from_secs(30);
/// Where a prober takes its orders.
const ORDERS: u16 = 8080;

#[tokio::test]
async fn only_clients_the_operator_and_prometheus_get_into_gateways_and_only_their_gateways_into_redis() {
    in_namespace(TEST, async |scope| {
        let nodes = nodes(&scope).await;
        let strangers = join_all(nodes.iter().enumerate().map(async |(number, node)| {
            Prober::start(&scope, &format!("stranger-{number}"), json!({}), Some(node)).await
        }))
        .await;
        if !enforces(&scope, &strangers[0]).await {
            assert!(!must_enforce(), "nothing is enforced, where tests/bin/e2e says that it must");
            skipped(TEST, &format!("this cluster enforced no NetworkPolicy within {} s", ENFORCED.as_secs()));
            return;
        }

        let gateways = Gateways::deploy(&scope, "chat", spec(2, 100)).await;
        let elsewhere = namespace_beside(&scope).await;
        let gateway_of = |cluster: &str| json!({APP_NAME: GATEWAY, CLUSTER: cluster});
        let mut attackers = strangers;
        attackers.extend([
            Prober::start(&scope, "gateway-of-another-cluster", gateway_of("other"), None).await,
            Prober::start(&elsewhere, "outsider", json!({}), None).await,
            Prober::start(&elsewhere, "gateway-of-another-namespace", gateway_of("chat"), None).await,
        ]);
        let prometheus = Prober::start(&elsewhere, "prometheus", json!({APP_NAME: "prometheus"}), None).await;
        let targets = targets(&gateways).await;
        assert_every_way_is_tried(&attackers, &targets, nodes.len());

        let clients_only = |target: &Target| target.port == CLIENT_PORT;
        let all_but_redis = |target: &Target| target.port != REDIS_PORT;
        let held = async || {
            for attacker in &attackers {
                attacker.gets_into(&targets, clients_only).await?;
            }
            prometheus.gets_into(&targets, all_but_redis).await
        };
        eventually("the policies hold", ENFORCED, held).await;
        held().await.expect("the policies still hold");

        // The operator's questions come through the same port.
        let fleet = Fleet::start(&gateways).await;
        let clients = ClientsRequest { count: 20, ..ClientsRequest::default() };
        fleet.connect(&clients).await;
        let counted = |connections| usize::try_from(connections) == Ok(clients.count);
        gateways.until("the operator counts the clients", SOON, |status| counted(status.connections)).await;
    })
    .await;
}

/// Whether tests/bin/e2e has found all that enforcing takes.
fn must_enforce() -> bool {
    std::env::var_os("MOORING_ENFORCES_POLICIES").is_some()
}

/// Within a node, and from one to another.
fn assert_every_way_is_tried(attackers: &[Prober], targets: &[Target], nodes: usize) {
    for port in [CLIENT_PORT, CONTROL_PORT, REDIS_PORT] {
        let on =
            |node: &str| targets.iter().filter(|target| target.port == port && target.node == node).count();
        let all = targets.iter().filter(|target| target.port == port).count();
        let near = attackers.iter().any(|attacker| on(&attacker.node) > 0);
        let far = attackers.iter().any(|attacker| on(&attacker.node) < all);
        assert!(
            near && (far || nodes == 1),
            "port {port} is tried from its own node: {near}, from another: {far}"
        );
    }
}

/// A port that somebody may want to reach.
struct Target {
    name: String,
    port: i32,
    node: String,
    address: SocketAddr,
}

impl Target {
    fn new(pod: &Pod, port: i32) -> Self {
        let ip =
            pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).expect("a running pod's address");
        let address = format!("{ip}:{port}").parse().expect("an address");
        Self { name: format!("{}:{port}", pod.name_any()), port, node: node_of(pod), address }
    }
}

async fn targets(gateways: &Gateways) -> Vec<Target> {
    let redis = gateways.redis().await;
    let ports = |pod: Pod| [CLIENT_PORT, CONTROL_PORT].map(|port| Target::new(&pod, port));
    let gateways = gateways.pods().await.into_values().flat_map(ports);
    gateways.chain([Target::new(&redis, REDIS_PORT)]).collect()
}

/// A pod that opens connections as it is told.
struct Prober {
    scope: Scope,
    name: String,
    node: String,
    address: SocketAddr,
    /// When its container started, to the second before.
    started: Timestamp,
}

impl Prober {
    /// Starts one on a node, or on any, with labels by which a policy may take it for somebody else.
    async fn start(scope: &Scope, name: &str, labels: Value, node: Option<&str>) -> Self {
        let manifest: Pod = serde_json::from_value(manifest(name, &labels, node)).expect("a pod");
        let pods = scope.api::<Pod>();
        // A new namespace has no service account for its pods yet.
        eventually("the pod is made", SOON, async || {
            pods.create(&PostParams::default(), &manifest).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        eventually(&format!("{name} runs"), SOON, async || {
            let pod = pods.get(name).await.map_err(|error| error.to_string())?;
            let started = started(&pod).ok_or_else(|| format!("{:?}", pod.status))?;
            let Target { node, address, .. } = Target::new(&pod, ORDERS.into());
            Ok(Self { scope: scope.clone(), name: name.to_owned(), node, address, started })
        })
        .await
    }

    async fn reaches(&self, address: SocketAddr) -> Reach {
        let body = serde_json::to_vec(&ProbeRequest { address }).expect("a request is JSON");
        let answer = self.scope.request(Method::POST, &self.name, ORDERS, "/probe", body).await;
        serde_json::from_str(&answer.expect("the prober answers")).expect("the answer to /probe")
    }

    /// Whether it gets into those targets, and into no others.
    async fn gets_into(&self, targets: &[Target], may: impl Fn(&Target) -> bool) -> Result<(), String> {
        let seen =
            join_all(targets.iter().map(async |target| (target, self.reaches(target.address).await))).await;
        let wrong: BTreeMap<_, _> = seen
            .into_iter()
            .filter(|(target, reach)| may(target) != (*reach == Reach::Reached))
            .map(|(target, reach)| (&target.name, reach))
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {wrong:?}", self.name)) }
    }

    /// Waits until it gets in no more; false if it still does after all that time.
    async fn is_cut_off(&self, address: SocketAddr) -> bool {
        let began = Instant::now();
        while self.reaches(address).await == Reach::Reached {
            if began.elapsed() > ENFORCED {
                return false;
            }
        }
        true
    }
}

fn manifest(name: &str, labels: &Value, node: Option<&str>) -> Value {
    let image = std::env::var("MOORING_FLEET_IMAGE").expect("MOORING_FLEET_IMAGE is unset; run `make e2e`");
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "prober",
                "image": image,
                "args": [format!("--listen=0.0.0.0:{ORDERS}")],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

fn started(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(statuses.first()?.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0)
}

fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("a running pod is on a node")
}

/// Two nodes that take pods, or the only one.
async fn nodes(scope: &Scope) -> Vec<String> {
    let nodes = Api::<Node>::all(scope.client.clone()).list(&ListParams::default()).await;
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let nodes = nodes.expect("nodes can be listed").into_iter().filter(|node| taints(node).is_empty());
    let names: Vec<_> = nodes.map(|node| node.name_any()).take(2).collect();
    assert!(!names.is_empty(), "every node has taints");
    names
}

/// Another namespace, which ends with the test's own.
async fn namespace_beside(scope: &Scope) -> Scope {
    let namespaces = Api::<Namespace>::all(scope.client.clone());
    let own = namespaces.get(&scope.namespace).await.expect("the test's namespace is there");
    let beside = json!({"metadata": {
        "generateName": format!("{}-beside-", scope.namespace),
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        "ownerReferences": [own.owner_ref(&()).expect("it has a name and a UID")],
    }});
    let beside: Namespace = serde_json::from_value(beside).expect("a namespace");
    let made = namespaces.create(&PostParams::default(), &beside).await.expect("a namespace is made");
    Scope { client: scope.client.clone(), namespace: made.name_any() }
}

/// Whether policies are enforced here at all: a pod into which nobody may is out of reach. Says how long that takes, for a pod that
/// was there before the policy and for one that comes after it.
async fn enforces(scope: &Scope, stranger: &Prober) -> bool {
    let labels = json!({"app": "walled"});
    let before = Prober::start(scope, "walled-before", labels.clone(), None).await;
    eventually("a pod without a policy is reached", SOON, async || {
        match stranger.reaches(before.address).await {
            Reach::Reached => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let policy = json!({
        "metadata": {"name": "walled"},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]},
    });
    let _: NetworkPolicy = scope.create_object(policy).await;
    let made = Instant::now();
    if !stranger.is_cut_off(before.address).await {
        return false;
    }
    measured("from a new policy to its effect", format!("{} ms", made.elapsed().as_millis()));

    let after = Prober::start(scope, "walled-after", labels, None).await;
    assert!(stranger.is_cut_off(after.address).await, "a pod that came after its policy stays open");
    let open = Timestamp::now().duration_since(after.started);
    measured("from a pod's start to the effect of its policy, at most", format!("{} ms", open.as_millis()));
    true
}
