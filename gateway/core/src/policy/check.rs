//! What makes a configuration work: each value in its range, and those that depend on each other fitting together.

use std::collections::BTreeSet;

use crate::{
    config::{ChannelOptions, GatewayConfig},
    handshake::is_origin,
};

/// The smallest limit of the memory that one gateway holds for its clients.
pub const LEAST_MEMORY: u64 = 16 * 1024 * 1024;

/// Tokens that may be revoked at once.
pub const MOST_REVOKED: usize = 10_000;

/// Origins, and namespaces, as many as a `WebSocketCluster` may have.
const MOST_LISTED: usize = 100;
const LISTED: &str = "it may have at most 100";

/// Messages of the largest size that have to fit into what may wait for a client.
const MESSAGES_QUEUED: u64 = 4;
/// Queues to clients, as long as they may be, that have to fit into the memory for all.
const QUEUES_HELD: u64 = 8;

/// Why a configuration can't work: the field, its value and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration field {field} is {value}; {remedy}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub remedy: &'static str,
}

/// Whether a gateway can go by a configuration.
pub(super) fn check(config: &GatewayConfig, has_keys: bool) -> Result<(), Invalid> {
    let limits = &config.limits;
    let unlimited = u32::MAX;
    at_least(
        1,
        "it must be at least 1",
        &[
            ("limits.maxConnections", limits.max_connections),
            ("limits.connectionsPerSecond", limits.connections_per_second),
            ("limits.connectionsPerAddress", limits.connections_per_address.unwrap_or(unlimited)),
            (
                "limits.connectionsPerSecondPerAddress",
                limits.connections_per_second_per_address.unwrap_or(unlimited),
            ),
            (
                "limits.wrongTokensPerMinutePerAddress",
                limits.wrong_tokens_per_minute_per_address.unwrap_or(unlimited),
            ),
            ("limits.subscriptions", limits.subscriptions),
            ("drain.maxReconnectsPerSecond", config.drain.max_reconnects_per_second),
        ],
    )?;
    at_least(1024, "it must be at least 1024", &[("limits.maxMessageBytes", limits.max_message_bytes)])?;
    let queue = ("limits.outboundQueueBytes", limits.outbound_queue_bytes);
    at_least(16_384, "it must be at least 16384", &[queue])?;
    if u64::from(limits.outbound_queue_bytes) < MESSAGES_QUEUED * u64::from(limits.max_message_bytes) {
        return Err(invalid(
            queue.0,
            queue.1,
            "it must be at least four times limits.maxMessageBytes, or a few messages would cut off whoever gets them",
        ));
    }
    let least = LEAST_MEMORY.max(QUEUES_HELD * u64::from(limits.outbound_queue_bytes));
    if let Some(memory) = limits.memory_bytes
        && memory > 0
        && memory < least
    {
        let remedy =
            "it must be at least 16777216, and eight times limits.outboundQueueBytes; 0 sets no limit";
        return Err(invalid("limits.memoryBytes", memory, remedy));
    }
    if config.proxies.proxy_protocol && config.proxies.trusted.is_empty() {
        let remedy = "name the proxies that write its header in proxies.trusted";
        return Err(invalid("proxies.proxyProtocol", true, remedy));
    }
    if !config.auth.anonymous && !has_keys && config.auth.jwks.is_none() {
        return Err(invalid(
            "auth.anonymous",
            false,
            "with it false nobody could connect: give --jwt-hmac-secret-file, --jwt-public-key-file, auth.jwks or --anonymous",
        ));
    }
    if let Some(jwks) = &config.auth.jwks
        && let Err(remedy) = jwks.check()
    {
        return Err(invalid("auth.jwks.url", format!("{:?}", jwks.url), remedy));
    }
    at_most(
        MOST_REVOKED,
        "it may have at most 10000; leave out those that have expired, or exchange the key that has signed them",
        ("auth.revokedTokens", config.auth.revoked_tokens.len()),
    )?;
    if config.auth.revoked_tokens.contains("") {
        let remedy = "a token without a jti can't be revoked; name each token by its jti";
        return Err(invalid("auth.revokedTokens", "a list with an empty entry", remedy));
    }
    if config.protocols.0.is_empty() {
        return Err(invalid("protocols", "empty", "name at least one of centrifuge and raw"));
    }
    check_origins(&config.allowed_origins)?;
    check_channels(config)
}

fn check_origins(origins: &[String]) -> Result<(), Invalid> {
    at_most(MOST_LISTED, LISTED, ("allowedOrigins", origins.len()))?;
    let not_one = |(_, origin): &(usize, &String)| !is_origin(origin);
    origins.iter().enumerate().find(not_one).map_or(Ok(()), |(index, origin)| {
        let remedy =
            "an origin is a scheme and a host without a path, like https://example.com; leave the list empty to allow all";
        Err(invalid(format!("allowedOrigins[{index}]"), format!("{origin:?}"), remedy))
    })
}

fn check_channels(config: &GatewayConfig) -> Result<(), Invalid> {
    let channels = &config.channels;
    at_most(MOST_LISTED, LISTED, ("channels.namespaces", channels.namespaces.len()))?;
    check_options("channels.default", &channels.default)?;
    let mut names = BTreeSet::new();
    for (index, namespace) in channels.namespaces.iter().enumerate() {
        let path = format!("channels.namespaces[{index}]");
        let name = namespace.name.as_str();
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_of_name) {
            let remedy = "it must be 1 to 64 letters, digits, _ or -";
            return Err(invalid(format!("{path}.name"), format!("{name:?}"), remedy));
        }
        if !names.insert(name) {
            let remedy = "another namespace has that name; remove one of them";
            return Err(invalid(format!("{path}.name"), format!("{name:?}"), remedy));
        }
        check_options(&path, &namespace.options)?;
    }
    Ok(())
}

fn check_options(path: &str, options: &ChannelOptions) -> Result<(), Invalid> {
    let Some(history) = options.history else { return Ok(()) };
    let (size, ttl) = (format!("{path}.history.size"), format!("{path}.history.ttlSeconds"));
    let fields = [(&*size, history.size), (&*ttl, history.ttl_seconds)];
    at_least(1, "it must be at least 1; leave history out to keep nothing", &fields)
}

fn at_least(least: u32, remedy: &'static str, fields: &[(&str, u32)]) -> Result<(), Invalid> {
    match fields.iter().find(|(_, value)| *value < least) {
        Some((field, value)) => Err(invalid(*field, value, remedy)),
        None => Ok(()),
    }
}

fn at_most(most: usize, remedy: &'static str, (field, length): (&str, usize)) -> Result<(), Invalid> {
    if length <= most { Ok(()) } else { Err(invalid(field, format!("a list of {length}"), remedy)) }
}

fn invalid(field: impl Into<String>, value: impl ToString, remedy: &'static str) -> Invalid {
    Invalid { field: field.into(), value: value.to_string(), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{History, Jwks, Namespace, Protocols},
        policy::Policy,
    };

    /// Why a configuration with this change is refused.
    fn refusal(change: impl FnOnce(&mut GatewayConfig)) -> Option<String> {
        let mut config = GatewayConfig::default();
        change(&mut config);
        Policy::compile(config, vec![]).err().map(|error| error.to_string())
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_field_value_and_remedy() {
        let namespace = |name: &str| Namespace { name: name.to_owned(), options: ChannelOptions::default() };
        let jwks = |url: &str, allow_http| Some(Jwks { url: url.to_owned(), allow_http });
        let cases = [
            (
                refusal(|c| c.limits.max_message_bytes = 10),
                "limits.maxMessageBytes is 10; it must be at least 1024",
            ),
            (refusal(|c| c.limits.subscriptions = 0), "limits.subscriptions is 0; it must be at least 1"),
            (
                refusal(|c| c.limits.connections_per_address = Some(0)),
                "limits.connectionsPerAddress is 0; it must be at least 1",
            ),
            (
                refusal(|c| c.limits.max_message_bytes = 2 * 1024 * 1024),
                "limits.outboundQueueBytes is 1048576; it must be at least four times limits.maxMessageBytes, \
                 or a few messages would cut off whoever gets them",
            ),
            (
                refusal(|c| c.limits.wrong_tokens_per_minute_per_address = Some(0)),
                "limits.wrongTokensPerMinutePerAddress is 0; it must be at least 1",
            ),
            (
                refusal(|c| c.limits.memory_bytes = Some(1_000_000)),
                "limits.memoryBytes is 1000000; it must be at least 16777216, and eight times \
                 limits.outboundQueueBytes; 0 sets no limit",
            ),
            (
                refusal(|c| {
                    c.limits.memory_bytes = Some(LEAST_MEMORY);
                    c.limits.outbound_queue_bytes = 4 * 1024 * 1024;
                }),
                "limits.memoryBytes is 16777216; it must be at least 16777216, and eight times \
                 limits.outboundQueueBytes; 0 sets no limit",
            ),
            (
                refusal(|c| c.protocols = Protocols(vec![])),
                "protocols is empty; name at least one of centrifuge and raw",
            ),
            (
                refusal(|c| c.proxies.proxy_protocol = true),
                "proxies.proxyProtocol is true; name the proxies that write its header in proxies.trusted",
            ),
            (
                refusal(|c| c.auth.jwks = jwks("http://login.example.com/keys", false)),
                "auth.jwks.url is \"http://login.example.com/keys\"; over http whoever is between could let in \
                 whom he likes: write https, or set allowHttp",
            ),
            (
                refusal(|c| c.auth.revoked_tokens = (0..10_001).map(|number| number.to_string()).collect()),
                "auth.revokedTokens is a list of 10001; it may have at most 10000; leave out those that have \
                 expired, or exchange the key that has signed them",
            ),
            (
                refusal(|c| c.auth.revoked_tokens = [String::new()].into()),
                "auth.revokedTokens is a list with an empty entry; a token without a jti can't be revoked; name \
                 each token by its jti",
            ),
            (
                refusal(|c| c.allowed_origins = vec!["https://a".to_owned(), "*".to_owned()]),
                "allowedOrigins[1] is \"*\"; an origin is a scheme and a host without a path, like \
                 https://example.com; leave the list empty to allow all",
            ),
            (
                refusal(|c| c.allowed_origins = vec!["https://a".to_owned(); 101]),
                "allowedOrigins is a list of 101; it may have at most 100",
            ),
            (
                refusal(|c| c.channels.namespaces = (0..101).map(|n| namespace(&n.to_string())).collect()),
                "channels.namespaces is a list of 101; it may have at most 100",
            ),
            (
                refusal(|c| c.channels.namespaces.push(namespace("a:b"))),
                "channels.namespaces[1].name is \"a:b\"; it must be 1 to 64 letters, digits, _ or -",
            ),
            (
                refusal(|c| c.channels.namespaces.push(namespace("live"))),
                "channels.namespaces[1].name is \"live\"; another namespace has that name; remove one of them",
            ),
            (
                refusal(|c| c.channels.default.history = Some(History { size: 0, ttl_seconds: 1 })),
                "channels.default.history.size is 0; it must be at least 1; leave history out to keep nothing",
            ),
        ];
        for (refusal, expected) in cases {
            assert_eq!(refusal, Some(format!("configuration field {expected}")));
        }
        assert_eq!(refusal(|_| {}), None);
        for enough in [None, Some(0), Some(LEAST_MEMORY)] {
            assert_eq!(refusal(|c| c.limits.memory_bytes = enough), None, "{enough:?}");
        }
        let large_messages = |c: &mut GatewayConfig| {
            c.limits.max_message_bytes = 2 * 1024 * 1024;
            c.limits.outbound_queue_bytes = 8 * 1024 * 1024;
        };
        assert_eq!(refusal(large_messages), None);
    }

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine_unless_it_is_said_otherwise() {
        let is_taken = |url: &str, allow_http| {
            let jwks = Some(Jwks { url: url.to_owned(), allow_http });
            refusal(|c| (c.auth.jwks, c.auth.anonymous) = (jwks, false)).is_none()
        };
        let cases = [
            ("https://login.example.com/.well-known/jwks.json", [true, true]),
            ("https://login.example.com:8443/keys?tenant=a", [true, true]),
            ("https://[2001:db8::1]/keys", [true, true]),
            ("http://localhost:8080/keys", [true, true]),
            ("http://127.0.0.2/keys", [true, true]),
            ("http://[::1]:8080/keys", [true, true]),
            ("http://keys.login.svc/keys", [false, true]),
            ("http://localhost.example.com/keys", [false, true]),
            ("https://ada:secret@login.example.com/keys", [false, false]),
            ("https://login.example.com/keys#1", [false, false]),
            ("https:///keys", [false, false]),
            ("https://login.example.com:99999/keys", [false, false]),
            ("https://login.example.com:/keys", [false, false]),
            ("http://[::1]:/keys", [false, false]),
            ("ftp://login.example.com/keys", [false, false]),
            ("file:///etc/keys", [false, false]),
            ("/keys", [false, false]),
            ("login.example.com", [false, false]),
            ("", [false, false]),
        ];
        for (url, expected) in cases {
            assert_eq!([false, true].map(|allow_http| is_taken(url, allow_http)), expected, "{url}");
        }
    }
}
