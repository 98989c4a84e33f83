//! What joins the gateways, and how they reach it.

use super::super::{External, Managed, RedisUrl};
use super::{Backplane, Defaults, Invalid, image_pull_secrets, secret};
use crate::crd;

/// How gateways are joined.
pub(super) fn backplane(
    given: &crd::Backplane,
    defaults: &Defaults,
    prefix: impl FnOnce() -> String,
) -> Result<Backplane, Invalid> {
    match (&given.redis, given.memory) {
        (Some(redis), None) if redis.managed.is_some() => managed_redis(redis, defaults),
        (Some(redis), None) => external_redis(redis, prefix()),
        (None, Some(_)) => Ok(Backplane::Memory),
        (redis, _) => Err(Invalid::BackplaneKinds { found: redis.iter().len() * 2 }),
    }
}

fn managed_redis(redis: &crd::Redis, defaults: &Defaults) -> Result<Backplane, Invalid> {
    let managed = match redis {
        crd::Redis { managed: Some(managed), url: None, url_from: None, .. } => managed,
        _ => return Err(redis_kinds(redis)),
    };
    if redis.password_from.is_some() {
        return Err(Invalid::PasswordOfManaged);
    }
    let given = [("username", redis.username.is_some()), ("tls", redis.tls.is_some())];
    if let Some((field, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        return Err(Invalid::AccessOfManaged { field });
    }
    Ok(Backplane::Managed(Managed {
        image: managed.image.clone().unwrap_or_else(|| defaults.redis_image.clone()),
        image_pull_secrets: image_pull_secrets(
            "spec.backplane.redis.managed.imagePullSecrets",
            &managed.image_pull_secrets,
            defaults,
        )?,
        spec: managed.clone(),
    }))
}

fn external_redis(redis: &crd::Redis, prefix: String) -> Result<Backplane, Invalid> {
    let url = match (&redis.url, secret("spec.backplane.redis.urlFrom", redis.url_from.as_ref())?) {
        (Some(url), None) => RedisUrl::Plain(redis_url(url, redis.tls.is_some())?),
        (None, Some(key)) => RedisUrl::Secret(key),
        _ => return Err(redis_kinds(redis)),
    };
    let tls = redis.tls.clone().unwrap_or_default();
    let client_certificate = tls.client_certificate_secret_ref.map(|secret| secret.name);
    if client_certificate.as_ref().is_some_and(String::is_empty) {
        return Err(Invalid::SecretRef { field: "spec.backplane.redis.tls.clientCertificateSecretRef" });
    }
    Ok(Backplane::External(External {
        url,
        prefix,
        username: redis.username.clone(),
        password: secret("spec.backplane.redis.passwordFrom", redis.password_from.as_ref())?,
        ca: secret("spec.backplane.redis.tls.caSecretRef", tls.ca_secret_ref.as_ref())?,
        client_certificate,
    }))
}

fn redis_kinds(redis: &crd::Redis) -> Invalid {
    Invalid::RedisKinds {
        found: redis.managed.iter().len() + redis.url.iter().len() + redis.url_from.iter().len(),
    }
}

fn redis_url(url: &str, has_tls: bool) -> Result<String, Invalid> {
    let is_address =
        |scheme| url.strip_prefix(scheme).is_some_and(|rest: &str| !rest.is_empty() && !rest.contains(' '));
    match (is_address("redis://"), is_address("rediss://")) {
        (true, _) if has_tls => Err(Invalid::TlsOfPlainRedis { url: url.into() }),
        (false, false) => Err(Invalid::RedisUrl { url: url.into() }),
        _ => Ok(url.into()),
    }
}
