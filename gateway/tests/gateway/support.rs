//! A gateway on free ports, and clients of it whose every wait has a bound.

use std::{future::Future, net::SocketAddr, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use gateway_core::control::Report;
use mooring_gateway::{Gateway, settings::Settings};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::CloseFrame},
};

/// Far longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has to happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Asks until the answer is yes.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    within(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A gateway of two shards with the memory backplane; ends with the test.
pub struct Server {
    gateway: Option<Gateway>,
    pub client: SocketAddr,
    pub control: SocketAddr,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Server {
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings =
            Settings { listen: any, control: any, shards: 2, settle: Duration::ZERO, ..Settings::default() };
        settings.insecure_api = true;
        change(&mut settings);
        let gateway = Gateway::start(settings).unwrap();
        let (client, control) = (gateway.client_address(), gateway.control_address());
        Self { gateway: Some(gateway), client, control }
    }

    /// As SIGTERM does.
    pub fn terminate(&self) {
        self.gateway.as_ref().unwrap().stopper().stop();
    }

    /// Waits until the gateway has ended by itself.
    pub async fn ended(mut self) -> Result<(), String> {
        let gateway = self.gateway.take().unwrap();
        let waiting = tokio::task::spawn_blocking(|| gateway.wait().map_err(|error| error.to_string()));
        within("the gateway's end", waiting).await.unwrap()
    }

    pub async fn connect(&self) -> TcpStream {
        within("a TCP connection", TcpStream::connect(self.client)).await.unwrap()
    }

    /// Sends a request and reads the answer to the end of the connection.
    pub async fn http(&self, to: SocketAddr, request: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("{request} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        self.exchange(to, &[head.as_bytes(), body].concat()).await
    }

    pub async fn api(&self, method: &str, body: &str) -> Value {
        self.http(self.client, &format!("POST /api/{method}"), &[], body.as_bytes()).await.json()
    }

    /// Sends bytes and reads the answer to the end of the connection.
    pub async fn exchange(&self, to: SocketAddr, bytes: &[u8]) -> Answer {
        let mut stream = within("a TCP connection", TcpStream::connect(to)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub async fn report(&self) -> Report {
        serde_json::from_value(self.http(self.control, "GET /report", &[], b"").await.json()).unwrap()
    }

    /// Waits until so many connections are live.
    pub async fn holds(&self, connections: u32) {
        until("the number of connections", || async {
            self.report().await.connections.total() == connections
        })
        .await;
    }

    pub async fn web_socket(&self, path: &str) -> WebSocket {
        self.web_socket_over(self.connect().await, path).await
    }

    /// A WebSocket over a connection with options of its own.
    pub async fn web_socket_over(&self, stream: TcpStream, path: &str) -> WebSocket {
        let request = format!("ws://{}{path}", self.client).into_client_request().unwrap();
        let (stream, _) = within("a handshake", client_async(request, stream)).await.unwrap();
        WebSocket(stream)
    }

    /// A raw client whose subscription is in force: a message comes back by way of a second one.
    pub async fn raw(&self, channel: &str) -> WebSocket {
        let mut socket = self.web_socket(&format!("/raw/{channel}")).await;
        within("the subscription", async {
            loop {
                self.http(
                    self.client,
                    &format!("POST /raw/{channel}"),
                    &["Content-Type: text/plain"],
                    b"ready?",
                )
                .await;
                let first = tokio::time::timeout(Duration::from_millis(50), socket.message()).await;
                if let Ok(message) = first {
                    assert_eq!(message, Message::text("ready?"));
                    break;
                }
            }
        })
        .await;
        socket
    }

    /// A connected client of the centrifuge protocol.
    pub async fn centrifuge(&self) -> WebSocket {
        let mut socket = self.web_socket("/connection/websocket").await;
        let reply = socket.command(r#"{"id":1,"connect":{}}"#).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stopper().stop();
            gateway.stopper().stop();
            // Its threads end on their own; what they answer is of no interest to a test that is over.
            let _ = gateway.wait();
        }
    }
}

/// A client's end of a WebSocket.
pub struct WebSocket(WebSocketStream<TcpStream>);

impl WebSocket {
    pub async fn send(&mut self, message: Message) {
        within("room to send", self.0.send(message)).await.unwrap();
    }

    pub async fn text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    /// Bytes that the library would not send.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// The next message that is no ping.
    pub async fn message(&mut self) -> Message {
        within("a message", async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        })
        .await
    }

    /// Sends a command and waits for its reply, which has to be what comes next.
    pub async fn command(&mut self, command: &str) -> Value {
        self.text(command).await;
        self.json().await
    }

    /// The next message's JSON.
    pub async fn json(&mut self) -> Value {
        let message = self.message().await;
        serde_json::from_str(message.to_text().unwrap())
            .unwrap_or_else(|error| panic!("{error}: {message:?}"))
    }

    /// The next publication; other pushes are skipped.
    pub async fn publication(&mut self) -> Value {
        within("a publication", async {
            loop {
                let message = self.json().await;
                if message["push"]["pub"].is_object() {
                    break message["push"].clone();
                }
            }
        })
        .await
    }

    /// Everything up to the close frame is skipped; its code, and then the end of the connection.
    pub async fn close_code(mut self) -> u16 {
        within("a close frame", async {
            let code = loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Close(Some(CloseFrame { code, .. })) => break code.into(),
                    Message::Close(None) => break 1005,
                    _ => {}
                }
            };
            while let Some(Ok(_)) = self.0.next().await {}
            code
        })
        .await
    }
}

/// A masked client frame (RFC 6455, section 5.2) with a payload of less than 126 bytes.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let length = u8::try_from(payload.len()).unwrap() | 0x80;
    [first_byte, length].into_iter().chain(mask).chain(masked).collect()
}
