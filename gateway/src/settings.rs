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
    token::{Key, KeyError, Verifier},
};

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
}

/// Contents of the secret files, without surrounding white space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Password of Redis.
    pub redis_password: Option<Secret>,
    /// Bearer token of /report and /drain.
    pub control_token: Option<Secret>,
    /// Secret of HMAC-signed client tokens.
    pub jwt_hmac_secret: Option<Secret>,
    /// Public key of client tokens, PEM.
    pub jwt_public_key: Option<Secret>,
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
        }
    }
}

impl Settings {
    /// Refuses values that would make a gateway that serves nobody or drains never.
    pub fn check(&self) -> Result<(), SettingsError> {
        let config = &self.config;
        let at_least = [
            ("limits.maxConnections", config.limits.max_connections, 1, "it must be at least 1"),
            ("limits.connectionsPerSecond", config.limits.connections_per_second, 1, "it must be at least 1"),
            ("limits.maxMessageBytes", config.limits.max_message_bytes, 1024, "it must be at least 1024"),
            ("limits.subscriptions", config.limits.subscriptions, 1, "it must be at least 1"),
            (
                "limits.outboundQueueBytes",
                config.limits.outbound_queue_bytes,
                16_384,
                "it must be at least 16384",
            ),
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
        let has_key = self.secrets.jwt_hmac_secret.is_some() || self.secrets.jwt_public_key.is_some();
        if !config.auth.anonymous && !has_key {
            let remedy =
                "with it false nobody could connect: give --jwt-hmac-secret-file or --jwt-public-key-file";
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
        let hmac = key("--jwt-hmac-secret-file", self.secrets.jwt_hmac_secret.as_ref(), Key::hmac)?;
        let public = key("--jwt-public-key-file", self.secrets.jwt_public_key.as_ref(), Key::public)?;
        Ok(Arc::new(Verifier::new(hmac.into_iter().chain(public).collect(), &self.config.auth)))
    }

    /// How many shards `shards` stands for on this machine.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        match self.shards {
            0 => {
                std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX))
            }
            n => n,
        }
    }
}

/// The configuration from a file, else from inline text, else the default.
pub fn read_config(file: Option<&Path>, inline: Option<&str>) -> Result<GatewayConfig, SettingsError> {
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
        (None, None) => Ok(GatewayConfig::default()),
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

fn key(
    flag: &'static str,
    secret: Option<&Secret>,
    parse: fn(&[u8]) -> Result<Key, KeyError>,
) -> Result<Option<Key>, SettingsError> {
    let parsed = secret.map(|secret| parse(secret.reveal().as_bytes())).transpose();
    parsed.map_err(|error| SettingsError::NotAKey { flag, error })
}

/// YAML, of which JSON is a part.
fn parse_config(origin: &str, text: &str) -> Result<GatewayConfig, SettingsError> {
    if text.trim().is_empty() {
        return Ok(GatewayConfig::default());
    }
    serde_yaml::from_str(text)
        .map_err(|error| SettingsError::Malformed { origin: origin.to_owned(), message: error.to_string() })
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
