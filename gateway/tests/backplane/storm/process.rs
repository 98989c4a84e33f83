//! A gateway in a process of its own, so that its memory can be told from its attackers'.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::redis_server::{PASSWORD, RedisServer};

/// Killed when dropped.
pub struct Process {
    child: Child,
    secrets: PathBuf,
    pub client: SocketAddr,
    control: SocketAddr,
}

impl Process {
    /// Its channels of neighbours keep so many messages.
    pub fn start(redis: &RedisServer, budget: usize, kept: usize) -> Self {
        let secrets = std::env::temp_dir().join(format!("mooring-gateway-{}", redis.port()));
        fs::create_dir_all(&secrets).unwrap();
        let secret = |name: &str, text: &str| {
            let path = secrets.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let config = format!(
            r#"{{"limits":{{"memoryBytes":{budget},"connectionsPerSecond":10000,"messagesPerSecond":2000,
                "wrongTokensPerMinutePerAddress":20}},
                "channels":{{"default":{{"history":{{"size":300,"ttlSeconds":300}},"presence":true,"joinLeave":true}},
                "namespaces":[{{"name":"neighbours","history":{{"size":{kept},"ttlSeconds":300}}}}]}}}}"#
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_mooring-gateway"))
            .args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--shards", "2", "--anonymous"])
            .args(["--log-format", "json", "--redis-url", &redis.url()])
            .arg("--redis-password-file")
            .arg(secret("redis", PASSWORD))
            .arg("--jwt-hmac-secret-file")
            .arg(secret("key", "a secret of thirty-two bytes, ok"))
            .env("MOORING_CONFIG", config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serving = lines.by_ref().find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            let address = |field: &str| line[field].as_str()?.parse().ok();
            Some((address("client")?, address("control")?))
        });
        let (client, control) = serving.expect("the gateway serves");
        // What it logs is part of what a failure says.
        std::thread::spawn(move || lines.for_each(|line| println!("{line}")));
        Self { child, secrets, client, control }
    }

    /// Its resident memory, in bytes.
    pub fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it lives");
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// One of its metrics.
    pub async fn metric(&self, name: &str) -> usize {
        let mut stream = TcpStream::connect(self.control).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {answer}")).parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.secrets);
    }
}
