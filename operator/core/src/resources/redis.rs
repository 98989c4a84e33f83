//! The managed Redis: one replica, every write on disk before it is answered.

use super::secret::REDIS_CONFIG;
use super::{Object, label_selector, labels, metadata, pull_secrets, selector};
use crate::desired::{Desired, Managed};
use crate::names::{REDIS, REDIS_PORT, REDIS_VOLUME};
use crate::observed::ObjectKind;
use crate::resources::GeneratedSecret;
use crate::resources::gateway::{container_security, pod_security};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, ExecAction, KeyToPath, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, Probe, SecretKeySelector, SecretVolumeSource,
    Service, ServicePort, ServiceSpec, TCPSocketAction, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

const DATA: &str = REDIS_VOLUME;
const DATA_PATH: &str = "/data";
const CONFIG: &str = "config";
const CONFIG_PATH: &str = "/etc/mooring";

pub(super) fn service(desired: &Desired) -> Object {
    let name = desired.name.redis();
    let service = Service {
        metadata: metadata(desired, REDIS, name.clone()),
        spec: Some(ServiceSpec {
            // Headless: a virtual address would keep connections to a pod that is gone.
            cluster_ip: Some("None".into()),
            selector: Some(selector(desired, REDIS)),
            ports: Some(vec![ServicePort {
                name: Some("redis".into()),
                port: REDIS_PORT,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String("redis".into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Object::new(ObjectKind::Service, name, &service)
}

pub(super) fn stateful_set(desired: &Desired, managed: &Managed) -> Object {
    let name = desired.name.redis();
    let set = StatefulSet {
        metadata: metadata(desired, REDIS, name.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(name.clone()),
            selector: label_selector(selector(desired, REDIS)),
            // The volume goes with the cluster, as its history does.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Delete".into()),
                when_scaled: Some("Retain".into()),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels(desired, REDIS)), ..ObjectMeta::default() }),
                spec: Some(pod(&name, managed)),
            },
            volume_claim_templates: Some(vec![claim(managed)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    Object::new(ObjectKind::StatefulSet, name, &set)
}

fn claim(managed: &Managed) -> PersistentVolumeClaim {
    let storage = &managed.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(DATA.into()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".into(), storage.size.clone())])),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: storage.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn pod(secret: &str, managed: &Managed) -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: pull_secrets(&managed.image_pull_secrets),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(30),
        containers: vec![container(secret, managed)],
        volumes: Some(vec![Volume {
            name: CONFIG.into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.into()),
                items: Some(vec![KeyToPath {
                    key: REDIS_CONFIG.into(),
                    path: REDIS_CONFIG.into(),
                    ..KeyToPath::default()
                }]),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(secret: &str, managed: &Managed) -> Container {
    Container {
        name: "redis".into(),
        image: Some(managed.image.clone()),
        command: Some(command()),
        env: Some(vec![EnvVar {
            name: "REDISCLI_AUTH".into(),
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: secret.into(),
                    key: GeneratedSecret::RedisPassword.key().into(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        ports: Some(vec![ContainerPort {
            name: Some("redis".into()),
            container_port: REDIS_PORT,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        resources: managed.spec.resources.clone(),
        security_context: Some(container_security()),
        // -e: an error reply, such as LOADING while the file is read, is a failure.
        readiness_probe: Some(Probe {
            exec: Some(ExecAction { command: Some(["redis-cli", "-e", "ping"].map(Into::into).into()) }),
            period_seconds: Some(2),
            timeout_seconds: Some(2),
            failure_threshold: Some(3),
            ..Probe::default()
        }),
        // Only the socket: a Redis that loads a large file is alive.
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::String("redis".into()), host: None }),
            initial_delay_seconds: Some(10),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(6),
            ..Probe::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount { name: DATA.into(), mount_path: DATA_PATH.into(), ..VolumeMount::default() },
            VolumeMount {
                name: CONFIG.into(),
                mount_path: CONFIG_PATH.into(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

/// Explicit, and without a shell, so that any image of Redis or Valkey does.
fn command() -> Vec<String> {
    let config = format!("{CONFIG_PATH}/{REDIS_CONFIG}");
    let options = [
        ("--dir", DATA_PATH),
        ("--appendonly", "yes"),
        ("--appendfsync", "always"),
        ("--save", ""),
        // Rather an error to the publisher than history lost in silence.
        ("--maxmemory-policy", "noeviction"),
    ];
    let words = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
    ["redis-server".to_owned(), config].into_iter().chain(words).collect()
}
