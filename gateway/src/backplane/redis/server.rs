//! One Redis and the way into it. Files are read anew for each connection, so that what is in them can be exchanged.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use tokio_rustls::TlsConnector;

use super::{
    address::{self, Address},
    tls,
};
use crate::{
    settings::{Secret, SettingsError, read_secret},
    tls::Unusable,
};

/// How this gateway gets into Redis, beside what the URL says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisAccess {
    /// Its user there; wins over the URL's.
    pub username: Option<String>,
    /// Holds that user's password; wins over the URL's.
    pub password_file: Option<PathBuf>,
    /// Holds the CAs that may have signed Redis's certificate, PEM; without it those that browsers trust may.
    pub ca_file: Option<PathBuf>,
    /// Holds the certificate that this gateway shows, PEM, with those between it and its CA.
    pub client_certificate_file: Option<PathBuf>,
    /// Holds the certificate's key, PEM.
    pub client_key_file: Option<PathBuf>,
}

/// Why what a gateway was given leads to no Redis.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRedis {
    /// The URL names none.
    #[error(
        "--redis-url is {url:?}: {reason}; write it like redis://host:6379, or rediss:// for TLS, with /db at its end if that is not 0"
    )]
    Url {
        /// Without its password.
        url: String,
        /// Why.
        reason: String,
    },
    /// The prefix can't begin the names of a cluster.
    #[error(
        "--redis-prefix is {prefix:?}; it has 1 to {most} letters, digits, and any of . _ : / -, like team:chat"
    )]
    Prefix {
        /// What was given.
        prefix: String,
        /// Characters at most.
        most: usize,
    },
    /// A user without a password.
    #[error("{0:?} is to be this gateway's user of Redis, without a password; give --redis-password-file")]
    NoPassword(String),
    /// A file of TLS's where there is no TLS.
    #[error(
        "{0} is given, but --redis-url says nothing of TLS; write rediss:// instead of redis://, or leave the flag out"
    )]
    NoTls(&'static str),
    /// A certificate without its key, or the other way round.
    #[error("{0} is given alone; a certificate and its key belong together")]
    Alone(&'static str),
    /// A file that can't be read.
    #[error(transparent)]
    File(#[from] SettingsError),
    /// A file that holds something else.
    #[error("{flag}: {}: {reason}", path.display())]
    Content {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Unusable,
    },
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) password: Option<Secret>,
    pem: Pem,
}

/// What TLS is made of.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    ca: Option<Secret>,
    certificate: Option<Secret>,
    key: Option<Secret>,
}

/// A Redis, for all connections of this process.
pub(super) struct Server {
    pub(super) address: Address,
    access: RedisAccess,
    /// Kept while the files stay as they were: it has the tickets that spare Redis most of a handshake.
    connector: Mutex<Option<(Pem, TlsConnector)>>,
}

impl Server {
    /// Reads everything once, so that a mistake is known at the start.
    pub(super) fn new(url: &str, access: RedisAccess) -> Result<Self, InvalidRedis> {
        let address = Address::parse(url)
            .map_err(|reason| InvalidRedis::Url { url: address::without_password(url), reason })?;
        let files = [
            ("--redis-ca-file", &access.ca_file),
            ("--redis-client-certificate-file", &access.client_certificate_file),
            ("--redis-client-key-file", &access.client_key_file),
        ];
        let given: Vec<_> = files.iter().filter_map(|(flag, path)| path.as_ref().map(|_| *flag)).collect();
        if address.server_name.is_none()
            && let Some(flag) = given.first()
        {
            return Err(InvalidRedis::NoTls(flag));
        }
        if access.client_certificate_file.is_some() != access.client_key_file.is_some()
            && let Some(flag) = given.last()
        {
            return Err(InvalidRedis::Alone(flag));
        }
        let server = Self { address, access, connector: Mutex::new(None) };
        let credentials = server.credentials()?;
        if let (Some(username), None) = (server.username(), &credentials.password) {
            return Err(InvalidRedis::NoPassword(username.to_owned()));
        }
        server.connector(&credentials)?;
        Ok(server)
    }

    pub(super) fn username(&self) -> Option<&str> {
        self.access.username.as_deref().or(self.address.username.as_deref())
    }

    /// Reads the files.
    pub(super) fn credentials(&self) -> Result<Credentials, InvalidRedis> {
        let access = &self.access;
        let read =
            |flag, path: &Option<PathBuf>| path.as_deref().map(|path| read_secret(flag, path)).transpose();
        Ok(Credentials {
            password: read("--redis-password-file", &access.password_file)?
                .or_else(|| self.address.password.clone()),
            pem: Pem {
                ca: read("--redis-ca-file", &access.ca_file)?,
                certificate: read("--redis-client-certificate-file", &access.client_certificate_file)?,
                key: read("--redis-client-key-file", &access.client_key_file)?,
            },
        })
    }

    /// What makes TLS of a connection; nothing for a Redis without it.
    pub(super) fn connector(&self, credentials: &Credentials) -> Result<Option<TlsConnector>, InvalidRedis> {
        if self.address.server_name.is_none() {
            return Ok(None);
        }
        let mut kept = self.connector.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((pem, connector)) = &*kept
            && *pem == credentials.pem
        {
            return Ok(Some(connector.clone()));
        }
        let Pem { ca, certificate, key } = &credentials.pem;
        let access = &self.access;
        let content = |flag, path: &Option<PathBuf>, reason| InvalidRedis::Content {
            flag,
            path: path.clone().unwrap_or_default(),
            reason,
        };
        let roots = crate::tls::roots(ca.as_ref().map(Secret::reveal))
            .map_err(|reason| content("--redis-ca-file", &access.ca_file, reason))?;
        let identity = certificate.as_ref().zip(key.as_ref());
        let identity = identity.map(|(certificate, key)| (certificate.reveal(), key.reveal()));
        let connector = tls::connector(roots, identity).map_err(|reason| {
            content("--redis-client-certificate-file", &access.client_certificate_file, reason)
        })?;
        *kept = Some((credentials.pem.clone(), connector.clone()));
        Ok(Some(connector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any text that is no PEM.
    const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

    fn refused(url: &str, access: RedisAccess) -> String {
        Server::new(url, access).err().expect("it is refused").to_string()
    }

    #[test]
    fn what_leads_to_no_redis_is_refused_with_its_flag_its_value_and_the_remedy() {
        let none = RedisAccess::default;
        let text = || Some(PathBuf::from(TEXT));
        let cases = [
            (
                "redis://host/x",
                none(),
                "--redis-url is \"redis://host/x\": x is no number of a database; write",
            ),
            ("redis://me@host", none(), "\"me\" is to be this gateway's user of Redis, without a password"),
            ("redis://host", RedisAccess { ca_file: text(), ..none() }, "--redis-ca-file is given, but"),
            (
                "rediss://host",
                RedisAccess { client_certificate_file: text(), ..none() },
                "--redis-client-certificate-file is given alone",
            ),
            (
                "rediss://host",
                RedisAccess { client_key_file: text(), ..none() },
                "--redis-client-key-file is given alone",
            ),
            ("rediss://host", RedisAccess { ca_file: text(), ..none() }, "there is no certificate in it"),
            (
                "rediss://host",
                RedisAccess { client_certificate_file: text(), client_key_file: text(), ..none() },
                "there is no certificate in it",
            ),
            (
                "redis://host",
                RedisAccess { password_file: Some("/nonexistent".into()), ..none() },
                "--redis-password-file: /nonexistent cannot be read",
            ),
        ];
        for (url, access, reason) in cases {
            let error = refused(url, access);
            assert!(error.contains(reason), "{url}: {error}");
        }
        let error = refused("rediss://me:secret@host/x", none());
        assert!(error.contains("rediss://***@host/x") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn files_and_flags_win_over_the_url() {
        let access = RedisAccess {
            username: Some("flag".into()),
            password_file: Some(TEXT.into()),
            ..RedisAccess::default()
        };
        let server = Server::new("redis://url:url@host", access).unwrap();
        assert_eq!(server.username(), Some("flag"));
        assert_ne!(server.credentials().unwrap().password, Some(Secret::new("url")));
        let server = Server::new("redis://url:url@host", RedisAccess::default()).unwrap();
        assert_eq!(server.username(), Some("url"));
        assert_eq!(server.credentials().unwrap().password, Some(Secret::new("url")));
    }
}
