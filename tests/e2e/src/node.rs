//! What one can do to a node of kind, which is a container of the engine on this machine.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::process::Command;

/// Whether the pod's node is a container here.
pub async fn is_local(pod: &Pod) -> bool {
    let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { return false };
    let inspected = Command::new("docker").args(["inspect", "--format", "{{.Id}}", node]).output().await;
    inspected.is_ok_and(|output| output.status.success())
}

/// SIGKILLs the pod's only container.
pub async fn kill(pod: &Pod) {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).expect("the pod is on a node");
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let id =
        statuses.and_then(|statuses| statuses.first()?.container_id.as_deref()).expect("the container runs");
    let id = id.strip_prefix("containerd://").expect("kind runs containerd");
    let arguments =
        ["exec", node, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
    let output = Command::new("docker").args(arguments).output().await.expect("docker runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} is not killed: {said}", pod.name_any());
}
