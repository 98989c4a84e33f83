//! One connection of a client, from the handshake's end to its own.

use std::{convert::Infallible, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    select,
    sync::oneshot,
    time::{Instant, error::Elapsed, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::Message as Frame;

use super::{
    Client, REPLY_TIMEOUT, Socket, backoff,
    centrifuge::{CONNECT, Event, PONG},
};
use crate::{audit::Start, message::Message, stats::Protocol};

/// How much later than announced a ping may come, as in centrifuge-js.
const MAX_PING_DELAY: Duration = Duration::from_secs(10);
/// How long a connection may be silent whose server announces no pings.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// How long our own close frame may take to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// Close code of a connection that ended without a close frame (RFC 6455, section 7.1.5).
const ABNORMAL: u16 = 1006;

/// Why a connection is over.
pub(super) enum End {
    /// With this close code.
    Closed(u16),
    /// Before the client was connected in its protocol's sense.
    Failed,
    /// The client was told to stop.
    Stopped,
}

/// One connection.
pub(super) struct Session<'a> {
    client: &'a mut Client,
    socket: Socket,
    /// Connected in the protocol's sense.
    established: bool,
    /// Longest time between signs of life.
    interval: Duration,
    /// The connection counts as dead then.
    dead: Instant,
    /// The subscribe command is sent again then.
    subscribe: Option<Instant>,
    /// Subscribe commands that failed in a row.
    failures: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(client: &'a mut Client, socket: Socket) -> Self {
        let dead = Instant::now() + REPLY_TIMEOUT;
        Self { client, socket, established: false, interval: MAX_SILENCE, dead, subscribe: None, failures: 0 }
    }

    /// Lives until the connection ends, or `stop` is dropped.
    pub(super) async fn run(mut self, stop: &mut oneshot::Receiver<()>) -> End {
        let Err(end) = self.exchange(stop).await;
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
        match end {
            End::Closed(_) if !self.established => End::Failed,
            end => end,
        }
    }

    async fn exchange(&mut self, stop: &mut oneshot::Receiver<()>) -> Result<Infallible, End> {
        match self.client.protocol {
            Protocol::Centrifuge => self.say(CONNECT.to_owned()).await?,
            Protocol::Raw => {
                self.establish(None, MAX_SILENCE);
                self.client.context.auditor().subscribed(self.client.id, Start::Fresh(None));
            }
        }
        loop {
            let due = self.subscribe.map_or(self.dead, |at| at.min(self.dead));
            let frame = select! {
                _ = &mut *stop => return Err(End::Stopped),
                frame = timeout_at(due, self.socket.next()) => frame,
            };
            match frame {
                Ok(Some(Ok(frame))) => self.frame(frame).await?,
                Ok(Some(Err(_)) | None) => return Err(End::Closed(ABNORMAL)),
                Err(Elapsed { .. }) => self.timer().await?,
            }
        }
    }

    /// The client is connected, to the gateway of that name where the protocol tells it.
    fn establish(&mut self, node: Option<&str>, interval: Duration) {
        self.established = true;
        self.client.attempts = 0;
        self.interval = interval;
        self.dead = Instant::now() + interval;
        let context = &self.client.context;
        context.auditor().connected(self.client.id, node, context.now());
    }

    /// What is due: the subscribe command again, or the end.
    async fn timer(&mut self) -> Result<(), End> {
        if self.subscribe.take_if(|at| *at <= Instant::now()).is_some() {
            return self.say(self.client.subscription.command()).await;
        }
        Err(End::Closed(ABNORMAL))
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), End> {
        match (frame, self.client.protocol) {
            (Frame::Close(close), _) => Err(End::Closed(close.map_or(ABNORMAL, |close| close.code.into()))),
            (Frame::Text(text), Protocol::Centrifuge) => {
                for line in text.lines() {
                    self.line(line).await?;
                }
                Ok(())
            }
            (frame, Protocol::Raw) => {
                self.dead = Instant::now() + self.interval;
                let message = match &frame {
                    Frame::Text(text) => Message::from_text(text),
                    Frame::Binary(bytes) => Message::from_binary(bytes),
                    _ => None,
                };
                if let Some(message) = message {
                    self.deliver(message, None);
                }
                Ok(())
            }
            (_, Protocol::Centrifuge) => Ok(()),
        }
    }

    async fn line(&mut self, line: &str) -> Result<(), End> {
        let now = Instant::now();
        match self.client.subscription.receive(line).ok_or(End::Closed(ABNORMAL))? {
            Event::Ping => {
                self.dead = now + self.interval;
                self.say(PONG.to_owned()).await?;
            }
            Event::Connected { node, ping } => {
                self.establish(Some(&node), if ping.is_zero() { MAX_SILENCE } else { ping + MAX_PING_DELAY });
                self.say(self.client.subscription.command()).await?;
            }
            Event::Subscribed(start, missed) => {
                self.failures = 0;
                self.client.context.auditor().subscribed(self.client.id, start);
                for delivery in missed {
                    self.deliver(delivery.message, delivery.offset);
                }
            }
            Event::Published(delivery) => self.deliver(delivery.message, delivery.offset),
            Event::Failed { subscribe: true, temporary: true } => {
                self.subscribe = Some(now + backoff::delay(self.failures, rand::random()));
                self.failures = self.failures.saturating_add(1);
            }
            Event::Failed { subscribe: false, .. } => return Err(End::Closed(ABNORMAL)),
            Event::Unsubscribed { again: true } => {
                let context = &self.client.context;
                context.auditor().unsubscribed(self.client.id, context.now());
                self.subscribe = Some(now);
            }
            Event::Failed { .. } | Event::Unsubscribed { .. } | Event::Other => {}
        }
        Ok(())
    }

    fn deliver(&self, message: Message, offset: Option<u64>) {
        let context = &self.client.context;
        context.auditor().delivered(self.client.id, message.sequence, offset, message.sent(), context.now());
    }

    async fn say(&mut self, text: String) -> Result<(), End> {
        match timeout(REPLY_TIMEOUT, self.socket.send(Frame::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(Elapsed { .. }) => Err(End::Closed(ABNORMAL)),
        }
    }
}
