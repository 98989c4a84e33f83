//! One fetch of a key set: bounded in time and in bytes, and nothing is taken from anywhere but where the configuration says.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_core::{config::Jwks, token::KeySetError};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, HOST, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, CertificateError, pki_types::ServerName},
};

use crate::{
    policies::ExchangeError,
    settings::{Secret, SettingsError, read_secret},
    tls::{self, Unusable},
};

/// The flag that names the file of CAs.
pub const CA_FLAG: &str = "--jwks-ca-file";
/// For the whole of it.
const WITHIN: Duration = Duration::from_secs(10);
/// To connect to one address of the host, so that one that does not answer leaves time for the others.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);
/// A key set at most; those of the largest providers, with certificates, have some 20 KiB.
const MAX_BYTES: usize = 256 * 1024;
/// All that is read of an answer: the head of it as well, and any number of interim responses before it.
const MAX_ANSWER: u64 = MAX_BYTES as u64 + 64 * 1024;
/// Of an address that is redirected to, in characters.
const MAX_SHOWN: usize = 256;

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It took too long.
    #[error("no answer within {} s", WITHIN.as_secs())]
    TimedOut,
    /// The URL names no place; a policy has none like that.
    #[error("auth.jwks.url names no host")]
    Url,
    /// No connection.
    #[error("there is no connection to {host}: {error}")]
    Unreachable {
        /// Where to.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// A certificate of somebody else's CA.
    #[error("its certificate is of a CA that is unknown here; name the file with that CA by {CA_FLAG}")]
    UnknownAuthority,
    /// TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The file of CAs can't be read.
    #[error(transparent)]
    CaFile(#[from] SettingsError),
    /// The file of CAs holds something else.
    #[error("{CA_FLAG}: {0}")]
    NoCa(Unusable),
    /// What came is no HTTP, or broke off.
    #[error("its answer broke off: {0}")]
    Http(#[from] hyper::Error),
    /// It sends its clients elsewhere.
    #[error("it redirects to {0:?}, which is not followed; write that address into auth.jwks.url")]
    Redirected(String),
    /// It has no keys there.
    #[error("it answers {0}; does auth.jwks.url name its key set?")]
    Status(StatusCode),
    /// More than is read.
    #[error("its answer is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// What came is no key set.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// The shards did not take the keys.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The task of it is no more.
    #[error("{0}")]
    Ended(String),
}

/// What is published there.
pub async fn fetch(source: &Jwks, ca_file: Option<&Path>) -> Result<Bytes, FetchError> {
    timeout(WITHIN, get(source, ca_file)).await.unwrap_or(Err(FetchError::TimedOut))
}

async fn get(source: &Jwks, ca_file: Option<&Path>) -> Result<Bytes, FetchError> {
    let url: Uri = source.url.parse().map_err(|_| FetchError::Url)?;
    let host = url.host().ok_or(FetchError::Url)?.trim_start_matches('[').trim_end_matches(']');
    let is_https = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    // The path alone, since this is no proxy (RFC 9112, section 3.2.1).
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, url.authority().map_or(host, |authority| authority.as_str()))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("mooring-gateway/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|_| FetchError::Url)?;
    let unreachable = |error| FetchError::Unreachable { host: format!("{host}:{port}"), error };
    let addresses = lookup_host((host, port)).await.map_err(unreachable)?;
    let stream = connect(addresses).await.map_err(unreachable)?;
    if !is_https {
        return converse(stream, request).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Url)?;
    let connector = connector(ca_file).await?;
    let stream = connector.connect(name, stream).await.map_err(of_tls)?;
    converse(stream, request).await
}

/// To the first address that answers in time.
async fn connect(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        match timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

/// The file is read anew each time, so that a CA can be exchanged.
async fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, FetchError> {
    let file = ca_file.map(Path::to_owned);
    // A file may be on a disk that does not answer, and this thread answers probes.
    let reading = spawn_blocking(move || file.map(|file| read_secret(CA_FLAG, &file)).transpose());
    let pem = reading.await.map_err(|error| FetchError::Ended(error.to_string()))??;
    let roots = tls::roots(pem.as_ref().map(Secret::reveal)).map_err(FetchError::NoCa)?;
    let client = tls::client(roots).map_err(FetchError::NoCa)?;
    Ok(TlsConnector::from(Arc::new(client.with_no_client_auth())))
}

fn of_tls(error: io::Error) -> FetchError {
    use CertificateError::{BadSignature, UnknownIssuer};
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        // The signature is bad where a CA was made anew under its old name.
        Some(rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature)) => FetchError::UnknownAuthority,
        _ => FetchError::Tls(error),
    }
}

/// One request over a connection of its own.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Bytes, FetchError> {
    let (answer, output) = tokio::io::split(stream);
    let bounded = tokio::io::join(answer.take(MAX_ANSWER), output);
    let (mut sender, connection) = http1::handshake(TokioIo::new(bounded)).await?;
    let driving = async move {
        // What breaks it is told to the request.
        let _ = connection.await;
        std::future::pending().await
    };
    let exchange = async move {
        let response = sender.send_request(request).await?;
        match response.status() {
            StatusCode::OK => read(response.into_body()).await,
            status => Err(match response.headers().get(LOCATION).map(HeaderValue::to_str) {
                Some(Ok(location)) if status.is_redirection() => {
                    FetchError::Redirected(location.chars().take(MAX_SHOWN).collect())
                }
                _ => FetchError::Status(status),
            }),
        }
    };
    tokio::select! {
        result = exchange => result,
        result = driving => result,
    }
}

async fn read(body: Incoming) -> Result<Bytes, FetchError> {
    match Limited::new(body, MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLong),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(FetchError::Http(*error)),
            Err(error) => Err(FetchError::Ended(error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests;
