//! The operator as a process, with the rights of the chart and no others.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use tokio::time::{interval, timeout};

use crate::release::NAMESPACE;
use crate::server::Server;

/// A running operator; killed when dropped.
pub struct Operator {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Operator {
    /// Starts one named `identity`; it may not lead yet.
    pub fn start(server: &Server, identity: &str) -> Self {
        Self::start_with(server, identity, &[])
    }

    /// The same with more arguments.
    pub fn start_with(server: &Server, identity: &str, arguments: &[String]) -> Self {
        let [port] = crate::server::free_ports();
        let admin = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooring-operator"));
        command.env("KUBECONFIG", server.kubeconfig()).stdin(Stdio::null()).args([
            &format!("--metrics-listen={admin}"),
            &format!("--identity={identity}"),
            &format!("--lease-namespace={NAMESPACE}"),
            "--log=warn,mooring_operator=info",
        ]);
        command.args(arguments);
        let log = server.directory().join(format!("{identity}.log"));
        let output = fs::File::create(&log).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Self { child: command.spawn().unwrap(), admin, log }
    }

    /// Waits until it has passed over its clusters `passes` more times without an error.
    pub async fn passes(&self, passes: u64) {
        let name = r#"mooring_operator_reconcile_duration_seconds_count{outcome="ok"}"#;
        let before = self.metric(name).await.unwrap_or(0);
        until("passes", || async move { self.metric(name).await.is_some_and(|now| now >= before + passes) })
            .await;
    }

    /// Whether it says that it leads; nothing while it starts.
    pub async fn leads(&self) -> Option<bool> {
        self.metric("mooring_operator_leader").await.map(|leads| leads == 1)
    }

    /// Sends SIGTERM, and waits for its end; true if it ended well.
    pub fn stop(mut self) -> bool {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        told.success() && self.child.wait().unwrap().success()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A metric's value, once it answers.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = self.get("/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Whether it is ready, and its words, once it answers.
    pub async fn readiness(&self) -> Option<(bool, String)> {
        self.get("/readyz").await
    }

    async fn get(&self, path: &str) -> Option<(bool, String)> {
        let http: Http<_, Empty<Bytes>> = Http::builder(TokioExecutor::new()).build_http();
        let answer = http.get(format!("http://{}{path}", self.admin).parse().unwrap()).await.ok()?;
        let is_ok = answer.status().is_success();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((is_ok, String::from_utf8(body.to_vec()).unwrap()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}\n{}", self.log.display(), self.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds; at most a minute.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let mut ticks = interval(Duration::from_millis(100));
    let held = async {
        loop {
            ticks.tick().await;
            if condition().await {
                break;
            }
        }
    };
    assert!(timeout(Duration::from_secs(60), held).await.is_ok(), "waited a minute in vain for {what}");
}
