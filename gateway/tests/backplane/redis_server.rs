//! A real redis-server, of this test alone.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use socket2::{Domain, Socket, Type};

pub const PASSWORD: &str = "not secret";

/// Killed, and its directory removed, when dropped.
pub struct RedisServer {
    /// Bound, so that while Redis is away no connection of another test has its port.
    _reserved: Socket,
    port: u16,
    directory: PathBuf,
    process: Child,
}

impl RedisServer {
    pub fn start() -> Self {
        let (reserved, port) = reserve();
        let directory = std::env::temp_dir().join(format!("mooring-redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let process = run(port, &directory);
        Self { _reserved: reserved, port, directory, process }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops it where it is, or lets it go on.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn start_again(&mut self) {
        self.process = run(self.port, &self.directory);
    }

    /// What the disk holds now; put back by [`RedisServer::restore`].
    pub fn snapshot(&self) -> PathBuf {
        let copy = self.directory.with_extension("snapshot");
        copy_directory(&self.directory, &copy);
        copy
    }

    pub fn restore(&self, snapshot: &Path) {
        self.lose_everything();
        copy_directory(snapshot, &self.directory);
        fs::remove_dir_all(snapshot).unwrap();
    }

    pub fn lose_everything(&self) {
        fs::remove_dir_all(&self.directory).unwrap();
        fs::create_dir_all(&self.directory).unwrap();
    }

    /// How often a command was called.
    pub fn calls(&self, command: &str) -> u64 {
        let statistics: String = redis::from_redis_value(self.command(&["INFO", "commandstats"])).unwrap();
        let line =
            statistics.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = redis::from_redis_value(self.command(&["KEYS", "*"])).unwrap();
        keys.sort();
        keys
    }

    /// One command, as an operator would type it.
    pub fn command(&self, arguments: &[&str]) -> redis::Value {
        let client = redis::Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut command = redis::Cmd::new();
        arguments.iter().for_each(|argument| _ = command.arg(argument));
        command.query(&mut connection).unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A port that only a server that reuses addresses can listen on, as Redis does.
fn reserve() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket_ipv4().unwrap().port();
    (socket, port)
}

fn run(port: u16, directory: &Path) -> Child {
    let mut process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--requirepass", PASSWORD])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server is installed (Debian: apt-get install redis-server)");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
    assert!(ready, "redis-server ended");
    std::thread::spawn(move || lines.for_each(drop));
    process
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
