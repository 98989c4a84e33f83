//! Where Redis is, as its URL says.

use std::fmt;

use percent_encoding::percent_decode_str;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::settings::Secret;

const PORT: u16 = 6379;

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whom its certificate has to name; nobody without TLS.
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
}

impl Address {
    /// The parts of a URL, or why it names no Redis.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            scheme => return Err(format!("{scheme} is no scheme of Redis's")),
        };
        let host = match url.host() {
            // A URL has brackets around it.
            Some(Host::Ipv6(address)) => address.to_string(),
            host => host.map(|host| host.to_string()).unwrap_or_default(),
        };
        if host.is_empty() {
            return Err("it has no host".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("what follows ? or # means nothing here".to_owned());
        }
        let database = match url.path().trim_matches('/') {
            "" => 0,
            path => path.parse().map_err(|_| format!("{path} is no number of a database"))?,
        };
        let server_name = tls
            .then(|| ServerName::try_from(host.clone()))
            .transpose()
            .map_err(|_| format!("{host} is no name that a certificate can have"))?;
        let username = decoded(url.username())?;
        let password = url.password().map(decoded).transpose()?.flatten().map(Secret::new);
        Ok(Self { host, port: url.port().unwrap_or(PORT), server_name, username, password, database })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn decoded(text: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "its user or password is no UTF-8 where the % are decoded".to_owned())?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// The URL as it may be shown.
pub(super) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}://***{}", url.get(..scheme).unwrap_or_default(), url.get(at..).unwrap_or_default())
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_redis_is_and_who_comes() {
        let plain = Address::parse("redis://chat-redis.default.svc").unwrap();
        assert_eq!((plain.to_string().as_str(), plain.database), ("chat-redis.default.svc:6379", 0));
        assert_eq!((plain.server_name, plain.username, plain.password), (None, None, None));
        let full = Address::parse("rediss://g%40w:p%2Fw@redis.example:7000/3").unwrap();
        assert_eq!((full.to_string().as_str(), full.database), ("redis.example:7000", 3));
        assert_eq!(full.server_name, Some(ServerName::try_from("redis.example").unwrap()));
        assert_eq!((full.username.as_deref(), full.password), (Some("g@w"), Some(Secret::new("p/w"))));
        let only_password = Address::parse("redis://:secret@[::1]:1").unwrap();
        assert_eq!((only_password.host.as_str(), only_password.username), ("::1", None));
        assert_eq!(Address::parse("valkeys://10.0.0.1").unwrap().server_name.unwrap().to_str(), "10.0.0.1");
    }

    #[test]
    fn a_url_that_names_no_redis_is_refused_with_the_reason() {
        let cases = [
            ("host:6379", "host is no scheme of Redis's"),
            ("http://host", "http is no scheme of Redis's"),
            ("redis://", "it has no host"),
            ("redis://host/one", "one is no number of a database"),
            ("redis://host/-1", "-1 is no number of a database"),
            ("rediss://host/#insecure", "what follows ? or # means nothing here"),
            ("redis://host/?db=1", "what follows ? or # means nothing here"),
            ("rediss://ho_st!", "no name that a certificate can have"),
        ];
        for (url, reason) in cases {
            let error = Address::parse(url).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(without_password("rediss://me:sec@ret@host:1/2"), "rediss://***@host:1/2");
        assert_eq!(without_password("redis://host:1"), "redis://host:1");
        assert_eq!(without_password("@://"), "@://");
    }
}
