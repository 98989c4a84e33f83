//! Starts a real kube-apiserver on a real etcd, without nodes or controllers, on loopback.
//!
//! The programs are those of the test cluster; `MOORING_KUBERNETES` names their directory.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::AuthInfo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

/// The name under which [`Server::kubeconfig`] acts; the audit log tells its writes by it.
pub const OPERATOR: &str = "system:serviceaccount:mooring-system:mooring-operator";

/// Ends when it is dropped, and with the test's process.
pub struct Server {
    port: u16,
    directory: PathBuf,
    etcd_port: u16,
    apiserver: Option<Process>,
    _etcd: Process,
}

/// One write in the audit log: verb, resource and sub-resource, name.
pub type Write = (String, String, String);

impl Server {
    /// A fresh API server, ready to answer.
    pub async fn start(name: &str) -> Self {
        let programs = programs();
        let directory = std::env::temp_dir().join(format!("mooring-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [etcd, peers, port] = free_ports();
        let process = start_etcd(&programs, &directory, etcd, peers);
        let apiserver = Some(start_apiserver(&programs, &directory, etcd, port));
        let server = Self { port, directory, etcd_port: etcd, apiserver, _etcd: process };
        server.wait_until_ready().await;
        server
    }

    /// Kills the API server, and starts it anew on the same etcd.
    pub async fn restart(&mut self) {
        drop(self.apiserver.take());
        self.apiserver = Some(start_apiserver(&programs(), &self.directory, self.etcd_port, self.port));
        self.wait_until_ready().await;
    }

    /// A kubeconfig with which a process acts as the operator.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.directory.join("kubeconfig");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port), "insecure-skip-tls-verify": true,
            }}],
            "users": [{"name": "test", "user": {"token": "operator"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Where its files and logs are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes made as the operator so far, those to Leases excepted.
    pub fn writes(&self) -> Vec<Write> {
        self.requests().iter().filter_map(write_of).collect()
    }

    /// Requests made as the operator so far that it has no right to.
    pub fn refused(&self) -> Vec<String> {
        let refused = |event: &Value| (event["responseStatus"]["code"] == 403).then(|| path_of(event));
        self.requests().iter().filter_map(refused).collect()
    }

    /// What the operator asked for or watched in a namespace.
    pub fn requests_in(&self, namespace: &str) -> Vec<String> {
        let there = |event: &Value| (event["objectRef"]["namespace"] == namespace).then(|| path_of(event));
        self.requests().iter().filter_map(there).collect()
    }

    /// Every request of the operator's so far, as audited.
    fn requests(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.directory.join("audit.log")).unwrap_or_default();
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["user"]["username"] == OPERATOR).collect()
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.client("admin")
    }

    /// A client that may do what the operator may.
    pub fn as_operator(&self) -> Client {
        self.client("operator")
    }

    fn client(&self, token: &str) -> Client {
        let mut config = Config::new(format!("https://127.0.0.1:{}", self.port).parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        Client::try_from(config).unwrap()
    }

    async fn wait_until_ready(&self) {
        let mut ticks = interval(Duration::from_millis(100));
        let ready = async {
            loop {
                ticks.tick().await;
                let request = http_request("/readyz");
                if self.admin().request_text(request).await.is_ok_and(|answer| answer == "ok") {
                    break;
                }
            }
        };
        if timeout(Duration::from_secs(60), ready).await.is_err() {
            let log = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
            panic!(
                "the API server is not ready after a minute\n{}\n{}",
                log("etcd.log"),
                log("kube-apiserver.log")
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only temporary files are lost when this fails.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn http_request(path: &str) -> hyper::Request<Vec<u8>> {
    hyper::Request::get(path).body(Vec::new()).unwrap()
}

/// What an audited event asked for.
fn path_of(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    format!("{} {}", text("verb"), text("requestURI"))
}

/// One audited event of the operator's, if it is a write that tells of its clusters.
fn write_of(event: &Value) -> Option<Write> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let verb = text(&event["verb"]);
    let written = matches!(verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    // What it may do is asked by a `create`, which stores nothing.
    let stored = !["leases", "selfsubjectaccessreviews"].contains(&resource.as_str());
    (written && stored).then(|| (verb, resource, text(&object["name"])))
}

/// Where tests/cluster/tools.sh links a program.
pub fn cached_program(name: &str) -> PathBuf {
    let cache = std::env::var_os("MOORING_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/mooring"),
        PathBuf::from,
    );
    cache.join("bin").join(name)
}

fn programs() -> PathBuf {
    if let Some(directory) = std::env::var_os("MOORING_KUBERNETES") {
        return directory.into();
    }
    let link = cached_program("kube-apiserver");
    let program = fs::canonicalize(&link).unwrap_or_else(|error| {
        let remedy =
            "run tests/cluster/tools.sh apiserver, or name the programs' directory in MOORING_KUBERNETES";
        panic!("{}: {error}: {remedy}", link.display())
    });
    program.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn start_etcd(programs: &Path, directory: &Path, port: u16, peers: u16) -> Process {
    let url = format!("http://127.0.0.1:{port}");
    let peer_url = format!("http://127.0.0.1:{peers}");
    let mut etcd = Command::new(programs.join("etcd"));
    etcd.arg("--data-dir").arg(directory.join("etcd")).args([
        // Nothing here outlives the test, so nothing needs to reach the disk.
        "--unsafe-no-fsync",
        "--log-level=warn",
        &format!("--listen-client-urls={url}"),
        &format!("--advertise-client-urls={url}"),
        &format!("--listen-peer-urls={peer_url}"),
        &format!("--initial-advertise-peer-urls={peer_url}"),
        &format!("--initial-cluster=default={peer_url}"),
    ]);
    Process::spawn(etcd, &directory.join("etcd.log"))
}

fn start_apiserver(programs: &Path, directory: &Path, etcd: u16, port: u16) -> Process {
    let path = |name: &str| directory.join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &path("sa.key")])
        .status();
    assert!(made.unwrap().success(), "openssl made no key for service accounts");
    let tokens = format!("admin,admin,admin,system:masters\noperator,{OPERATOR},operator\n");
    fs::write(path("tokens.csv"), tokens).unwrap();
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    fs::write(path("audit-policy.yaml"), policy.to_string()).unwrap();
    let mut apiserver = Command::new(programs.join("kube-apiserver"));
    apiserver.args([
        &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        &format!("--secure-port={port}"),
        "--bind-address=127.0.0.1",
        &format!("--cert-dir={}", path("certs")),
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        &format!("--service-account-key-file={}", path("sa.key")),
        &format!("--service-account-signing-key-file={}", path("sa.key")),
        &format!("--token-auth-file={}", path("tokens.csv")),
        "--authorization-mode=RBAC",
        // Some clusters have it; it asks whether the operator may make an owner's deletion wait.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        // Nobody is there to make the default ServiceAccount that it would wait for.
        "--disable-admission-plugins=ServiceAccount",
        &format!("--audit-log-path={}", path("audit.log")),
        &format!("--audit-policy-file={}", path("audit-policy.yaml")),
    ]);
    Process::spawn(apiserver, &directory.join("kube-apiserver.log"))
}

/// Ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A program that ends with the test's process, even one that is killed: a shell beside it waits for the end of its
/// standard input, which only the test holds open. Killed, since an API server without its etcd takes minutes to end by itself.
struct Process(Child);

impl Process {
    fn spawn(command: Command, log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        let child = Command::new("sh")
            .args(["-c", r#""$@" </dev/null & read -r _; kill -9 $!; wait $!"#, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It was told to end; there is nobody to tell if it does not.
        let _ = self.0.wait();
    }
}
