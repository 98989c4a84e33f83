//! TLS of the connections that a gateway makes: whom it trusts.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject as _},
    },
};

/// Why a file is of no use for TLS.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Text of another kind.
    #[error("it is no PEM ({0})")]
    NotPem(pem::Error),
    /// PEM of other things.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// Certificates that sign no others.
    #[error("its certificates are no CAs")]
    NoCa,
    /// A file of a key without one.
    #[error("there is no key in PEM in the file of {0}")]
    NoKey(&'static str),
    /// A certificate of another key.
    #[error("it can't be used with the key of {flag} ({error})")]
    OtherKey {
        /// The flag that names the key's file.
        flag: &'static str,
        /// What the library says.
        error: rustls::Error,
    },
    /// No version of TLS can be spoken.
    #[error(transparent)]
    NoVersion(rustls::Error),
}

/// The CAs of a text in PEM, or those that browsers trust. The image of a gateway holds nothing but the gateway, so that those are built in.
pub fn roots(pem: Option<&str>) -> Result<RootCertStore, Unusable> {
    let Some(pem) = pem else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = RootCertStore::empty();
    let (used, _) = roots.add_parsable_certificates(certificates(pem)?);
    if used == 0 { Err(Unusable::NoCa) } else { Ok(roots) }
}

/// The certificates of a text in PEM.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(Unusable::NotPem)?;
    if certificates.is_empty() { Err(Unusable::NoCertificate) } else { Ok(certificates) }
}

/// A client that trusts these; whether it shows a certificate of its own is still to be said.
pub fn client(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Unusable> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    Ok(versions.map_err(Unusable::NoVersion)?.with_root_certificates(roots))
}
