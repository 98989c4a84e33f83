//! TLS to Redis: whom to trust, who this is, and in which ways it fails.

use std::sync::Arc;

use gateway_core::control::BackplaneTrouble;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

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

/// The CAs of a text in PEM, or those that browsers trust. The image of a gateway holds nothing but the gateway, so that those are built in.
pub(super) fn roots(pem: Option<&str>) -> Result<RootCertStore, String> {
    let Some(pem) = pem else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = RootCertStore::empty();
    let (used, _) = roots.add_parsable_certificates(certificates(pem)?);
    if used == 0 { Err("its certificates are no CAs".to_owned()) } else { Ok(roots) }
}

/// What makes TLS of a connection, with the certificate and the key that are shown where Redis asks for one.
pub(super) fn connector(
    roots: RootCertStore,
    identity: Option<(&str, &str)>,
) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificates = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| "there is no key in PEM in the file of --redis-client-key-file".to_owned())?;
            builder.with_client_auth_cert(certificates, key).map_err(|error| {
                format!("it can't be used with the key of --redis-client-key-file ({error})")
            })?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is no PEM ({error})"))?;
    if certificates.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(certificates) }
}
