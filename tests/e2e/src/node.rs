//! What one can do to a node of kind, which is a container of the engine on this machine.

use k8s_openapi::api::core::v1::Pod;
use tokio::process::Command;

/// Whether the pod's node is a container here.
pub async fn is_local(pod: &Pod) -> bool {
    let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { return false };
    let inspected = Command::new("docker").args(["inspect", "--format", "{{.Id}}", node]).output().await;
    inspected.is_ok_and(|output| output.status.success())
}

/// Runs a shell script on a node; gives what it printed.
pub async fn run(node: &str, script: &str) -> String {
    docker(&["exec", node, "sh", "-c", script]).await
}

/// SIGKILLs the pod's only container.
pub async fn kill(pod: &Pod) {
    let (node, id) = container(pod);
    docker(&["exec", node, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id]).await;
}

/// A pod whose only container is stopped (SIGSTOP in effect, by its cgroup) until this is dropped.
#[derive(Debug)]
pub struct Paused {
    node: String,
    id: String,
}

impl Paused {
    /// Stops it.
    pub async fn new(pod: &Pod) -> Self {
        let (node, id) = container(pod);
        docker(&["exec", node, "ctr", "--namespace", "k8s.io", "tasks", "pause", id]).await;
        Self { node: node.to_owned(), id: id.to_owned() }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let arguments = ["exec", &self.node, "ctr", "--namespace", "k8s.io", "tasks", "resume", &self.id];
        let resumed = std::process::Command::new("docker").args(arguments).status();
        // A container that was killed meanwhile has nothing to resume.
        if !resumed.is_ok_and(|status| status.success()) {
            eprintln!("{} on {} is not resumed", self.id, self.node);
        }
    }
}

/// The pod's node, and its only container there.
fn container(pod: &Pod) -> (&str, &str) {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).expect("the pod is on a node");
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let id =
        statuses.and_then(|statuses| statuses.first()?.container_id.as_deref()).expect("the container runs");
    (node, id.strip_prefix("containerd://").expect("kind runs containerd"))
}

async fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().await.expect("docker runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}
