//! What a gateway is started with, checked once.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gateway_core::{
    config::GatewayConfig,
    sequencer::ShardSet,
    token::{Key, KeyError, Verifier},
};

/// Keys of tokens at once: enough to exchange one of each kind, and few enough to try them all.
const MAX_KEYS: usize = 8;

/// Everything a gateway needs to know at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address that clients connect to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the control port; port 0 takes a free one.
    pub control: SocketAddr,
    /// The configuration file.
    pub config: GatewayConfig,
    /// Redis, or memory when absent.
    pub redis_url: Option<String>,
    /// What the names of all keys and pub/sub channels in Redis begin with.
    pub redis_prefix: String,
    /// Contents of the secret files.
    pub secrets: Secrets,
    /// Name of this gateway in reports and replies.
    pub node_name: String,
    /// Revision of the configuration in reports.
    pub revision: String,
    /// Threads that hold connections; 0 takes one per core.
    pub shards: u16,
    /// Between SIGTERM and the first moved client.
    pub settle: Duration,
    /// Serve /echo.
    pub echo: bool,
    /// Serve the server API without a key.
    pub insecure_api: bool,
}

/// Contents of the secret files, without surrounding white space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Password of Redis.
    pub redis_password: Option<Secret>,
    /// Bearer token of /report and /drain.
    pub control_token: Option<Secret>,
    /// Secrets of HMAC-signed client tokens.
    pub jwt_hmac_secrets: Vec<Secret>,
    /// Public keys of client tokens, PEM, each text of one or more.
    pub jwt_public_keys: Vec<Secret>,
    /// Key of the server API.
    pub api_key: Option<Secret>,
}

/// Messages of the largest size that have to fit into what may wait for a client.
const MESSAGES_QUEUED: u64 = 4;

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why the settings cannot work: the field, its value and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is missing or may not be read.
    #[error("{flag}: {} cannot be read ({error}); name a file that this user may read", path.display())]
    Unreadable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A secret file holds nothing.
    #[error("{flag}: {} is empty; write the secret into it or leave the flag out", path.display())]
    EmptySecret {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A key file holds no key.
    #[error("{flag}: {error}")]
    NotAKey {
        /// The flag that names it.
        flag: &'static str,
        /// Why.
        error: KeyError,
    },
    /// More keys than are tried.
    #[error(
        "--jwt-hmac-secret-file and --jwt-public-key-file name {found} keys; at most {MAX_KEYS}, so remove those that sign no more"
    )]
    TooManyKeys {
        /// How many there are.
        found: usize,
    },
    /// The configuration is not of its form.
    #[error("configuration {origin}: {message}")]
    Malformed {
        /// File or variable.
        origin: String,
        /// Field and reason.
        message: String,
    },
    /// A value is out of its range.
    #[error("configuration field {field} is {value}; {remedy}")]
    Invalid {
        /// Path of the field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        remedy: &'static str,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            control: SocketAddr::from(([127, 0, 0, 1], 9000)),
            config: GatewayConfig::default(),
            redis_url: None,
            redis_prefix: "mooring".to_owned(),
            secrets: Secrets::default(),
            node_name: "gateway".to_owned(),
            revision: String::new(),
            shards: 0,
            settle: Duration::from_secs(3),
            echo: false,
            insecure_api: false,
        }
    }
}

impl Settings {
    /// Refuses values that would make a gateway that serves nobody or drains never.
    pub fn check(&self) -> Result<(), SettingsError> {
        let config = &self.config;
        let limits = &config.limits;
        let at_least = [
            ("limits.maxConnections", limits.max_connections, 1, "it must be at least 1"),
            ("limits.connectionsPerSecond", limits.connections_per_second, 1, "it must be at least 1"),
            (
                "limits.connectionsPerAddress",
                limits.connections_per_address.unwrap_or(u32::MAX),
                1,
                "it must be at least 1",
            ),
            (
                "limits.connectionsPerSecondPerAddress",
                limits.connections_per_second_per_address.unwrap_or(u32::MAX),
                1,
                "it must be at least 1",
            ),
            ("limits.maxMessageBytes", limits.max_message_bytes, 1024, "it must be at least 1024"),
            ("limits.subscriptions", limits.subscriptions, 1, "it must be at least 1"),
            ("limits.outboundQueueBytes", limits.outbound_queue_bytes, 16_384, "it must be at least 16384"),
            (
                "drain.maxReconnectsPerSecond",
                config.drain.max_reconnects_per_second,
                1,
                "it must be at least 1",
            ),
        ];
        for (field, value, least, remedy) in at_least {
            if value < least {
                return Err(SettingsError::Invalid { field, value: value.to_string(), remedy });
            }
        }
        let (message, queue) = (config.limits.max_message_bytes, config.limits.outbound_queue_bytes);
        if u64::from(queue) < MESSAGES_QUEUED * u64::from(message) {
            return Err(SettingsError::Invalid {
                field: "limits.outboundQueueBytes",
                value: queue.to_string(),
                remedy: "it must be at least four times limits.maxMessageBytes, or a few messages would cut off whoever gets them",
            });
        }
        if config.proxies.proxy_protocol && config.proxies.trusted.is_empty() {
            let remedy = "name the proxies that write its header in proxies.trusted";
            let value = "true".to_owned();
            return Err(SettingsError::Invalid { field: "proxies.proxyProtocol", value, remedy });
        }
        if usize::from(self.shards) > ShardSet::MAX {
            let value = self.shards.to_string();
            return Err(SettingsError::Invalid { field: "--shards", value, remedy: "it may be at most 128" });
        }
        if !config.auth.anonymous && !self.secrets.has_token_key() {
            let remedy = "with it false nobody could connect: give --jwt-hmac-secret-file, --jwt-public-key-file or --anonymous";
            return Err(SettingsError::Invalid {
                field: "auth.anonymous",
                value: "false".to_owned(),
                remedy,
            });
        }
        if config.protocols.0.is_empty() {
            let remedy = "name at least one of centrifuge and raw";
            return Err(SettingsError::Invalid { field: "protocols", value: "empty".to_owned(), remedy });
        }
        Ok(())
    }

    /// Checks the tokens of clients; without a key it accepts none.
    pub fn verifier(&self) -> Result<Arc<Verifier>, SettingsError> {
        let mut keys = Vec::new();
        for secret in &self.secrets.jwt_hmac_secrets {
            keys.push(named("--jwt-hmac-secret-file", Key::hmac(secret.reveal().as_bytes()))?);
        }
        for pem in &self.secrets.jwt_public_keys {
            keys.extend(named("--jwt-public-key-file", Key::public(pem.reveal().as_bytes()))?);
        }
        if keys.len() > MAX_KEYS {
            return Err(SettingsError::TooManyKeys { found: keys.len() });
        }
        Ok(Arc::new(Verifier::new(keys, &self.config.auth)))
    }

    /// How many shards `shards` stands for on this machine.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        match self.shards {
            0 => shards_on(std::thread::available_parallelism().map_or(1, Into::into)),
            n => n,
        }
    }
}

impl Secrets {
    /// Whether clients can have a token.
    #[must_use]
    pub fn has_token_key(&self) -> bool {
        !self.jwt_hmac_secrets.is_empty() || !self.jwt_public_keys.is_empty()
    }
}

/// One shard per core, as far as they can be told apart.
fn shards_on(cores: usize) -> u16 {
    u16::try_from(cores.min(ShardSet::MAX)).unwrap_or(u16::MAX)
}

/// A configuration, and what its text says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFile {
    /// With the defaults of what it does not say.
    pub config: GatewayConfig,
    /// It says whether clients without a token may connect.
    pub names_anonymous: bool,
}

/// The configuration from a file, else from inline text, else the default.
pub fn read_config(file: Option<&Path>, inline: Option<&str>) -> Result<ConfigFile, SettingsError> {
    match (file, inline) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
                flag: "--config",
                path: path.to_owned(),
                error,
            })?;
            parse_config(&path.display().to_string(), &text)
        }
        (None, Some(text)) => parse_config("MOORING_CONFIG", text),
        (None, None) => Ok(ConfigFile::default()),
    }
}

/// The content of a secret file, without the newline that editors leave at its end.
pub fn read_secret(flag: &'static str, path: &Path) -> Result<Secret, SettingsError> {
    let text = fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
        flag,
        path: path.to_owned(),
        error,
    })?;
    match text.trim() {
        "" => Err(SettingsError::EmptySecret { flag, path: path.to_owned() }),
        secret => Ok(Secret::new(secret)),
    }
}

fn named<T>(flag: &'static str, key: Result<T, KeyError>) -> Result<T, SettingsError> {
    key.map_err(|error| SettingsError::NotAKey { flag, error })
}

/// YAML, of which JSON is a part.
fn parse_config(origin: &str, text: &str) -> Result<ConfigFile, SettingsError> {
    if text.trim().is_empty() {
        return Ok(ConfigFile::default());
    }
    let malformed = |error: serde_yaml::Error| SettingsError::Malformed {
        origin: origin.to_owned(),
        message: error.to_string(),
    };
    let config = serde_yaml::from_str(text).map_err(malformed)?;
    let fields: serde_yaml::Value = serde_yaml::from_str(text).map_err(malformed)?;
    Ok(ConfigFile {
        config,
        names_anonymous: fields.get("auth").and_then(|auth| auth.get("anonymous")).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_field() {
        let error = read_config(None, Some("limits: {maxConnections: many}")).unwrap_err().to_string();
        assert!(error.starts_with("configuration MOORING_CONFIG: limits.maxConnections: "), "{error}");
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_name() {
        let error = read_config(None, Some(r#"{"drian": {}}"#)).unwrap_err().to_string();
        assert!(error.contains("unknown field `drian`"), "{error}");
    }

    #[test]
    fn a_typing_error_at_any_depth_is_refused_with_its_name() {
        let cases = [
            ("limits: {maxConnection: 5}", "maxConnection"),
            ("auth: {audiance: a}", "audiance"),
            ("channels: {defaults: {}}", "defaults"),
            ("channels: {default: {publsh: Server}}", "publsh"),
            ("channels: {default: {history: {sise: 5}}}", "sise"),
            ("channels: {namespaces: [{name: a, publsh: Server}]}", "publsh"),
            ("channels: {namespaces: [{name: a, history: {ttl: 5}}]}", "ttl"),
            ("drain: {timeout: 5}", "timeout"),
            ("proxies: {trust: []}", "trust"),
        ];
        for (text, field) in cases {
            let error = read_config(None, Some(text)).unwrap_err().to_string();
            assert!(error.contains(&format!("unknown field `{field}`")), "{text}: {error}");
        }
        let good = "channels: {namespaces: [{name: a, publish: Server, history: {size: 5}}]}";
        assert_eq!(read_config(None, Some(good)).unwrap().config.channels.namespaces[0].name, "a");
    }

    #[test]
    fn a_proxy_is_named_by_its_range_of_addresses() {
        let proxies = |text: &str| read_config(None, Some(text)).map(|file| file.config.proxies);
        let good = proxies("proxies: {trusted: [10.0.0.0/8, '2001:db8::1'], proxyProtocol: true}").unwrap();
        assert_eq!((good.trusted.len(), good.proxy_protocol), (2, true));
        let error = proxies("proxies: {trusted: [router]}").unwrap_err().to_string();
        assert!(error.contains("\"router\" is no range of addresses"), "{error}");
        let mut settings = Settings::default();
        settings.config.proxies.proxy_protocol = true;
        assert!(settings.check().unwrap_err().to_string().contains("proxies.trusted"));
    }

    #[test]
    fn a_machine_of_more_cores_than_shards_can_be_told_apart_gets_as_many_as_can_be() {
        assert_eq!([shards_on(1), shards_on(128), shards_on(192)], [1, 128, 128]);
        let settings = Settings { shards: 129, ..Settings::default() };
        assert_eq!(
            settings.check().unwrap_err().to_string(),
            "configuration field --shards is 129; it may be at most 128"
        );
    }

    #[test]
    fn more_keys_than_are_tried_are_refused() {
        let mut settings = Settings::default();
        settings.secrets.jwt_hmac_secrets = vec![Secret::new("s3cret"); 9];
        let error = settings.verifier().err().unwrap().to_string();
        assert!(error.contains("name 9 keys; at most 8"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_field_value_and_remedy() {
        let mut settings = Settings::default();
        settings.config.limits.max_message_bytes = 10;
        assert_eq!(
            settings.check().unwrap_err().to_string(),
            "configuration field limits.maxMessageBytes is 10; it must be at least 1024"
        );
    }

    #[test]
    fn a_queue_that_holds_less_than_four_messages_is_refused_with_field_value_and_remedy() {
        let mut settings = Settings::default();
        settings.config.limits.max_message_bytes = 2 * 1024 * 1024;
        assert_eq!(
            settings.check().unwrap_err().to_string(),
            "configuration field limits.outboundQueueBytes is 1048576; it must be at least four times \
             limits.maxMessageBytes, or a few messages would cut off whoever gets them"
        );
        settings.config.limits.outbound_queue_bytes = 8 * 1024 * 1024;
        assert!(settings.check().is_ok());
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "Secret");
    }
}
