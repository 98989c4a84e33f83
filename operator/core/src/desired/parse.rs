//! `Desired::parse`: the only place a spec is refused. What the schema and its CEL rules check is checked here again, since an
//! object may be older than they are.

mod auth;
mod backplane;

use self::backplane::backplane;
use super::{
    Backplane, Change, Defaults, Desired, Invalid, Policy, Rules, Scaling, SecretKey, Secrets, Size, Surge,
};
use crate::crd::{self, PolicyType, ServiceType, WebSocketCluster, WebSocketClusterSpec};
use crate::names::{self, ClusterName};
use gateway_core::{
    config::{Channels, GatewayConfig, Limits, Protocols},
    handshake::is_origin,
};
use k8s_openapi::api::core::v1::{LocalObjectReference, SecretKeySelector};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource as _;
use std::collections::BTreeSet;
use std::time::Duration;

const MOST_PODS: i64 = 10_000;
const MOST_CONNECTIONS: i64 = 1_000_000;
/// Bytes, where `limits.memoryBytes` is given and not 0.
const LEAST_MEMORY: i64 = 16 * 1024 * 1024;
const MOST_MEMORY: i64 = 1 << 40;
/// Bytes of a configuration: Linux starts no process with an environment variable, its name included, of 128 KiB.
const LONGEST_CONFIG: usize = 127 * 1024;
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 3600);

impl Desired {
    /// The spec with its defaults filled in.
    ///
    /// # Errors
    /// When the spec can't work; the message names field, value and remedy.
    pub fn parse(cluster: &WebSocketCluster, defaults: &Defaults) -> Result<Self, Invalid> {
        let spec = &cluster.spec;
        let metadata = &cluster.metadata;
        let name = metadata.name.as_deref().ok_or(Invalid::NotStored { field: "name" })?;
        let name = ClusterName::new(name).ok_or_else(|| Invalid::Name { name: name.into() })?;
        let namespace = metadata.namespace.clone().ok_or(Invalid::NotStored { field: "namespace" })?;
        let owner = cluster.controller_owner_ref(&()).ok_or(Invalid::NotStored { field: "uid" })?;
        limits(&spec.limits)?;
        channels(&spec.channels)?;
        pod_template(&spec.pod_template)?;
        let size = size(spec)?;
        let backplane = backplane(&spec.backplane, defaults, || format!("{namespace}/{name}"))?;
        if backplane == Backplane::Memory {
            let pods =
                spec.scaling.as_ref().map_or(spec.replicas.unwrap_or(1), |scaling| scaling.max_replicas);
            if pods > 1 {
                return Err(Invalid::MemoryNeedsOnePod { pods });
            }
        }
        let budget = in_range(
            "spec.disruption.maxReconnectsPerSecond",
            spec.disruption.max_reconnects_per_second.into(),
            1,
            100_000,
        )?;
        let drain_timeout = drain_timeout(&spec.disruption.drain_timeout)?;
        let progress_deadline = seconds(
            "spec.rollout.progressDeadlineSeconds",
            spec.rollout.progress_deadline_seconds,
            1,
            86_400,
        )?;
        let mut desired = Self {
            name,
            namespace,
            owner,
            generation: metadata.generation.unwrap_or_default(),
            size,
            revision: names::Revision(String::new()),
            image: spec.image.clone().unwrap_or_else(|| defaults.gateway_image.clone()),
            image_pull_secrets: image_pull_secrets(
                "spec.podTemplate.imagePullSecrets",
                &spec.pod_template.image_pull_secrets,
                defaults,
            )?,
            gateway: gateway(spec, budget, drain_timeout)?,
            secrets: auth::secrets(&spec.auth)?,
            backplane,
            max_reconnects_per_second: budget,
            drain_timeout,
            max_surge: surge(&spec.rollout.max_surge)?,
            progress_deadline,
            listener_port: port("spec.listener.port", spec.listener.port)?,
            service: service(&spec.expose.service)?,
            pod_template: spec.pod_template.clone(),
            log: log(spec.log.as_deref())?,
            paused: spec.paused,
        };
        desired.revision = super::revision::of(&desired, spec);
        Ok(desired)
    }
}

fn in_range(field: &'static str, value: i64, min: i64, max: i64) -> Result<u32, Invalid> {
    let out = Invalid::OutOfRange { field, value, min, max };
    if (min..=max).contains(&value) { u32::try_from(value).map_err(|_| out) } else { Err(out) }
}

fn seconds(field: &'static str, value: i32, min: i64, max: i64) -> Result<Duration, Invalid> {
    in_range(field, value.into(), min, max).map(|s| Duration::from_secs(s.into()))
}

fn port(field: &'static str, port: i32) -> Result<i32, Invalid> {
    in_range(field, port.into(), 1, 65_535).map(|_| port)
}

fn size(spec: &WebSocketClusterSpec) -> Result<Size, Invalid> {
    let Some(scaling) = &spec.scaling else {
        let replicas = in_range("spec.replicas", spec.replicas.unwrap_or(1).into(), 0, MOST_PODS)?;
        return Ok(Size::Fixed(replicas));
    };
    if let Some(replicas) = spec.replicas {
        return Err(Invalid::FixedSizeWithScaling { replicas });
    }
    let min = in_range("spec.scaling.minReplicas", scaling.min_replicas.into(), 1, MOST_PODS)?;
    let max = in_range("spec.scaling.maxReplicas", scaling.max_replicas.into(), 1, MOST_PODS)?;
    if min > max {
        return Err(Invalid::MinAboveMax { min: scaling.min_replicas, max: scaling.max_replicas });
    }
    let target = scaling.connections_per_pod;
    let connections_per_pod = in_range("spec.scaling.connectionsPerPod", target.into(), 1, MOST_CONNECTIONS)?;
    let headroom_percent =
        percent(&scaling.headroom).ok_or_else(|| Invalid::Headroom { value: scaling.headroom.clone() })?;
    let default = crd::Behavior::default();
    let up = rules("scaleUp", &scaling.behavior.scale_up, &default.scale_up)?;
    let limit = spec.limits.max_connections;
    let full = f64::from(limit) * f64::from(100 + headroom_percent);
    if full <= f64::from(connections_per_pod) * 100.0 * (1.0 + up.tolerance) {
        return Err(Invalid::TargetOutOfReach { target, limit });
    }
    let down = rules("scaleDown", &scaling.behavior.scale_down, &default.scale_down)?;
    Ok(Size::Scaled(Scaling { min, max, connections_per_pod, headroom_percent, up, down }))
}

fn percent(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn rules(
    direction: &'static str,
    given: &crd::ScalingRules,
    default: &crd::ScalingRules,
) -> Result<Rules, Invalid> {
    let window =
        given.stabilization_window_seconds.or(default.stabilization_window_seconds).unwrap_or_default();
    let tolerance = given.tolerance.or(default.tolerance).unwrap_or_default();
    if !(0.0..=1.0).contains(&tolerance) {
        return Err(Invalid::Tolerance { direction, value: tolerance.to_string() });
    }
    let policies = if given.policies.is_empty() { &default.policies } else { &given.policies };
    Ok(Rules {
        stabilization: seconds("spec.scaling.behavior.*.stabilizationWindowSeconds", window, 0, 3600)?,
        select: given.select_policy,
        policies: policies.iter().map(policy).collect::<Result<_, _>>()?,
        tolerance,
    })
}

fn policy(policy: &crd::Policy) -> Result<Policy, Invalid> {
    let value = in_range("spec.scaling.behavior.*.policies.value", policy.value.into(), 1, MOST_PODS)?;
    Ok(Policy {
        change: match policy.type_ {
            PolicyType::Pods => Change::Pods(value),
            PolicyType::Percent => Change::Percent(value),
        },
        period: seconds("spec.scaling.behavior.*.policies.periodSeconds", policy.period_seconds, 1, 1800)?,
    })
}

fn limits(limits: &Limits) -> Result<(), Invalid> {
    let Limits {
        max_connections,
        connections_per_second,
        connections_per_address,
        connections_per_second_per_address,
        wrong_tokens_per_minute_per_address,
        memory_bytes,
        max_message_bytes,
        messages_per_second,
        subscriptions,
        outbound_queue_bytes,
    } = limits;
    // A queue that a few messages fill would cut off everybody who gets them; gateways refuse it.
    let least_queue = 16_384.max(4 * i64::from(*max_message_bytes));
    for (field, value, min, max) in [
        ("spec.limits.maxConnections", Some(*max_connections), 1, MOST_CONNECTIONS),
        ("spec.limits.connectionsPerSecond", Some(*connections_per_second), 1, 100_000),
        ("spec.limits.connectionsPerAddress", *connections_per_address, 1, MOST_CONNECTIONS),
        ("spec.limits.connectionsPerSecondPerAddress", *connections_per_second_per_address, 1, 100_000),
        ("spec.limits.wrongTokensPerMinutePerAddress", *wrong_tokens_per_minute_per_address, 1, 100_000),
        ("spec.limits.maxMessageBytes", Some(*max_message_bytes), 1024, 16_777_216),
        ("spec.limits.messagesPerSecond", Some(*messages_per_second), 0, 1_000_000),
        ("spec.limits.subscriptions", Some(*subscriptions), 1, 10_000),
        ("spec.limits.outboundQueueBytes", Some(*outbound_queue_bytes), least_queue, 67_108_864),
    ] {
        if let Some(value) = value {
            in_range(field, value.into(), min, max)?;
        }
    }
    // Gateways refuse less than a few clients can fill.
    let least = LEAST_MEMORY.max(8 * i64::from(*outbound_queue_bytes));
    let memory = memory_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    if memory != 0 && !(least..=MOST_MEMORY).contains(&memory) {
        let field = "spec.limits.memoryBytes";
        return Err(Invalid::OutOfRange { field, value: memory, min: least, max: MOST_MEMORY });
    }
    Ok(())
}

fn channels(channels: &Channels) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    for namespace in &channels.namespaces {
        let name = namespace.name.as_str();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !plain || name.is_empty() || name.len() > 64 || !seen.insert(name) {
            return Err(Invalid::Namespace { name: name.into() });
        }
    }
    let all = channels.namespaces.iter().map(|n| &n.options).chain([&channels.default]);
    for history in all.filter_map(|options| options.history) {
        in_range("spec.channels.*.history.size", history.size.into(), 1, 100_000)?;
        in_range("spec.channels.*.history.ttlSeconds", history.ttl_seconds.into(), 1, 31_536_000)?;
    }
    Ok(())
}

/// A word that is no level would be the name of a module, of which there is none: nothing would be logged.
fn log(directives: Option<&str>) -> Result<Option<String>, Invalid> {
    let wrong = directives.into_iter().flat_map(|list| list.split(',')).find(|one| !is_directive(one));
    match wrong {
        Some(directive) => Err(Invalid::Log { directive: directive.into() }),
        None => Ok(directives.map(ToOwned::to_owned)),
    }
}

fn is_directive(text: &str) -> bool {
    let (module, level) = text.split_once('=').map_or((None, text), |(module, level)| (Some(module), level));
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|one| one.eq_ignore_ascii_case(level))
        && module.is_none_or(|module| module.split("::").all(word))
}

fn pod_template(template: &crd::PodTemplate) -> Result<(), Invalid> {
    let own = |key: &str| key.starts_with("mooring.dev/");
    let label =
        |key: &str| own(key) || [names::APP_NAME, names::APP_INSTANCE, names::APP_MANAGED_BY].contains(&key);
    let reserved = |field, key: &String| Err(Invalid::Reserved { field, key: key.clone() });
    if let Some(key) = template.labels.keys().find(|key| label(key)) {
        return reserved("spec.podTemplate.labels", key);
    }
    if let Some(key) = template.annotations.keys().find(|key| own(key)) {
        return reserved("spec.podTemplate.annotations", key);
    }
    if let Some(env) = template.env.iter().find(|env| env.name.starts_with("MOORING_")) {
        return reserved("spec.podTemplate.env", &env.name);
    }
    Ok(())
}

fn gateway(
    spec: &WebSocketClusterSpec,
    budget: u32,
    drain_timeout: Duration,
) -> Result<GatewayConfig, Invalid> {
    let protocols = &spec.protocols;
    if protocols.is_empty() || protocols.iter().collect::<BTreeSet<_>>().len() < protocols.len() {
        return Err(Invalid::Protocols { protocols: format!("{protocols:?}") });
    }
    let origins = &spec.listener.allowed_origins;
    if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
        return Err(Invalid::Origin { origin: origin.clone() });
    }
    let config = GatewayConfig {
        protocols: Protocols(protocols.clone()),
        allowed_origins: origins.clone(),
        compression: spec.listener.compression,
        proxies: gateway_core::config::Proxies::default(),
        auth: auth::entrants(&spec.auth)?,
        limits: spec.limits.clone(),
        channels: spec.channels.clone(),
        drain: gateway_core::config::Drain {
            max_reconnects_per_second: budget,
            timeout_seconds: u32::try_from(drain_timeout.as_secs()).unwrap_or(u32::MAX),
        },
    };
    let bytes = serde_json::to_string(&config).unwrap_or_default().len();
    if bytes > LONGEST_CONFIG {
        return Err(Invalid::ConfigurationTooLong { bytes, most: LONGEST_CONFIG });
    }
    Ok(config)
}

fn secret(field: &'static str, given: Option<&SecretKeySelector>) -> Result<Option<SecretKey>, Invalid> {
    let key = given.map(|given| SecretKey { name: given.name.clone(), key: given.key.clone() });
    match key {
        Some(key) if key.name.is_empty() || key.key.is_empty() => Err(Invalid::SecretRef { field }),
        key => Ok(key),
    }
}

fn image_pull_secrets(
    field: &'static str,
    given: &[LocalObjectReference],
    defaults: &Defaults,
) -> Result<BTreeSet<String>, Invalid> {
    if given.iter().any(|secret| secret.name.is_empty()) {
        return Err(Invalid::ImagePullSecret { field });
    }
    let named: BTreeSet<_> = given.iter().map(|secret| secret.name.clone()).collect();
    Ok(if named.is_empty() { defaults.image_pull_secrets.clone() } else { named })
}

/// Parses hours, minutes and seconds in this order, like `1h30m`.
fn drain_timeout(text: &str) -> Result<Duration, Invalid> {
    let total = [('h', 3600), ('m', 60), ('s', 1)].into_iter().try_fold(
        (0_u64, text),
        |(sum, rest), (unit, factor)| match rest.split_once(unit) {
            Some((digits, rest)) => digits.parse::<u32>().ok().map(|n| (sum + u64::from(n) * factor, rest)),
            None => Some((sum, rest)),
        },
    );
    match total {
        Some((sum @ 1.., "")) if Duration::from_secs(sum) <= LONGEST_DRAIN => Ok(Duration::from_secs(sum)),
        _ => Err(Invalid::DrainTimeout { value: text.into() }),
    }
}

fn surge(given: &IntOrString) -> Result<Surge, Invalid> {
    let parsed = match given {
        IntOrString::Int(pods) => u32::try_from(*pods).ok().map(Surge::Pods),
        IntOrString::String(text) => percent(text).map(Surge::Percent),
    };
    match parsed {
        Some(surge @ (Surge::Pods(1..) | Surge::Percent(1..))) => Ok(surge),
        _ => {
            let value = match given {
                IntOrString::Int(pods) => pods.to_string(),
                IntOrString::String(text) => format!("{text:?}"),
            };
            Err(Invalid::MaxSurge { value })
        }
    }
}

fn service(given: &crd::ClientService) -> Result<crd::ClientService, Invalid> {
    match given.node_port {
        Some(port) if given.type_ == ServiceType::ClusterIP => Err(Invalid::NodePortOfClusterIp { port }),
        Some(node_port) => port("spec.expose.service.nodePort", node_port).map(|_| given.clone()),
        None => Ok(given.clone()),
    }
}
