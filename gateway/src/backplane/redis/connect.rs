//! The way to a connection: the files are read, TCP and TLS shake hands, Redis is told who comes.

use std::{future::Future, sync::Arc, time::Duration};

use gateway_core::resp::Resp;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    connection::Connection,
    failure::{CONNECT_WITHIN, Failure, Step},
    server::{Credentials, InvalidRedis, Server},
};

/// A connection, and the id of this life of Redis's data.
pub(super) type Opened = Result<(Connection, String), Failure>;

/// Connects after a while. `store` is the key of the id.
pub(super) async fn connect(server: Arc<Server>, store: String, wait: Duration) -> Opened {
    sleep(wait).await;
    let ticket = read(&server).await?;
    match open(&server, &ticket, &store).await {
        Err(failure) if failure.is_denied() => {
            // They may have been exchanged a moment ago.
            let newer = read(&server).await?;
            if newer.0 == ticket.0 { Err(failure) } else { open(&server, &newer, &store).await }
        }
        result => result,
    }
}

/// What the files hold now, and what makes TLS of it.
type Ticket = (Credentials, Option<TlsConnector>);

async fn read(server: &Arc<Server>) -> Result<Ticket, Failure> {
    let server = server.clone();
    // A file may be on a disk that does not answer, and live messages do not wait for it.
    let reading = tokio::task::spawn_blocking(move || {
        let credentials = server.credentials()?;
        let connector = server.connector(&credentials)?;
        Ok::<Ticket, InvalidRedis>((credentials, connector))
    });
    match timeout_at(Instant::now() + CONNECT_WITHIN, reading).await {
        Ok(Ok(result)) => result.map_err(Failure::Invalid),
        Ok(Err(error)) => Err(Failure::Unexpected(error.to_string())),
        Err(_) => Err(Failure::TimedOut(Step::Files)),
    }
}

async fn open(server: &Server, (credentials, connector): &Ticket, store: &str) -> Opened {
    let deadline = Instant::now() + CONNECT_WITHIN;
    let address = &server.address;
    let socket = TcpStream::connect((address.host.as_str(), address.port));
    let socket = within(deadline, Step::Socket, socket).await?;
    socket.set_nodelay(true)?;
    let (Some(connector), Some(name)) = (connector, &address.server_name) else {
        let mut connection = Connection::new(socket);
        let store = log_in(&mut connection, server, credentials, store, deadline).await;
        return match store {
            // Without a word, when Redis waits for a handshake of TLS.
            Err(Failure::Closed | Failure::Socket(_)) => Err(Failure::ClosedBeforeLogin),
            store => store.map(|store| (connection, store)),
        };
    };
    let socket = within(deadline, Step::Tls, connector.connect(name.clone(), socket)).await?;
    let mut connection = Connection::new(socket);
    let store = log_in(&mut connection, server, credentials, store, deadline).await?;
    Ok((connection, store))
}

/// Says who comes, and learns the id of this life of Redis's data.
async fn log_in(
    connection: &mut Connection,
    server: &Server,
    credentials: &Credentials,
    store: &str,
    deadline: Instant,
) -> Result<String, Failure> {
    let asking = async {
        if let Some(password) = &credentials.password {
            let mut auth = redis::cmd("AUTH");
            auth.arg(server.username()).arg(password.reveal());
            connection.ask(&auth).await?;
        }
        if server.address.database != 0 {
            connection.ask(redis::cmd("SELECT").arg(server.address.database)).await?;
        }
        // A Redis that still loads its data says so.
        connection.ask(&redis::cmd("PING")).await?;
        store_id(connection, store).await
    };
    within(deadline, Step::Login, asking).await
}

/// The id of this life of Redis's data; drawn when there is none. A Redis that is full can still tell it.
async fn store_id(connection: &mut Connection, key: &str) -> Result<String, Failure> {
    let mut get = redis::cmd("GET");
    get.arg(key);
    let mut id = connection.ask(&get).await?;
    if id == Resp::Nil {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(format!("{:08x}", rand::random::<u32>())).arg("NX");
        connection.ask(&set).await?;
        id = connection.ask(&get).await?;
    }
    match id {
        Resp::Text(id) if id.len() == 8 && id.iter().all(u8::is_ascii_hexdigit) => {
            Ok(String::from_utf8_lossy(&id).into_owned())
        }
        other => {
            Err(Failure::Unexpected(format!("{key} is {other:?}; delete it, so that a new one is drawn")))
        }
    }
}

async fn within<T, E: Into<Failure>>(
    deadline: Instant,
    step: Step,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout_at(deadline, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::TimedOut(step)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::backplane::RedisAccess;

    /// Says this to one client, a reply for each of its commands; what it said first.
    async fn answer(listener: &TcpListener, replies: &[&[u8]]) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut commands = Vec::new();
        for reply in replies {
            let mut command = [0; 128];
            let count = socket.read(&mut command).await.unwrap();
            commands.push(String::from_utf8_lossy(&command[..count]).into_owned());
            socket.write_all(reply).await.unwrap();
        }
        commands.swap_remove(0)
    }

    #[tokio::test]
    async fn a_password_that_was_exchanged_just_before_the_login_is_tried_at_once() {
        let path = std::env::temp_dir().join(format!("mooring-password-{}", std::process::id()));
        std::fs::write(&path, "first").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let access = RedisAccess { password_file: Some(path.clone()), ..RedisAccess::default() };
        let server = Arc::new(Server::new(&url, access).unwrap());
        let redis = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            std::fs::write(&path, "second").unwrap();
            assert!(socket.read(&mut [0; 128]).await.unwrap() > 0);
            socket.write_all(b"-WRONGPASS no\r\n").await.unwrap();
            answer(&listener, &[b"+OK\r\n", b"+PONG\r\n", b"$8\r\n00000001\r\n"]).await
        };
        let (opened, login) =
            tokio::join!(connect(server.clone(), "store".to_owned(), Duration::ZERO), redis);
        assert!(opened.is_ok_and(|(_, store)| store == "00000001"));
        assert!(login.contains("second"), "{login}");
        let refuse = async {
            let login = answer(&listener, &[b"-WRONGPASS no\r\n"]).await;
            assert!(login.contains("second"), "{login}");
        };
        let (opened, ()) = tokio::join!(connect(server, "store".to_owned(), Duration::ZERO), refuse);
        assert!(opened.is_err_and(|failure| failure.is_denied()), "the file is as it was");
        std::fs::remove_file(&path).unwrap();
    }
}
