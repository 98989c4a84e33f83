//! `mooring-gateway probe`: two clients that show whether a cluster carries messages, for `helm test` and for people.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs as _},
    thread,
    time::{Duration, Instant},
};

use tungstenite::{
    Error as WebSocketError, HandshakeError, Message, WebSocket, client::client_with_config, http::Uri,
    protocol::WebSocketConfig,
};

/// Connecting, each answer of the handshake, and the way of a message may take so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The receiver is in the channel some time after its handshake, and is not told: the message is sent again after this time.
const RESEND: Duration = Duration::from_millis(200);
/// Nothing that others may send into the channel need be longer.
const LARGEST_MESSAGE: usize = 1 << 16;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ProbeError {
    #[error("{0}: not the address of a raw channel; write it like ws://chat.default.svc:8000/raw/probe")]
    Url(String),
    #[error("{host}: has no address: {source}; is there a Service of this name, and does DNS answer?")]
    Resolve { host: String, source: io::Error },
    #[error(
        "{host}: no connection: {source}; is a pod behind the Service ready, and does a NetworkPolicy let this client reach it?"
    )]
    Connect { host: String, source: io::Error },
    #[error(
        "{url}: no WebSocket: {source}; are raw channels served, and are clients let in without a token?"
    )]
    Handshake { url: String, source: Box<WebSocketError> },
    #[error("{url}: the connection broke: {source}; the gateways' logs say why")]
    Broken { url: String, source: Box<WebSocketError> },
    #[error("{url}: a message did not arrive in {PATIENCE:?}; do the gateways reach their backplane?")]
    Lost { url: String },
}

/// Tries until one client of the raw channel at `url` gets a message of another, or `limit` is over; calls `told` with each new
/// reason why it is not so yet.
///
/// # Errors
/// When the address is wrong, or the last attempt in that time failed.
pub fn probe(url: &str, limit: Duration, mut told: impl FnMut(&ProbeError)) -> Result<(), ProbeError> {
    let host = host_of(url)?;
    let started = Instant::now();
    let mut last = String::new();
    loop {
        match attempt(url, &host) {
            Err(error) if started.elapsed() + PAUSE < limit => {
                let reason = error.to_string();
                if reason != last {
                    told(&error);
                    last = reason;
                }
            }
            ended => return ended,
        }
        thread::sleep(PAUSE);
    }
}

/// Host and port of a raw channel's address.
fn host_of(url: &str) -> Result<String, ProbeError> {
    let uri = url.parse::<Uri>().ok();
    let uri = uri.filter(|uri| uri.scheme_str() == Some("ws") && uri.path().starts_with("/raw/"));
    let host = uri.as_ref().and_then(|uri| Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(80))));
    host.ok_or_else(|| ProbeError::Url(url.to_owned()))
}

fn attempt(url: &str, host: &str) -> Result<(), ProbeError> {
    let mut sender = connect(url, host)?;
    let mut receiver = connect(url, host)?;
    let broken = |source| ProbeError::Broken { url: url.to_owned(), source: Box::new(source) };
    receiver.get_ref().set_read_timeout(Some(RESEND)).map_err(|error| broken(error.into()))?;
    let message = Message::text(format!("probe {:016x}", rand::random::<u64>()));
    let started = Instant::now();
    let mut sent = None::<Instant>;
    while started.elapsed() < PATIENCE {
        if sent.is_none_or(|sent| sent.elapsed() >= RESEND) {
            sender.send(message.clone()).map_err(broken)?;
            sent = Some(Instant::now());
        }
        match receiver.read() {
            Ok(found) if found == message => {
                // Gateways count who leaves without a word. What comes of these says nothing about messages any more.
                drop((sender.close(None), receiver.close(None)));
                return Ok(());
            }
            // What others say in this channel.
            Ok(_) => {}
            Err(WebSocketError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(broken(error)),
        }
    }
    Err(ProbeError::Lost { url: url.to_owned() })
}

fn connect(url: &str, host: &str) -> Result<WebSocket<TcpStream>, ProbeError> {
    let resolved = host.to_socket_addrs().and_then(|mut addresses| {
        addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its record is empty"))
    });
    let address = resolved.map_err(|source| ProbeError::Resolve { host: host.to_owned(), source })?;
    let connected = TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    let stream = connected.map_err(|source| ProbeError::Connect { host: host.to_owned(), source })?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let opened = client_with_config(url, stream, Some(config)).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        // A blocking socket is interrupted by its timeout alone.
        HandshakeError::Interrupted(_) => io::Error::from(io::ErrorKind::TimedOut).into(),
    });
    let (socket, _) =
        opened.map_err(|source| ProbeError::Handshake { url: url.to_owned(), source: Box::new(source) })?;
    Ok(socket)
}
