//! Flags and environment of `mooring-gateway`, and the settings made of them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    backplane::RedisAccess,
    config_file::ConfigFile,
    settings::{Secrets, Settings, SettingsError, TokenKeyFiles, read_secret},
};

/// Holds WebSocket connections: centrifuge clients at /connection/websocket, bare WebSockets at /raw/{channel}, a server API at
/// /api, and a chat page to try them with at /.
///
/// Without any flag it is a complete single-node server that keeps everything in memory. With --redis-url many of them form one
/// cluster. SIGTERM moves the clients away at the configured pace and then exits; a second signal exits at once.
#[derive(Debug, Parser)]
#[command(name = "mooring-gateway", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Args,
}

/// What the binary does besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connects two clients to a raw channel and waits until one gets a message of the other.
    Probe {
        /// The channel, like ws://chat.default.svc:8000/raw/probe.
        url: String,
        /// Seconds in which it has to succeed.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u32,
    },
}

/// How to serve.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address that clients connect to.
    #[arg(long, env = "MOORING_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// Address of the control port: /livez, /readyz, /metrics, /report, /drain and /config.
    #[arg(long, env = "MOORING_CONTROL", value_name = "ADDR", default_value = "127.0.0.1:9000")]
    control: SocketAddr,

    /// Configuration file, YAML or JSON. MOORING_CONFIG holds the same text inline; the file wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Configuration inline; only from the environment.
    #[arg(long, env = "MOORING_CONFIG", hide = true)]
    config_inline: Option<String>,

    /// Redis or Valkey that joins the gateways of a cluster, like redis://host:6379, or rediss://host:6379/db for TLS and another
    /// database; in memory when absent.
    #[arg(long, env = "MOORING_REDIS_URL", value_name = "URL")]
    redis_url: Option<String>,

    /// What the names of all keys and pub/sub channels begin with; clusters that share a Redis differ in it, or in the database.
    #[arg(long, env = "MOORING_REDIS_PREFIX", value_name = "PREFIX", default_value = "mooring")]
    redis_prefix: String,

    /// This gateway's user of Redis; the one in --redis-url, or else Redis's default user when absent.
    #[arg(long, env = "MOORING_REDIS_USERNAME", value_name = "NAME")]
    redis_username: Option<String>,

    /// File with the password of Redis. This one and the next three are read anew for each connection.
    #[arg(long, env = "MOORING_REDIS_PASSWORD_FILE", value_name = "FILE")]
    redis_password_file: Option<PathBuf>,

    /// File with the CAs that may have signed the certificate of a rediss://, PEM; those that browsers trust when absent.
    #[arg(long, env = "MOORING_REDIS_CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<PathBuf>,

    /// File with the certificate that this gateway shows a rediss://, PEM, with those between it and its CA.
    #[arg(long, env = "MOORING_REDIS_CLIENT_CERTIFICATE_FILE", value_name = "FILE")]
    redis_client_certificate_file: Option<PathBuf>,

    /// File with the key of that certificate, PEM.
    #[arg(long, env = "MOORING_REDIS_CLIENT_KEY_FILE", value_name = "FILE")]
    redis_client_key_file: Option<PathBuf>,

    /// File with the bearer token that /report, /drain and /config ask for; without it --control is a loopback address.
    #[arg(long, env = "MOORING_CONTROL_TOKEN_FILE", value_name = "FILE")]
    control_token_file: Option<PathBuf>,

    /// Files with a secret each of HMAC-signed client tokens (HS256, HS384, HS512), several while one is exchanged for another.
    #[arg(long, env = "MOORING_JWT_HMAC_SECRET_FILE", value_name = "FILE", value_delimiter = ',')]
    jwt_hmac_secret_file: Vec<PathBuf>,

    /// Files with public keys of client tokens signed with RSA, EC or Ed25519, PEM, one key after the other.
    #[arg(long, env = "MOORING_JWT_PUBLIC_KEY_FILE", value_name = "FILE", value_delimiter = ',')]
    jwt_public_key_file: Vec<PathBuf>,

    /// File with the CAs that may have signed the certificate of auth.jwks.url, PEM, read anew for each fetch; those that browsers trust
    /// when absent.
    #[arg(long, env = "MOORING_JWKS_CA_FILE", value_name = "FILE")]
    jwks_ca_file: Option<PathBuf>,

    /// File with the key that the server API asks for; without one it is not served.
    #[arg(long, env = "MOORING_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Serve the server API without a key to whoever reaches --listen, but no web page; for tries on one's own machine.
    #[arg(long, env = "MOORING_INSECURE_API", conflicts_with = "api_key_file")]
    insecure_api: bool,

    /// Admit clients without a token, where the configuration says nothing about auth.anonymous. By itself so only on a loopback
    /// --listen without keys.
    #[arg(long, env = "MOORING_ANONYMOUS")]
    anonymous: bool,

    /// Name of this gateway in reports and replies; its pod's name.
    #[arg(long, env = "MOORING_NODE_NAME", value_name = "NAME", default_value = "gateway")]
    node_name: String,

    /// Revision of the configuration, as the operator names it in reports.
    #[arg(long, env = "MOORING_REVISION", value_name = "HASH", default_value = "")]
    revision: String,

    /// Threads that hold connections; 0 takes one per core.
    #[arg(long, env = "MOORING_SHARDS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=128))]
    shards: u16,

    /// Seconds in which all clients are moved after SIGTERM; drain.timeoutSeconds of the configuration when absent.
    #[arg(long, env = "MOORING_SHUTDOWN_WINDOW", value_name = "SECONDS")]
    shutdown_window: Option<u32>,

    /// Seconds between SIGTERM and the first moved client, so that load balancers stop sending new ones first.
    #[arg(long, env = "MOORING_SETTLE", value_name = "SECONDS", default_value_t = 3)]
    settle: u32,

    /// Serve /echo, which sends every message back; for conformance suites and benchmarks.
    #[arg(long, env = "MOORING_ECHO")]
    echo: bool,

    /// Form of the log lines on standard error.
    #[arg(long, env = "MOORING_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: a level, or a filter as RUST_LOG takes it.
    #[arg(long, env = "MOORING_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object per line.
    Json,
}

impl Args {
    /// Reads the files that the flags name and checks everything once.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let ConfigFile { config, names_anonymous } =
            ConfigFile::read(self.config.as_deref(), self.config_inline.as_deref())?;
        let secret = |flag, path: &Option<PathBuf>| path.as_deref().map(|p| read_secret(flag, p)).transpose();
        let token_key_files = TokenKeyFiles {
            hmac_secrets: self.jwt_hmac_secret_file.clone(),
            public_keys: self.jwt_public_key_file.clone(),
        };
        let token_keys = token_key_files.read()?;
        // So that a mistake is known at the start.
        secret("--jwks-ca-file", &self.jwks_ca_file)?;
        let mut settings = Settings {
            listen: self.listen,
            control: self.control,
            config,
            redis_url: self.redis_url.clone(),
            redis_prefix: self.redis_prefix.clone(),
            redis_access: RedisAccess {
                username: self.redis_username.clone(),
                password_file: self.redis_password_file.clone(),
                ca_file: self.redis_ca_file.clone(),
                client_certificate_file: self.redis_client_certificate_file.clone(),
                client_key_file: self.redis_client_key_file.clone(),
            },
            secrets: Secrets {
                control_token: secret("--control-token-file", &self.control_token_file)?,
                token_keys,
                api_key: secret("--api-key-file", &self.api_key_file)?,
            },
            token_key_files,
            jwks_ca_file: self.jwks_ca_file.clone(),
            anonymous: self.anonymous,
            node_name: self.node_name.clone(),
            revision: self.revision.clone(),
            shards: self.shards,
            shutdown_window: self.shutdown_window,
            settle: Duration::from_secs(self.settle.into()),
            echo: self.echo,
            insecure_api: self.insecure_api,
        };
        if !names_anonymous {
            settings.config.auth.anonymous = settings.anonymous_under(&settings.config);
        }
        settings.check()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use gateway_core::config::GatewayConfig;

    use super::*;
    use crate::config_document;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_flag_is_needed() {
        let settings = Cli::parse_from(["mooring-gateway"]).serve.settings().unwrap();
        assert_eq!(settings, Settings::default());
    }

    /// Whether a gateway with these flags admits clients without a token, or why it does not start.
    fn anonymous(flags: &[&str]) -> Result<bool, String> {
        let cli = Cli::try_parse_from(["mooring-gateway"].iter().chain(flags)).unwrap();
        cli.serve.settings().map(|settings| settings.config.auth.anonymous).map_err(|error| error.to_string())
    }

    #[test]
    fn who_has_no_token_stays_out_unless_the_gateway_is_alone_or_was_told_otherwise() {
        // Any text will do for a secret.
        let key = ["--jwt-hmac-secret-file", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")];
        let config = |text| ["--config-inline", text];
        let (open, closed) = (config("auth: {anonymous: true}"), config("auth: {anonymous: false}"));
        let everywhere = ["--listen", "0.0.0.0:8000"];
        assert_eq!(anonymous(&[]), Ok(true));
        assert_eq!(anonymous(&config("auth: {audience: chat}")), Ok(true));
        assert_eq!(anonymous(&config("auth: {jwks: {url: 'https://login.example.com/keys'}}")), Ok(false));
        assert_eq!(anonymous(&key), Ok(false));
        assert_eq!(anonymous(&[&key[..], &["--anonymous"]].concat()), Ok(true));
        assert_eq!(anonymous(&[&key[..], &everywhere].concat()), Ok(false));
        assert_eq!(anonymous(&[&everywhere[..], &["--anonymous"]].concat()), Ok(true));
        assert_eq!(anonymous(&[&everywhere[..], &open].concat()), Ok(true));
        assert_eq!(anonymous(&[&key[..], &closed, &["--anonymous"]].concat()), Ok(false), "the file wins");
        for nobody in [&everywhere[..], &closed] {
            let error = anonymous(nobody).unwrap_err();
            assert!(error.contains("auth.anonymous is false") && error.contains("--anonymous"), "{error}");
        }
    }

    #[test]
    fn a_configuration_that_does_not_say_lets_in_the_same_clients_whether_it_is_there_at_the_start_or_comes_later()
     {
        let key = ["--jwt-hmac-secret-file", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")];
        let flags = [&[][..], &["--anonymous"], &key, &["--listen", "0.0.0.0:8000", "--anonymous"]];
        let jwks = r#"{"auth":{"jwks":{"url":"https://login.example.com/keys"}}}"#;
        let later = |settings: &Settings, text: &str| {
            let unless_said = |config: &GatewayConfig| settings.anonymous_under(config);
            config_document::parse(text.as_bytes(), unless_said).unwrap().auth.anonymous
        };
        for flags in flags {
            let settings = Cli::parse_from(["mooring-gateway"].iter().chain(flags)).serve.settings().unwrap();
            for text in ["{}", r#"{"auth":{"audience":"chat"}}"#, jwks] {
                let at_start = anonymous(&[flags, &["--config-inline", text]].concat());
                assert_eq!(at_start, Ok(later(&settings, text)), "{flags:?} {text}");
            }
        }
        let settings =
            Cli::parse_from(["mooring-gateway", "--config-inline", jwks]).serve.settings().unwrap();
        assert!(!later(&settings, "{}"), "who asked for tokens is not opened by leaving the keys out");
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_named_with_its_flag() {
        let cli = Cli::parse_from(["mooring-gateway", "--api-key-file", "/nonexistent"]);
        let error = cli.serve.settings().unwrap_err().to_string();
        assert!(error.starts_with("--api-key-file: /nonexistent cannot be read"), "{error}");
    }
}
