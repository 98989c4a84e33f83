//! One client: connects, subscribes, and comes back when its connection ends, until it is told to stop.

mod backoff;
mod centrifuge;
mod session;

use std::{rc::Rc, time::Duration};

use futures::SinkExt as _;
use tokio::{
    net::TcpStream,
    select,
    sync::oneshot,
    time::{error::Elapsed, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message as Frame, protocol::WebSocketConfig},
};

use self::{
    centrifuge::{CONNECT, Subscription},
    session::{End, Session},
};
use crate::{audit::ClientId, channel::Channel, context::Context, stats::Protocol};

/// How long a connection, a handshake and a reply to a command may take, as in centrifuge-js.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A WebSocket to a gateway.
pub type Socket = WebSocketStream<TcpStream>;

/// Small buffers: a fleet has thousands of these.
fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0).max_write_buffer_size(64 * 1024)
}

/// Opens a WebSocket; a refusal or failure is in the books.
async fn open(context: &Context, path: &str) -> Option<Socket> {
    let url = format!("ws://{}{path}", context.target.authority);
    let handshake = async {
        let stream = context.target.connect().await?;
        Ok(client_async_with_config(url, stream, Some(socket_config())).await?.0)
    };
    match timeout(REPLY_TIMEOUT, handshake).await {
        Ok(Ok(socket)) => return Some(socket),
        Ok(Err(Error::Http(response))) => context.auditor().refused(response.status().as_u16()),
        Ok(Err(error)) => context.auditor().unreachable(error.to_string()),
        Err(Elapsed { .. }) => context.auditor().unreachable("no answer to the handshake in time".to_owned()),
    }
    None
}

/// Opens a connection of the centrifuge protocol and subscribes, without waiting for the answers.
pub async fn open_subscribed(context: &Context, number: usize) -> Option<Socket> {
    let channel = Channel { protocol: Protocol::Centrifuge, number };
    let mut socket = open(context, &channel.path()).await?;
    let subscribe = Subscription::new(channel.name()).command();
    socket.send(Frame::text(format!("{CONNECT}\n{subscribe}"))).await.ok()?;
    Some(socket)
}

/// A client over all its connections.
struct Client {
    context: Rc<Context>,
    id: ClientId,
    protocol: Protocol,
    subscription: Subscription,
    /// Failures since the last time the client was connected.
    attempts: u32,
}

/// Lives a client's life in one channel, until `stop` is dropped.
pub async fn run(context: Rc<Context>, channel: Channel, mut stop: oneshot::Receiver<()>) {
    let id = context.auditor().entered(channel);
    let subscription = Subscription::new(channel.name());
    let protocol = channel.protocol;
    let mut client = Client { context: context.clone(), id, protocol, subscription, attempts: 0 };
    let path = channel.path();
    loop {
        let opened = select! {
            _ = &mut stop => break,
            opened = open(&context, &path) => opened,
        };
        if let Some(socket) = opened {
            match Session::new(&mut client, socket).run(&mut stop).await {
                End::Stopped => break,
                End::Failed => context.auditor().unreachable("no answer to the connect command".to_owned()),
                End::Closed(code) => {
                    let terminal = protocol == Protocol::Centrifuge && centrifuge::is_terminal(code);
                    context.auditor().closed(id, code, terminal, context.now());
                    if terminal {
                        // It stays in the books, and away.
                        let _ = stop.await;
                        break;
                    }
                }
            }
        }
        let pause = backoff::delay(client.attempts, rand::random());
        client.attempts = client.attempts.saturating_add(1);
        select! {
            _ = &mut stop => break,
            () = sleep(pause) => {}
        }
    }
    context.auditor().left(id);
}
