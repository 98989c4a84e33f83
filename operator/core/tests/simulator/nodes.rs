//! Nodes, the kubelets on them, and the controllers of Kubernetes that end pods.

use crate::api::Phase;
use crate::gateway::Second;
use crate::pod::{How, Pod};
use crate::world::{Fact, Node, STARTUP, World};

/// Seconds until a node that does not answer counts as not ready, and until its pods are evicted.
const NODE_MONITOR: Second = 40;
const TAINT_EVICTION: Second = 340;
/// Seconds before the first restart of a container; twice as many before each further one.
const BACKOFF: Second = 10;

impl World {
    /// What the node controller does.
    pub fn run_nodes(&mut self) {
        let now = self.now;
        for pod in self.pods.values_mut() {
            let Some(since) = pod.node.and_then(|node| self.nodes[node].dead_since) else { continue };
            let before = pod.object.clone();
            pod.set_ready(pod.object.ready && now - since < NODE_MONITOR, now);
            if now - since >= TAINT_EVICTION && pod.object.deletion.is_none() {
                pod.object.deletion = Some(now + pod.grace);
                (pod.ended_at, pod.ended_by_user) = (Some(now), true);
            }
            if pod.object != before {
                self.counter += 1;
                pod.object.version = self.counter;
            }
        }
    }

    /// What the scheduler and the kubelets do.
    pub fn run_pods(&mut self) {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        for name in names {
            self.schedule(&name);
            let (now, nodes) = (self.now, &self.nodes);
            let pod = self.pods.get_mut(&name).unwrap();
            if pod.node.is_some_and(|node| nodes[node].dead_since.is_some()) {
                continue;
            }
            if is_over(pod, now) {
                let mut pod = self.pods.remove(&name).unwrap();
                self.disconnect(pod.stop(&name, How::Killed));
                continue;
            }
            let before = pod.object.clone();
            run(pod, now);
            if pod.object != before {
                self.counter += 1;
                pod.object.version = self.counter;
            }
        }
    }

    fn schedule(&mut self, name: &str) {
        let now = self.now;
        let pod = &self.pods[name];
        if pod.node.is_some() || pod.object.deletion.is_some() || now < self.unschedulable_until {
            return;
        }
        let load = |node: &usize| self.pods.values().filter(|pod| pod.node == Some(*node)).count();
        let seems_fit =
            |node: &Node| !node.cordoned && node.dead_since.is_none_or(|since| now - since < NODE_MONITOR);
        let fit = (0..self.nodes.len()).filter(|node| seems_fit(&self.nodes[*node])).min_by_key(load);
        let pod = self.pods.get_mut(name).unwrap();
        (pod.node, pod.starts) = (fit, now + STARTUP);
    }

    /// A pod is told to end. One with a grace period of 0 is gone at once.
    pub fn end_pod(&mut self, name: &str, grace: Option<Second>, by_user: bool) {
        let now = self.now;
        let Some(pod) = self.pods.get_mut(name) else { return };
        let kill = now + grace.unwrap_or(pod.grace);
        if pod.object.deletion.is_none() {
            (pod.ended_at, pod.ended_by_user) = (Some(now), by_user);
        }
        pod.object.deletion = Some(pod.object.deletion.map_or(kill, |before| before.min(kill)));
        if pod.gateway.up {
            pod.gateway.terminate(now);
        }
        if grace == Some(0) {
            let mut pod = self.pods.remove(name).unwrap();
            self.disconnect(pod.stop(name, How::Killed));
            return;
        }
        let version = self.count_up();
        self.pods.get_mut(name).unwrap().object.version = version;
    }

    /// The Eviction API, with what the disruption controller makes of the PodDisruptionBudget.
    pub fn evict(&mut self, name: &str) {
        let Some(pod) = self.pods.get(name).filter(|pod| pod.object.deletion.is_none()) else { return };
        let counts = |pod: &&Pod| pod.object.labelled && pod.object.ready && pod.object.deletion.is_none();
        let healthy = self.pods.values().filter(counts).count();
        // unhealthyPodEvictionPolicy: AlwaysAllow
        if pod.object.labelled && pod.object.ready && healthy <= self.objects.least_available() {
            return;
        }
        self.facts.push(Fact::Evicted(name.into()));
        self.end_pod(name, None, true);
    }

    pub fn drain_nodes(&mut self) {
        let on_them = |pod: &Pod| pod.node.is_some_and(|node| self.draining_nodes.contains(&node));
        let names: Vec<String> =
            self.pods.iter().filter(|(_, pod)| on_them(pod)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.evict(&name);
        }
    }

    pub fn kill_node(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].dead_since.get_or_insert(now);
        let on_it = self.pods.iter_mut().filter(|(_, pod)| pod.node == Some(node));
        let lost: Vec<_> = on_it.map(|(name, pod)| pod.stop(name, How::Lost)).collect();
        lost.into_iter().for_each(|lost| self.disconnect(lost));
    }

    pub fn revive_node(&mut self, node: usize) {
        let now = self.now;
        if self.nodes[node].dead_since.take().is_some() {
            for pod in self.pods.values_mut().filter(|pod| pod.node == Some(node)) {
                pod.starts = now + STARTUP;
            }
        }
    }

    pub fn crash(&mut self, name: &str, times: u8) {
        let now = self.now;
        let Some(pod) = self.pods.get_mut(name).filter(|pod| pod.gateway.up) else { return };
        pod.crashes = times;
        pod.starts = now + STARTUP + BACKOFF * (Second::from(times) - 1).max(0);
        let lost = pod.stop(name, How::Lost);
        self.disconnect(lost);
    }
}

/// Its process has ended, and so does the pod.
fn is_over(pod: &Pod, now: Second) -> bool {
    pod.object.deletion.is_some_and(|kill| {
        let drain = pod.gateway.drain.as_ref();
        let through = drain.is_none_or(|drain| now >= drain.begins && pod.gateway.clients.is_empty());
        !pod.gateway.up || now >= kill || through
    })
}

fn run(pod: &mut Pod, now: Second) {
    let missing = pod.image.starts_with("missing");
    if !pod.gateway.up && now >= pod.starts && !missing {
        pod.gateway.up = true;
        pod.object.phase = Phase::Running;
        pod.crashes = 0;
    }
    let sidecar = now < pod.sidecar_until;
    let down = now >= pod.starts && missing;
    pod.object.waiting = if down {
        Some("ImagePullBackOff")
    } else {
        (!pod.gateway.up && pod.crashes > 1).then_some("CrashLoopBackOff")
    };
    pod.object.beside = sidecar.then_some("CrashLoopBackOff");
    pod.set_ready(pod.gateway.accepts(now) && pod.object.deletion.is_none() && !sidecar, now);
}
