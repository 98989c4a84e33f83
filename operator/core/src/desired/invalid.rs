//! Why a spec is refused.

use thiserror::Error;

/// A spec that can't work: says the field, its value and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum Invalid {
    #[error(
        "metadata.name {name:?}: names Services and pods; use at most 46 lower-case letters, digits and dashes, starting with a letter"
    )]
    Name { name: String },
    #[error("metadata: has no {field}; parse a WebSocketCluster that was read from the API server")]
    NotStored { field: &'static str },
    #[error("{field} {value}: out of range; give {min} to {max}")]
    OutOfRange { field: &'static str, value: i64, min: i64, max: i64 },
    #[error("spec.replicas {replicas}: a fixed size and spec.scaling exclude each other; remove one of them")]
    FixedSizeWithScaling { replicas: i32 },
    #[error("spec.scaling.minReplicas {min}: is above maxReplicas {max}; lower it, or raise maxReplicas")]
    MinAboveMax { min: i32, max: i32 },
    #[error("spec.scaling.headroom {value:?}: not a percentage; write it like \"10%\", at most \"999%\"")]
    Headroom { value: String },
    #[error("spec.scaling.behavior.{direction}.tolerance {value}: not a fraction; give 0.0 to 1.0")]
    Tolerance { direction: &'static str, value: String },
    #[error(
        "spec.scaling.connectionsPerPod {target}: pods that are full at spec.limits.maxConnections {limit} would not be above it, so none would ever be added; lower it, or raise the limit or spec.scaling.headroom"
    )]
    TargetOutOfReach { target: i32, limit: u32 },
    #[error(
        "spec.listener.allowedOrigins {origin:?}: not an origin; give a scheme and a host without a path, like https://example.com"
    )]
    Origin { origin: String },
    #[error("spec.protocols {protocols}: empty or repeated; list centrifuge, raw or both, once each")]
    Protocols { protocols: String },
    #[error("spec.auth.anonymous false: nobody could connect; set anonymous: true or give jwt")]
    NobodyCanConnect,
    #[error("spec.auth.jwt: without a key; give hmacSecretRef, publicKeySecretRef or jwks")]
    NoJwtKey,
    #[error("spec.auth.jwt: has hmacSecretRef and publicKeySecretRef; give one of them")]
    TwoJwtKeys,
    #[error("spec.auth.jwt.jwks.url {url:?}: not an address of a key set; {remedy}")]
    JwksUrl { url: String, remedy: &'static str },
    #[error(
        "spec.auth.jwt.revokedTokens: a list of {count}; give at most {most}, without those that have expired, or exchange the key that has signed them"
    )]
    RevokedTokens { count: usize, most: usize },
    #[error(
        "spec.auth.jwt.revokedTokens {id:?}: not the jti of a token that can be revoked; give 1 to 253 visible ASCII characters other than \" and \\"
    )]
    RevokedToken { id: String },
    #[error(
        "spec: gives a configuration of {bytes} bytes, and a gateway can't be started with more than {most}; leave out what has expired of spec.auth.jwt.revokedTokens, or origins and namespaces"
    )]
    ConfigurationTooLong { bytes: usize, most: usize },
    #[error("{field}: name or key of the Secret is empty; give both")]
    SecretRef { field: &'static str },
    #[error("{field}: a name is empty; name the Secret, or remove the entry")]
    ImagePullSecret { field: &'static str },
    #[error(
        "spec.channels.namespaces {name:?}: empty, repeated or not of letters, digits, _ and - (at most 64); rename it"
    )]
    Namespace { name: String },
    #[error("spec.backplane: has {found} of redis and memory; give exactly one")]
    BackplaneKinds { found: usize },
    #[error(
        "spec.backplane.memory: joins the clients of one pod only, and the size is up to {pods}; use spec.backplane.redis, or one pod"
    )]
    MemoryNeedsOnePod { pods: i32 },
    #[error("spec.backplane.redis: has {found} of managed, url and urlFrom; give exactly one")]
    RedisKinds { found: usize },
    #[error(
        "spec.backplane.redis.url {url:?}: not an address that gateways can use; write it like redis://redis.example:6379/0, or rediss:// for TLS"
    )]
    RedisUrl { url: String },
    #[error(
        "spec.backplane.redis.passwordFrom: a managed Redis gets its password from the operator; remove it"
    )]
    PasswordOfManaged,
    #[error(
        "spec.backplane.redis.{field}: is for a Redis of your own, by url or urlFrom; remove it, or name one instead of managed"
    )]
    AccessOfManaged { field: &'static str },
    #[error(
        "spec.backplane.redis.tls: url {url:?} says nothing of TLS; begin it with rediss://, or remove tls"
    )]
    TlsOfPlainRedis { url: String },
    #[error(
        "spec.disruption.drainTimeout {value:?}: not a duration from 1s to 24h; write it like \"15m\" or \"1h30m\""
    )]
    DrainTimeout { value: String },
    #[error("spec.rollout.maxSurge {value}: new pods come before old ones go; give at least 1 or \"1%\"")]
    MaxSurge { value: String },
    #[error(
        "spec.expose.service.nodePort {port}: a ClusterIP Service has none; set type: NodePort or LoadBalancer"
    )]
    NodePortOfClusterIp { port: i32 },
    #[error(
        "spec.log {directive:?}: neither a level (off, error, warn, info, debug, trace) nor a module=level; write it like info,mooring_gateway::reactor=debug"
    )]
    Log { directive: String },
    #[error("{field}: {error}; correct it, or upgrade the operator if the definition is newer")]
    Undecodable { field: String, error: String },
    #[error("{field} {key:?}: belongs to the operator; remove it")]
    Reserved { field: &'static str, key: String },
}

impl Invalid {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Name { .. } => "InvalidName",
            Self::NotStored { .. } => "NotStored",
            Self::OutOfRange { .. } => "OutOfRange",
            Self::FixedSizeWithScaling { .. } => "FixedSizeWithScaling",
            Self::MinAboveMax { .. } => "MinAboveMax",
            Self::Headroom { .. } => "InvalidHeadroom",
            Self::Tolerance { .. } => "InvalidTolerance",
            Self::TargetOutOfReach { .. } => "TargetOutOfReach",
            Self::Origin { .. } => "InvalidOrigin",
            Self::Protocols { .. } => "InvalidProtocols",
            Self::NobodyCanConnect => "NobodyCanConnect",
            Self::NoJwtKey | Self::TwoJwtKeys => "InvalidJwtKeys",
            Self::JwksUrl { .. } => "InvalidJwksUrl",
            Self::RevokedTokens { .. } | Self::RevokedToken { .. } => "InvalidRevokedTokens",
            Self::ConfigurationTooLong { .. } => "ConfigurationTooLong",
            Self::SecretRef { .. } => "InvalidSecretRef",
            Self::ImagePullSecret { .. } => "InvalidImagePullSecret",
            Self::Namespace { .. } => "InvalidNamespace",
            Self::BackplaneKinds { .. } => "InvalidBackplane",
            Self::MemoryNeedsOnePod { .. } => "MemoryNeedsOnePod",
            Self::RedisKinds { .. } => "InvalidRedis",
            Self::RedisUrl { .. } => "InvalidRedisUrl",
            Self::PasswordOfManaged => "PasswordOfManagedRedis",
            Self::AccessOfManaged { .. } => "AccessOfManagedRedis",
            Self::TlsOfPlainRedis { .. } => "TlsOfPlainRedis",
            Self::DrainTimeout { .. } => "InvalidDrainTimeout",
            Self::MaxSurge { .. } => "InvalidMaxSurge",
            Self::NodePortOfClusterIp { .. } => "NodePortOfClusterIP",
            Self::Log { .. } => "InvalidLog",
            Self::Undecodable { .. } => "UndecodableSpec",
            Self::Reserved { .. } => "ReservedName",
        }
    }
}
