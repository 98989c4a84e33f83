//! A gateway pod.

mod probes;
mod secrets;

use super::labels;
use crate::desired::{Backplane, Desired, RedisUrl};
use crate::names::{
    CLIENT_PORT, CONTROL_PORT, GATEWAY, GATEWAY_CONTAINER, PULLS, PodName, REDIS_PORT, REVISION, SERVING,
    TRAFFIC,
};
use crate::observed::{ObjectKey, ObjectKind, Observed};
use crate::resources::{label_selector, pull_secrets, selector};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, Pod, PodSecurityContext, PodSpec,
    SeccompProfile, SecretKeySelector, SecurityContext, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

/// Hex digits that tell the pods of a revision apart.
const SUFFIX_LENGTH: usize = 5;
/// The user of our images.
const USER: i64 = 65_532;
/// Time between the drain's deadline and SIGKILL, in seconds, for the last connections to be closed.
pub(crate) const MARGIN_SECONDS: i64 = 30;

/// Names for `count` more pods. The same pods give the same names, so that a pod that was made and not seen yet is not made twice.
/// A name that another's pod has, or one that was set aside, is passed over.
#[must_use]
pub fn pod_names(desired: &Desired, observed: &Observed, count: u32) -> Vec<PodName> {
    let candidates = (0_u32..).map(|index| {
        let seed = json!([desired.owner.uid, desired.revision, index]);
        let suffix = &crate::desired::hash(&seed)[..SUFFIX_LENGTH];
        PodName(format!("{}-{}-{suffix}", desired.name, desired.revision))
    });
    let is_free = |name: &PodName| {
        let key = ObjectKey { kind: ObjectKind::Pod, name: name.to_string() };
        !observed.pods.contains_key(name)
            && !observed.aside.contains_key(name)
            && !observed.others.contains_key(&key)
    };
    candidates.filter(is_free).take(count as usize).collect()
}

/// The pod named `name`, of the desired revision, serving.
#[must_use]
pub fn pod(desired: &Desired, name: &PodName) -> Pod {
    let template = &desired.pod_template;
    let mut annotations = template.annotations.clone();
    annotations.insert(PULLS.into(), desired.pulls());
    let mut labels = labels(desired, GATEWAY);
    labels.insert(REVISION.into(), desired.revision.to_string());
    labels.insert(TRAFFIC.into(), SERVING.into());
    labels.extend(template.labels.clone());
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_string()),
            namespace: Some(desired.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![desired.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(desired, name)),
        ..Pod::default()
    }
}

/// A text of which the kubelet makes what it says: in arguments and in values of variables it would put another variable for `$(NAME)`, and
/// one `$` for two.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn some<T>(value: T, empty: bool) -> Option<T> {
    (!empty).then_some(value)
}

fn spec(desired: &Desired, name: &PodName) -> PodSpec {
    let template = &desired.pod_template;
    let drain = i64::try_from(desired.drain_timeout.as_secs()).unwrap_or(i64::MAX);
    PodSpec {
        // A name in DNS, together with the headless Service.
        hostname: Some(name.to_string()),
        subdomain: Some(desired.name.gateway()),
        service_account_name: Some(desired.name.gateway()),
        automount_service_account_token: Some(false),
        // One environment variable per Service of the namespace helps nobody.
        enable_service_links: Some(false),
        image_pull_secrets: pull_secrets(&desired.image_pull_secrets),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(drain.saturating_add(MARGIN_SECONDS)),
        containers: vec![container(desired, name)],
        volumes: Some(vec![secrets::volume(desired)]),
        node_selector: some(template.node_selector.clone(), template.node_selector.is_empty()),
        tolerations: some(template.tolerations.clone(), template.tolerations.is_empty()),
        affinity: template.affinity.clone(),
        topology_spread_constraints: Some(spread(desired)),
        ..PodSpec::default()
    }
}

fn spread(desired: &Desired) -> Vec<TopologySpreadConstraint> {
    let given = &desired.pod_template.topology_spread_constraints;
    if !given.is_empty() {
        return given.clone();
    }
    let over = |topology: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology.into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(label_selector(selector(desired, GATEWAY))),
        ..TopologySpreadConstraint::default()
    };
    vec![over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")]
}

fn container(desired: &Desired, name: &PodName) -> Container {
    let mut args = vec![
        format!("--listen=0.0.0.0:{CLIENT_PORT}"),
        format!("--control=0.0.0.0:{CONTROL_PORT}"),
        format!("--node-name={name}"),
        format!("--revision={}", desired.revision),
    ];
    args.extend(secrets::arguments(desired));
    args.extend(desired.log.iter().map(|directives| format!("--log={}", literal(directives))));
    Container {
        name: GATEWAY_CONTAINER.into(),
        image: Some(desired.image.clone()),
        command: Some(vec!["/mooring-gateway".into()]),
        args: Some(args),
        env: Some(environment(desired)),
        ports: Some(vec![port("client", CLIENT_PORT), port("control", CONTROL_PORT)]),
        resources: desired.pod_template.resources.clone(),
        security_context: Some(container_security()),
        startup_probe: Some(probes::startup()),
        readiness_probe: Some(probes::readiness()),
        liveness_probe: Some(probes::liveness()),
        volume_mounts: Some(vec![secrets::mount()]),
        // What it says as it ends is what the status says of it: a flag or a configuration that it refuses.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..Container::default()
    }
}

fn environment(desired: &Desired) -> Vec<EnvVar> {
    let plain =
        |name: &str, value: &str| EnvVar { name: name.into(), value: Some(literal(value)), value_from: None };
    let config = serde_json::to_string(&desired.gateway).unwrap_or_default();
    let mut environment = vec![plain("MOORING_CONFIG", &config)];
    let redis = "MOORING_REDIS_URL";
    match &desired.backplane {
        Backplane::Managed(_) => {
            let host = format!("{}.{}.svc", desired.name.redis(), desired.namespace);
            environment.push(plain(redis, &format!("redis://{host}:{REDIS_PORT}")));
        }
        Backplane::External(external) => {
            environment.push(match &external.url {
                RedisUrl::Plain(url) => plain(redis, url),
                RedisUrl::Secret(key) => EnvVar {
                    name: redis.into(),
                    value: None,
                    value_from: Some(EnvVarSource {
                        secret_key_ref: Some(SecretKeySelector {
                            name: key.name.clone(),
                            key: key.key.clone(),
                            optional: None,
                        }),
                        ..EnvVarSource::default()
                    }),
                },
            });
            environment.push(plain("MOORING_REDIS_PREFIX", &external.prefix));
            environment.extend(external.username.iter().map(|name| plain("MOORING_REDIS_USERNAME", name)));
        }
        Backplane::Memory => {}
    }
    environment.extend(desired.pod_template.env.iter().cloned());
    environment
}

fn port(name: &str, container_port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// What the restricted Pod Security Standard asks of a pod.
pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// What the restricted Pod Security Standard asks of a container, and a read-only root.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}
