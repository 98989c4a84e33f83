//! Clients that want as much of a gateway as they can get. Whatever it answers, and whether it does, they go on until the end.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, SinkExt as _, StreamExt as _, future::join_all};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::sleep,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

/// Whom they attack, and until when.
#[derive(Clone, Copy)]
pub struct Target {
    pub client: SocketAddr,
    pub until: Instant,
}

type Attack = Pin<Box<dyn Future<Output = ()>>>;

/// Lets all of them attack, on this thread alone.
pub fn attack(target: Target) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(join_all(all(target)));
}

fn all(target: Target) -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut add = |count: usize, attack: &dyn Fn(Target) -> Attack| {
        attacks.extend((0..count).map(|_| again(target, attack(target))));
    };
    add(300, &|target| drip(target).boxed_local());
    add(60, &|target| never_read(target).boxed_local());
    add(100, &|target| body_without_end(target).boxed_local());
    add(100, &|target| chunks_without_end(target).boxed_local());
    add(40, &|target| flood(target).boxed_local());
    add(20, &|target| storm(target).boxed_local());
    add(200, &|target| half_a_handshake(target).boxed_local());
    add(10, &|target| wrong_token(target).boxed_local());
    attacks
}

/// Ends an attack when its time is over.
fn again(target: Target, attack: Attack) -> Attack {
    Box::pin(async move {
        // It ends by being given up.
        let _ = tokio::time::timeout_at(target.until.into(), attack).await;
    })
}

/// Does something over and over, with a pause after each time that it failed.
async fn forever(mut once: impl AsyncFnMut() -> Result<(), Error>) {
    loop {
        if once().await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn web_socket(
    target: Target,
    path: &str,
    receive_buffer: u32,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(receive_buffer)?;
    let stream = socket.connect(target.client).await?;
    let request = format!("ws://{}{path}", target.client).into_client_request()?;
    Ok(client_async(request, stream).await?.0)
}

async fn centrifuge(target: Target, receive_buffer: u32) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut socket = web_socket(target, "/connection/websocket", receive_buffer).await?;
    socket.send(Message::text(r#"{"id":1,"connect":{}}"#)).await?;
    socket.send(Message::text(r#"{"id":2,"subscribe":{"channel":"attacked"}}"#)).await?;
    Ok(socket)
}

/// A message that is never whole: most of it at once, and then byte by byte.
async fn drip(target: Target) {
    forever(async || {
        let mut socket = web_socket(target, "/raw/drip", 65_536).await?;
        let stream = socket.get_mut();
        let mut head = vec![0x82, 0x80 | 126];
        head.extend(65_000_u16.to_be_bytes());
        head.extend([0; 4]);
        head.extend([0; 50_000]);
        stream.write_all(&head).await?;
        loop {
            sleep(Duration::from_millis(200)).await;
            stream.write_all(&[0]).await?;
        }
    })
    .await;
}

/// Asks for all there is, and reads none of it.
async fn never_read(target: Target) {
    forever(async || {
        let mut socket = centrifuge(target, 4096).await?;
        for id in 3.. {
            let history = format!(r#"{{"id":{id},"history":{{"channel":"attacked","limit":300}}}}"#);
            socket.send(Message::text(history)).await?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    })
    .await;
}

async fn body_without_end(target: Target) {
    forever(async || {
        let mut stream = TcpStream::connect(target.client).await?;
        let head = "POST /raw/attacked HTTP/1.1\r\nHost: a\r\nContent-Length: 65000\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&[b'x'; 60_000]).await?;
        loop {
            sleep(Duration::from_millis(200)).await;
            stream.write_all(b"x").await?;
        }
    })
    .await;
}

/// A body byte by byte: what each takes besides its byte is the server's to choose.
async fn chunks_without_end(target: Target) {
    forever(async || {
        let mut stream = TcpStream::connect(target.client).await?;
        let head = "POST /raw/attacked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        stream.write_all("1\r\nx\r\n".repeat(60_000).as_bytes()).await?;
        loop {
            sleep(Duration::from_millis(200)).await;
            stream.write_all(b"1\r\nx\r\n").await?;
        }
    })
    .await;
}

/// Publishes as fast as it is read, and reads what it is answered.
async fn flood(target: Target) {
    forever(async || {
        let (mut sender, mut receiver) = centrifuge(target, 65_536).await?.split();
        let data = "x".repeat(50_000);
        let send = async {
            for id in 3_u64.. {
                let publish = format!(r#"{{"id":{id},"publish":{{"channel":"attacked","data":"{data}"}}}}"#);
                sender.send(Message::text(publish)).await?;
            }
            Ok::<(), Error>(())
        };
        let receive = async {
            while let Some(message) = receiver.next().await {
                message?;
            }
            Err::<(), Error>(Error::ConnectionClosed)
        };
        tokio::try_join!(send, receive).map(|((), ())| ())
    })
    .await;
}

/// Enters and leaves, and asks who is there and what was said, many times in each message.
async fn storm(target: Target) {
    forever(async || {
        let mut socket = centrifuge(target, 65_536).await?;
        let commands = [
            r#"{"id":3,"presence":{"channel":"attacked"}}"#,
            r#"{"id":4,"presence_stats":{"channel":"attacked"}}"#,
            r#"{"id":5,"history":{"channel":"attacked","limit":300}}"#,
            r#"{"id":6,"unsubscribe":{"channel":"attacked"}}"#,
            r#"{"id":7,"subscribe":{"channel":"attacked"}}"#,
        ];
        let message = [commands.join("\n").as_str(); 20].join("\n");
        loop {
            socket.send(Message::text(message.as_str())).await?;
            let mut answers = 0;
            while answers < 20 {
                let message = socket.next().await.ok_or(Error::ConnectionClosed)??;
                answers += usize::from(message.is_text());
            }
        }
    })
    .await;
}

async fn half_a_handshake(target: Target) {
    forever(async || {
        let mut stream = TcpStream::connect(target.client).await?;
        stream.write_all(b"GET /raw/attacked HTTP/1.1\r\nHost: a\r\nX-Long: ").await?;
        stream.write_all(&[b'x'; 8_000]).await?;
        let mut answer = [0; 1024];
        stream.read_exact(&mut answer).await?;
        Ok(())
    })
    .await;
}

/// From another address than everybody else, which so is the only one that is barred.
async fn wrong_token(target: Target) {
    forever(async || {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0)))?;
        let mut stream = socket.connect(target.client).await?;
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.bm90IGEgc2lnbmF0dXJl";
        let request =
            format!("GET /raw/attacked?token={token} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 401 ") || answer.starts_with("HTTP/1.1 429 "), "{answer}");
        Err(io::Error::other("refused, as it has to be").into())
    })
    .await;
}
