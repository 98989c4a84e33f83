//! TLS to Redis: who this is, and in which ways it fails.

use std::sync::Arc;

use gateway_core::control::BackplaneTrouble;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, AlertDescription, CertificateError, RootCertStore,
        pki_types::{PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::tls::{self, Unusable};

/// How a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsFailure {
    #[error(
        "the certificate of Redis is of a CA that is unknown here; name the file with that CA by --redis-ca-file"
    )]
    UnknownAuthority,
    #[error(
        "the certificate of Redis is not for {expected}, but for {presented}; use such a name in the URL"
    )]
    WrongName { expected: String, presented: String },
    #[error("the certificate of Redis has expired")]
    Expired,
    #[error("the certificate of Redis is not valid yet; does this machine's clock tell the right time?")]
    NotYetValid,
    #[error(
        "Redis demands a client certificate; give --redis-client-certificate-file and --redis-client-key-file"
    )]
    CertificateDemanded,
    #[error(
        "Redis refuses this gateway's certificate ({0}); is it of a CA that Redis trusts, and not expired?"
    )]
    CertificateRefused(&'static str),
    #[error("what answers speaks no TLS; use the port for TLS, or redis:// instead of rediss://")]
    NotSpoken,
    #[error("TLS failed: {0}")]
    Other(rustls::Error),
}

impl TlsFailure {
    pub(super) fn trouble(&self) -> BackplaneTrouble {
        match self {
            Self::UnknownAuthority => BackplaneTrouble::UnknownAuthority,
            Self::WrongName { .. } => BackplaneTrouble::WrongName,
            Self::Expired | Self::NotYetValid => BackplaneTrouble::CertificateExpired,
            Self::CertificateDemanded | Self::CertificateRefused(_) => {
                BackplaneTrouble::ClientCertificateRefused
            }
            Self::NotSpoken | Self::Other(_) => BackplaneTrouble::Unreachable,
        }
    }
}

impl From<&rustls::Error> for TlsFailure {
    fn from(error: &rustls::Error) -> Self {
        use CertificateError as Invalid;
        match error {
            rustls::Error::InvalidCertificate(invalid) => match invalid {
                // The signature is bad where a CA was made anew under its old name.
                Invalid::UnknownIssuer | Invalid::BadSignature => Self::UnknownAuthority,
                Invalid::NotValidForNameContext { expected, presented } => Self::WrongName {
                    expected: expected.to_str().into_owned(),
                    presented: if presented.is_empty() { "none".to_owned() } else { presented.join(", ") },
                },
                Invalid::Expired | Invalid::ExpiredContext { .. } => Self::Expired,
                Invalid::NotValidYet | Invalid::NotValidYetContext { .. } => Self::NotYetValid,
                _ => Self::Other(error.clone()),
            },
            rustls::Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateRequired => Self::CertificateDemanded,
                AlertDescription::UnknownCA => Self::CertificateRefused("unknown CA"),
                AlertDescription::CertificateExpired => Self::CertificateRefused("expired"),
                AlertDescription::CertificateRevoked => Self::CertificateRefused("revoked"),
                AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied => Self::CertificateRefused("not accepted"),
                _ => Self::Other(error.clone()),
            },
            rustls::Error::InvalidMessage(_) => Self::NotSpoken,
            _ => Self::Other(error.clone()),
        }
    }
}

/// What makes TLS of a connection, with the certificate and the key that are shown where Redis asks for one.
pub(super) fn connector(
    roots: RootCertStore,
    identity: Option<(&str, &str)>,
) -> Result<TlsConnector, Unusable> {
    let builder = tls::client(roots)?;
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificates = tls::certificates(certificate)?;
            let flag = "--redis-client-key-file";
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Unusable::NoKey(flag))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| Unusable::OtherKey { flag, error })?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}
