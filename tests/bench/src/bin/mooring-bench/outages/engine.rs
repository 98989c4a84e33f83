//! A Redis that writes everything to disk before it answers, and that failures can be done to.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::process::{self, Server};

const NAME: &str = "redis";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Gone from its kill until it is started again.
#[derive(Debug)]
pub struct Engine {
    server: Option<Server>,
    address: SocketAddr,
    directory: PathBuf,
    logs: PathBuf,
}

impl Engine {
    /// An empty one.
    pub fn start(logs: &Path) -> io::Result<Self> {
        let address = process::free_address()?;
        let directory = logs.join(NAME);
        let mut engine = Self { server: None, address, directory, logs: logs.to_owned() };
        engine.empty()?;
        engine.start_again()?;
        Ok(engine)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn start_again(&mut self) -> io::Result<()> {
        let mut command = process::anywhere("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"])
            .arg(&self.directory);
        self.server = Some(Server::start(NAME, &mut command, self.address, &self.logs)?);
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub fn end(&mut self) {
        self.server = None;
    }

    pub fn kill(&mut self) -> io::Result<()> {
        self.server.take().map_or(Ok(()), |mut server| server.kill())
    }

    /// What it kept is gone, once it is started again.
    pub fn empty(&self) -> io::Result<()> {
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory)?;
        }
        fs::create_dir_all(&self.directory)
    }

    pub fn pause(&self) -> io::Result<()> {
        self.server.as_ref().map_or(Ok(()), Server::pause)
    }

    pub fn resume(&self) -> io::Result<()> {
        self.server.as_ref().map_or(Ok(()), Server::resume)
    }

    /// The answer to one command, which is not to be an error.
    pub fn command(&self, command: &str) -> io::Result<String> {
        let mut answer = String::new();
        self.send(&format!("{command}\r\nQUIT"))?.read_to_string(&mut answer)?;
        if answer.starts_with('-') {
            return Err(io::Error::other(format!("Redis answered {command:?} with {answer:?}")));
        }
        Ok(answer)
    }

    /// Sends one command, without waiting for an answer.
    pub fn send(&self, command: &str) -> io::Result<TcpStream> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.set_read_timeout(Some(ANSWER_WITHIN))?;
        connection.write_all(format!("{command}\r\n").as_bytes())?;
        Ok(connection)
    }

    /// Whether it has said so since it was started.
    pub fn has_logged(&self, text: &str) -> bool {
        fs::read_to_string(self.logs.join(format!("{NAME}.log"))).is_ok_and(|log| log.contains(text))
    }
}
