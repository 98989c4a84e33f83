//! Connections of the kind that a gateway has to survive. They do nothing but hold on to what they got.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::TcpStream,
    select,
    sync::oneshot,
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{
    client,
    context::Context,
    stats::{Abuse, AbuseRequest},
};

/// How long opening one may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the end of one and the next, so that a server that throws them out is not hammered by us alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections are opened a few at a time.
const SPACING: Duration = Duration::from_micros(500);

/// A stop signal for each abusive connection.
pub struct Abuses {
    context: Rc<Context>,
    members: RefCell<BTreeMap<Abuse, Vec<oneshot::Sender<()>>>>,
}

impl Abuses {
    /// None yet.
    #[must_use]
    pub fn new(context: Rc<Context>) -> Self {
        Self { context, members: RefCell::default() }
    }

    /// Makes it so many of that kind.
    pub fn set(&self, request: &AbuseRequest) {
        let mut members = self.members.borrow_mut();
        let members = members.entry(request.kind).or_default();
        members.truncate(request.count);
        for (index, _) in (members.len()..request.count).enumerate() {
            let (stop, stopped) = oneshot::channel();
            members.push(stop);
            let delay = SPACING.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
            spawn_local(abuse(self.context.clone(), request.clone(), delay, stopped));
        }
    }
}

/// An open connection in the books; over when it is dropped.
struct Open {
    context: Rc<Context>,
    kind: Abuse,
    by_gateway: bool,
}

impl Open {
    fn new(context: Rc<Context>, kind: Abuse) -> Self {
        context.auditor().abuse_opened(kind);
        Self { context, kind, by_gateway: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.context.auditor().abuse_closed(self.kind, self.by_gateway);
    }
}

/// Abuses until `stop` is dropped.
async fn abuse(
    context: Rc<Context>,
    request: AbuseRequest,
    delay: Duration,
    mut stop: oneshot::Receiver<()>,
) {
    let AbuseRequest { kind, channel, .. } = request;
    let life = async {
        sleep(delay).await;
        loop {
            let opened = match kind {
                Abuse::HalfOpen => timeout(OPEN_TIMEOUT, half_open(&context)).await.ok().flatten(),
                Abuse::NeverReads => never_reads(&context, channel).await,
            };
            if let Some(mut stream) = opened {
                let mut open = Open::new(context.clone(), kind);
                ended(kind, &mut stream).await;
                open.by_gateway = true;
            }
            sleep(PAUSE).await;
        }
    };
    select! {
        _ = &mut stop => {}
        () = life => {}
    }
}

async fn half_open(context: &Context) -> Option<TcpStream> {
    let mut stream = context.target.connect().await.ok()?;
    let half =
        format!("GET /connection/websocket HTTP/1.1\r\nHost: {}\r\nUpgrade: webso", context.target.authority);
    stream.write_all(half.as_bytes()).await.ok()?;
    Some(stream)
}

async fn never_reads(context: &Context, channel: usize) -> Option<TcpStream> {
    Some(client::open_subscribed(context, channel).await?.into_inner())
}

/// Waits for the end of a connection: by reading, or where that is just what it must not do, by looking at it from time to time.
async fn ended(kind: Abuse, stream: &mut TcpStream) {
    match kind {
        Abuse::HalfOpen => {
            let mut scratch = [0; 512];
            while stream.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        }
        Abuse::NeverReads => {
            while stream.ready(Interest::READABLE).await.is_ok_and(|ready| !ready.is_read_closed()) {
                sleep(PAUSE).await;
            }
        }
    }
}
