//! What a gateway is started with, checked once.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway_core::{
    config::GatewayConfig,
    policy::{Invalid, Policy},
    sequencer::ShardSet,
    token::{Key, KeyError},
};

use crate::backplane::RedisAccess;

const HMAC_FLAG: &str = "--jwt-hmac-secret-file";
const PUBLIC_FLAG: &str = "--jwt-public-key-file";

/// Keys of tokens at once: enough to exchange one of each kind, and few enough to try them all.
const MAX_KEYS: usize = 8;

/// Everything a gateway needs to know at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address that clients connect to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the control port; port 0 takes a free one.
    pub control: SocketAddr,
    /// The configuration that it starts with.
    pub config: GatewayConfig,
    /// Redis, or memory when absent.
    pub redis_url: Option<String>,
    /// What the names of all keys and pub/sub channels in Redis begin with.
    pub redis_prefix: String,
    /// How to get into Redis, beside what its URL says.
    pub redis_access: RedisAccess,
    /// Contents of the secret files.
    pub secrets: Secrets,
    /// Where the keys of clients' tokens are from, which are read again when they change.
    pub token_key_files: TokenKeyFiles,
    /// CAs that may have signed the certificate of `auth.jwks.url`, PEM; without it those that browsers trust may.
    pub jwks_ca_file: Option<PathBuf>,
    /// Clients without a token may connect wherever a configuration does not say: see [`Settings::anonymous_under`].
    pub anonymous: bool,
    /// Name of this gateway in reports and replies.
    pub node_name: String,
    /// Revision of the configuration in reports.
    pub revision: String,
    /// Threads that hold connections; 0 takes one per core.
    pub shards: u16,
    /// Seconds in which all clients are moved after SIGTERM; those of the configuration when absent.
    pub shutdown_window: Option<u32>,
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
    /// Bearer token of /report, /drain and /config.
    pub control_token: Option<Secret>,
    /// What clients' tokens are signed with.
    pub token_keys: TokenKeys,
    /// Key of the server API.
    pub api_key: Option<Secret>,
}

/// What clients' tokens may be signed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenKeys {
    /// Secrets of HMAC-signed tokens.
    pub hmac_secrets: Vec<Secret>,
    /// Public keys, PEM, each text of one or more.
    pub public_keys: Vec<Secret>,
}

/// Files with the keys of clients' tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenKeyFiles {
    /// Secrets of HMAC-signed tokens, one in each.
    pub hmac_secrets: Vec<PathBuf>,
    /// Public keys, PEM, one or more in each.
    pub public_keys: Vec<PathBuf>,
}

impl TokenKeyFiles {
    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.hmac_secrets.iter().chain(&self.public_keys).map(PathBuf::as_path)
    }

    /// What is in them.
    pub fn read(&self) -> Result<TokenKeys, SettingsError> {
        let read = |flag, paths: &[PathBuf]| {
            paths.iter().map(|path| read_secret(flag, path)).collect::<Result<Vec<_>, _>>()
        };
        Ok(TokenKeys {
            hmac_secrets: read(HMAC_FLAG, &self.hmac_secrets)?,
            public_keys: read(PUBLIC_FLAG, &self.public_keys)?,
        })
    }
}

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
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            control: SocketAddr::from(([127, 0, 0, 1], 9000)),
            config: GatewayConfig::default(),
            redis_url: None,
            redis_prefix: "mooring".to_owned(),
            redis_access: RedisAccess::default(),
            secrets: Secrets::default(),
            token_key_files: TokenKeyFiles::default(),
            jwks_ca_file: None,
            anonymous: false,
            node_name: "gateway".to_owned(),
            revision: String::new(),
            shards: 0,
            shutdown_window: None,
            settle: Duration::from_secs(3),
            echo: false,
            insecure_api: false,
        }
    }
}

impl Settings {
    /// Refuses what can't work.
    pub fn check(&self) -> Result<(), SettingsError> {
        if usize::from(self.shards) > ShardSet::MAX {
            return Err(unfit("--shards", self.shards, "it may be at most 128"));
        }
        if !self.control.ip().is_loopback() && self.secrets.control_token.is_none() {
            let remedy =
                "give --control-token-file, or a loopback address: whoever reaches it may drain this gateway";
            return Err(unfit("--control", self.control, remedy));
        }
        if overlap(self.listen, self.control) {
            return Err(unfit("--control", self.control, "--listen has that port; take another"));
        }
        self.policy().map(drop)
    }

    /// What the configuration means, with the keys of clients' tokens; without a key none is accepted.
    pub fn policy(&self) -> Result<Policy, SettingsError> {
        Ok(Policy::compile(self.config.clone(), self.secrets.token_keys.parse()?)?)
    }

    /// Whether clients without a token may connect under a configuration that does not say: by themselves only to a gateway that listens to
    /// this machine alone, and has no keys by which others could be told from them.
    #[must_use]
    pub fn anonymous_under(&self, config: &GatewayConfig) -> bool {
        let fetches_keys = self.config.auth.jwks.is_some() || config.auth.jwks.is_some();
        let has_keys = fetches_keys || !self.secrets.token_keys.is_empty();
        self.anonymous || self.listen.ip().is_loopback() && !has_keys
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

impl TokenKeys {
    /// The keys themselves.
    pub fn parse(&self) -> Result<Vec<Key>, SettingsError> {
        let mut keys = Vec::new();
        for secret in &self.hmac_secrets {
            keys.push(named(HMAC_FLAG, Key::hmac(secret.reveal().as_bytes()))?);
        }
        for pem in &self.public_keys {
            keys.extend(named(PUBLIC_FLAG, Key::public(pem.reveal().as_bytes()))?);
        }
        if keys.len() > MAX_KEYS {
            return Err(SettingsError::TooManyKeys { found: keys.len() });
        }
        Ok(keys)
    }

    /// Whether clients can have no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hmac_secrets.is_empty() && self.public_keys.is_empty()
    }
}

/// A flag whose value can't work.
fn unfit(flag: &str, value: impl ToString, remedy: &'static str) -> SettingsError {
    Invalid { field: flag.to_owned(), value: value.to_string(), remedy }.into()
}

/// Whether two listeners share a port, so that connections for one reach the other. The port of 0 is one that is free.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_ip
}

/// One shard per core, as far as they can be told apart.
fn shards_on(cores: usize) -> u16 {
    u16::try_from(cores.min(ShardSet::MAX)).unwrap_or(u16::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_control_port_that_others_reach_asks_for_a_token() {
        let open = Settings { control: "0.0.0.0:9000".parse().unwrap(), ..Settings::default() };
        let refusal = open.check().unwrap_err().to_string();
        assert!(
            refusal.starts_with("configuration field --control is 0.0.0.0:9000; give --control-token-file")
        );
    }

    #[test]
    fn the_control_port_is_another_one_than_that_of_clients() {
        let refused = |listen: &str, control: &str| {
            let (listen, control) = (listen.parse().unwrap(), control.parse().unwrap());
            let control_token = Some(Secret::new("of the control port"));
            let secrets = Secrets { control_token, ..Secrets::default() };
            let settings = Settings { listen, control, secrets, ..Settings::default() };
            settings.check().err().map(|error| error.to_string())
        };
        for (listen, control) in
            [("127.0.0.1:80", "127.0.0.1:80"), ("0.0.0.0:80", "127.0.0.1:80"), ("127.0.0.1:80", "[::]:80")]
        {
            let error =
                format!("configuration field --control is {control}; --listen has that port; take another");
            assert_eq!(refused(listen, control), Some(error));
        }
        assert_eq!(refused("127.0.0.1:0", "127.0.0.1:0"), None);
        assert_eq!(refused("127.0.0.1:80", "127.0.0.2:80"), None);
    }

    #[test]
    fn more_keys_than_are_tried_are_refused() {
        let mut settings = Settings::default();
        settings.secrets.token_keys.hmac_secrets = vec![Secret::new("s3cret"); 9];
        let error = settings.policy().err().unwrap().to_string();
        assert!(error.contains("name 9 keys; at most 8"), "{error}");
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "Secret");
    }
}
