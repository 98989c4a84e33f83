//! A cluster in virtual time: pods that take a while to start, endpoints that lag, gateways that drain as they are told, clients
//! that come back at once, and a shell that carries plans out.

use crate::fixtures::{at, defaults};
use gateway_core::control::{self, Connections, DrainProgress, DrainTrigger};
use jiff::{SignedDuration, Timestamp};
use operator_core::crd::{WebSocketCluster, WebSocketClusterStatus};
use operator_core::desired::Desired;
use operator_core::names::{PodName, REVISION, Revision};
use operator_core::observed::{
    Memory, ObjectKey, ObjectKind, Observed, Phase, PodView, Report, Traffic, Troubles,
};
use operator_core::plan::{Action, Plan, plan};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Seconds until a pod is ready.
const STARTUP: i64 = 3;
/// Seconds until every node knows of a change of the endpoints.
const LAG: i64 = 2;

#[derive(Clone)]
struct Drain {
    trigger: DrainTrigger,
    rate: f64,
    carry: f64,
    deadline: Timestamp,
    moved: u64,
}

#[derive(Clone)]
pub struct Pod {
    uid: u64,
    pub revision: Revision,
    created: Timestamp,
    pub traffic: Traffic,
    pub deletion: Option<Timestamp>,
    drain: Option<Drain>,
    /// Its gateway can't be reached by the operator.
    pub silent: bool,
    report: Report,
}

pub struct Client {
    pub pod: Option<PodName>,
    pub moves: u32,
}

pub struct World {
    pub now: Timestamp,
    pub cluster: WebSocketCluster,
    pub pods: BTreeMap<PodName, Pod>,
    pub clients: Vec<Client>,
    owned: BTreeMap<ObjectKey, Value>,
    pub memory: Memory,
    pub status: Option<WebSocketClusterStatus>,
    /// The operator does not run.
    pub down: bool,
    /// Clients moved in each second so far.
    pub moved: Vec<usize>,
    /// How often the size was lowered.
    pub cuts: usize,
    /// Every action carried out, with its time.
    pub log: Vec<(Timestamp, Action)>,
    uids: u64,
}

impl World {
    pub fn new(cluster: WebSocketCluster) -> Self {
        Self {
            now: at(0),
            cluster,
            pods: BTreeMap::new(),
            clients: Vec::new(),
            owned: BTreeMap::new(),
            memory: Memory::default(),
            status: None,
            down: false,
            moved: Vec::new(),
            cuts: 0,
            log: Vec::new(),
            uids: 0,
        }
    }

    pub fn desired(&self) -> Desired {
        Desired::parse(&self.cluster, &defaults()).unwrap()
    }

    pub fn edit(&mut self, change: impl FnOnce(&mut WebSocketCluster)) {
        change(&mut self.cluster);
        *self.cluster.metadata.generation.get_or_insert(1) += 1;
    }

    pub fn connect(&mut self, count: usize) {
        self.clients.extend((0..count).map(|_| Client { pod: None, moves: 0 }));
    }

    pub fn restart_operator(&mut self) {
        self.memory = Memory::default();
        for pod in self.pods.values_mut() {
            pod.report = Report::Never;
        }
    }

    /// `kubectl delete pod`.
    pub fn delete(&mut self, name: &PodName) {
        let desired = self.desired();
        let budget = f64::from(desired.max_reconnects_per_second);
        let timeout = SignedDuration::try_from(desired.drain_timeout).unwrap();
        let now = self.now;
        let pod = self.pods.get_mut(name).unwrap();
        if pod.deletion.is_some() {
            return;
        }
        pod.deletion = Some(now + timeout + SignedDuration::from_secs(30));
        let moved = pod.drain.as_ref().map_or(0, |drain| drain.moved);
        let rate = pod.drain.as_ref().map_or(budget, |drain| drain.rate);
        pod.drain = Some(Drain {
            trigger: DrainTrigger::Terminated,
            rate,
            carry: 0.0,
            deadline: now + timeout,
            moved,
        });
    }

    pub fn run(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.step();
        }
    }

    /// Runs until `done`, at most an hour.
    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..3600 {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("{what} did not happen; {:#?}", self.status);
    }

    /// Nothing is left to wait for.
    pub fn is_settled(&self) -> bool {
        let serving = self.pods.values().all(|pod| pod.deletion.is_none() && pod.traffic == Traffic::Serving);
        let generation = self.cluster.metadata.generation;
        let seen = |status: &WebSocketClusterStatus| {
            Some(status.observed_generation) == generation
                && usize::try_from(status.ready_replicas) == Ok(self.pods.len())
                && usize::try_from(status.connections) == Ok(self.clients.len())
        };
        let held = |status: &WebSocketClusterStatus| {
            status.conditions.iter().any(|c| c.reason == "ScaleDownHeld" || c.reason == "ScaleUpHeld")
        };
        let rests = |status: &WebSocketClusterStatus| {
            ["Ready", "TooManyConnections"].contains(&status.reason.as_str()) && !held(status)
        };
        let ready = self.status.as_ref().is_some_and(|status| rests(status) && seen(status));
        serving && ready && self.clients.iter().all(|client| client.pod.is_some())
    }

    fn step(&mut self) {
        self.now += SignedDuration::from_secs(1);
        self.drain_clients();
        self.end_pods();
        self.place_clients();
        if self.now.as_second() % 2 == 0 && !self.down {
            self.read_reports();
            self.reconcile();
        }
    }

    fn drain_clients(&mut self) {
        let mut moved = 0;
        for (name, pod) in &mut self.pods {
            let Some(drain) = &mut pod.drain else { continue };
            drain.carry = (drain.carry + drain.rate).min(drain.rate.max(1.0) + 1.0);
            let mut quota =
                if self.now >= drain.deadline { usize::MAX } else { drain.carry.floor() as usize };
            for client in self.clients.iter_mut().filter(|client| client.pod.as_ref() == Some(name)) {
                if quota == 0 {
                    break;
                }
                quota -= 1;
                moved += 1;
                client.pod = None;
                client.moves += 1;
                drain.moved += 1;
                drain.carry = (drain.carry - 1.0).max(0.0);
            }
        }
        self.moved.push(moved);
    }

    fn end_pods(&mut self) {
        let load = self.load();
        let now = self.now;
        let clients = &mut self.clients;
        self.pods.retain(|name, pod| {
            let Some(deletion) = pod.deletion else { return true };
            let over = now >= deletion || load.get(name).is_none_or(|load| *load == 0);
            if over {
                for client in clients.iter_mut().filter(|client| client.pod.as_ref() == Some(name)) {
                    client.pod = None;
                }
            }
            !over
        });
    }

    fn load(&self) -> BTreeMap<PodName, u32> {
        let mut load = BTreeMap::new();
        for name in self.clients.iter().filter_map(|client| client.pod.as_ref()) {
            *load.entry(name.clone()).or_default() += 1;
        }
        load
    }

    pub fn is_ready(&self, pod: &Pod) -> bool {
        self.now.duration_since(pod.created).as_secs() >= STARTUP
            && pod.drain.is_none()
            && pod.deletion.is_none()
    }

    fn place_clients(&mut self) {
        let lag = SignedDuration::from_secs(LAG);
        let takes = |pod: &Pod| match pod.traffic {
            Traffic::Serving => true,
            Traffic::Draining { since, .. } => self.now.duration_since(since) < lag,
        };
        let limit = self.cluster.spec.limits.max_connections;
        let mut load = self.load();
        let endpoints: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, pod)| self.is_ready(pod) && takes(pod))
            .map(|(name, _)| name.clone())
            .collect();
        for client in self.clients.iter_mut().filter(|client| client.pod.is_none()) {
            let least = endpoints.iter().min_by_key(|name| load.get(*name).copied().unwrap_or(0));
            let Some(name) = least else { return };
            let taken = load.entry(name.clone()).or_default();
            if *taken < limit {
                *taken += 1;
                client.pod = Some(name.clone());
            }
        }
    }

    fn read_reports(&mut self) {
        let load = self.load();
        let now = self.now;
        for (name, pod) in &mut self.pods {
            if pod.silent || now.duration_since(pod.created).as_secs() < STARTUP {
                if let Some((last, since)) = pod.report.last().map(|(report, at)| (report.clone(), at)) {
                    pod.report = Report::Stale { last, since };
                }
                continue;
            }
            let connections = load.get(name).copied().unwrap_or(0);
            let drain = pod.drain.as_ref().map(|drain| DrainProgress {
                trigger: drain.trigger,
                connections_per_second: drain.rate,
                moved: drain.moved,
                remaining: connections,
                seconds_left: 0,
            });
            let report = control::Report {
                connections: Connections { centrifuge: connections, raw: 0 },
                drain,
                ..control::Report::default()
            };
            pod.report = Report::Fresh { report, at: now };
        }
    }

    pub fn observe(&self) -> Observed {
        let view = |pod: &Pod| PodView {
            uid: pod.uid.to_string(),
            resource_version: "1".into(),
            phase: if self.now.duration_since(pod.created).as_secs() < 1 {
                Phase::Pending
            } else {
                Phase::Running
            },
            ready: self.is_ready(pod),
            ready_since: pod.created,
            traffic: pod.traffic,
            revision: pod.revision.clone(),
            pulls: None,
            created: pod.created,
            deletion: pod.deletion,
            waiting: None,
            troubles: Troubles::default(),
            report: pod.report.clone(),
        };
        Observed {
            pods: self.pods.iter().map(|(name, pod)| (name.clone(), view(pod))).collect(),
            owned: self.owned.clone(),
            secrets: self.desired().referenced_secrets().into_iter().collect(),
            status: self.status.clone(),
            memory: self.memory.clone(),
            ..Observed::default()
        }
    }

    /// One plan, carried out.
    pub fn reconcile(&mut self) {
        let Plan { actions, status, memory, .. } = plan(&self.desired(), &self.observe(), self.now);
        let before = self.status.as_ref().map_or(0, |before| before.desired_replicas);
        self.cuts += usize::from(status.desired_replicas < before);
        self.status = Some(status);
        self.memory = memory;
        for action in actions {
            self.log.push((self.now, action.clone()));
            self.execute(action);
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Apply { key, mut manifest } => {
                manifest["status"] = json!({"readyReplicas": 1});
                self.owned.insert(key, manifest);
            }
            Action::Remove { key } => drop(self.owned.remove(&key)),
            Action::CreateSecret(which) => {
                let name = which.name(&self.desired());
                self.owned.insert(ObjectKey { kind: ObjectKind::Secret, name }, json!({}));
            }
            Action::CreatePod(pod) => {
                self.uids += 1;
                let revision = pod.metadata.labels.unwrap_or_default()[REVISION].clone();
                let created = Pod {
                    uid: self.uids,
                    revision: Revision(revision),
                    created: self.now,
                    traffic: Traffic::Serving,
                    deletion: None,
                    drain: None,
                    silent: false,
                    report: Report::Never,
                };
                let before = self.pods.insert(PodName(pod.metadata.name.unwrap()), created);
                assert!(before.is_none(), "a pod was made twice");
            }
            Action::Relabel { pod, labels } => panic!("{pod} has lost {labels:?}"),
            Action::MarkDraining { pod, cause, since, deadline } => {
                self.pods.get_mut(&pod).unwrap().traffic = Traffic::Draining { cause, since, deadline };
            }
            Action::Drain { pod, rate, deadline } => {
                let pod = self.pods.get_mut(&pod).unwrap();
                let fresh = Drain { trigger: DrainTrigger::Requested, rate, carry: 0.0, deadline, moved: 0 };
                let drain = pod.drain.get_or_insert(fresh);
                drain.rate = rate;
                drain.deadline = deadline;
            }
            Action::CancelDrain { pod } => {
                let pod = self.pods.get_mut(&pod).unwrap();
                pod.drain = None;
                pod.traffic = Traffic::Serving;
            }
            Action::DeletePod { pod, uid, .. } => {
                assert_eq!(self.pods[&pod].uid.to_string(), uid);
                self.delete(&pod);
            }
        }
    }
}

impl Pod {
    /// It starts over, as a container that crashes does.
    pub fn never_ready(&mut self, now: Timestamp) {
        self.created = now;
    }
}
