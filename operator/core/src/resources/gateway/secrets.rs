//! Secrets of a gateway, mounted as files: an environment variable would be inherited and printed.

use crate::desired::{Backplane, Desired, SecretKey};
use crate::resources::GeneratedSecret;
use k8s_openapi::api::core::v1::{
    KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};

const VOLUME: &str = "secrets";
const PATH: &str = "/run/secrets/mooring";

/// One file: the gateway's flag for it, its name and where it comes from.
struct File {
    flag: &'static str,
    name: &'static str,
    from: SecretKey,
}

fn files(desired: &Desired) -> Vec<File> {
    let made = |which: GeneratedSecret| SecretKey { name: which.name(desired), key: which.key().into() };
    let secrets = &desired.secrets;
    let api_key = secrets.api_key.clone().unwrap_or_else(|| made(GeneratedSecret::ApiKey));
    let [redis, redis_ca, redis_certificate, redis_key] = match &desired.backplane {
        Backplane::Managed(_) => [Some(made(GeneratedSecret::RedisPassword)), None, None, None],
        Backplane::External(external) => {
            let [certificate, key] = external.identity().map_or([None, None], |keys| keys.map(Some));
            [external.password.clone(), external.ca.clone(), certificate, key]
        }
        Backplane::Memory => [None, None, None, None],
    };
    [
        ("--control-token-file", "control-token", Some(made(GeneratedSecret::ControlToken))),
        ("--api-key-file", "api-key", Some(api_key)),
        ("--redis-password-file", "redis-password", redis),
        ("--redis-ca-file", "redis-ca", redis_ca),
        ("--redis-client-certificate-file", "redis-client-certificate", redis_certificate),
        ("--redis-client-key-file", "redis-client-key", redis_key),
        ("--jwt-hmac-secret-file", "jwt-hmac-secret", secrets.jwt_hmac.clone()),
        ("--jwt-public-key-file", "jwt-public-key", secrets.jwt_public_key.clone()),
        ("--jwks-ca-file", "jwks-ca", secrets.jwks_ca.clone()),
    ]
    .into_iter()
    .filter_map(|(flag, name, from)| from.map(|from| File { flag, name, from }))
    .collect()
}

/// The flags that name the files.
pub(super) fn arguments(desired: &Desired) -> Vec<String> {
    files(desired).into_iter().map(|file| format!("{}={PATH}/{}", file.flag, file.name)).collect()
}

pub(super) fn volume(desired: &Desired) -> Volume {
    let projection = |file: File| VolumeProjection {
        secret: Some(SecretProjection {
            name: file.from.name,
            items: Some(vec![KeyToPath { key: file.from.key, path: file.name.into(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: VOLUME.into(),
        projected: Some(ProjectedVolumeSource {
            // Readable by the pod's group, which is ours alone.
            default_mode: Some(0o440),
            sources: Some(files(desired).into_iter().map(projection).collect()),
        }),
        ..Volume::default()
    }
}

pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.into(),
        mount_path: PATH.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
