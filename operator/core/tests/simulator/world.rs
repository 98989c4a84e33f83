//! A cluster in virtual time: what is true, whoever knows of it.

use crate::api::{Objects, Phase, PodObject, Spec};
use crate::chance::Chance;
use crate::clients::Clients;
use crate::gateway::Second;
use crate::history::{History, Placement};
use crate::pod::{Closed, How, Pod};
use crate::shell::{Operator, Planner};
use crate::wish::Wish;
use jiff::{SignedDuration, Timestamp};
use operator_core::crd::WebSocketClusterStatus;
use operator_core::desired::Defaults;
use operator_core::observed::{ObjectKey, ObjectKind};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Seconds from a pod's place on a node to its readiness.
pub const STARTUP: Second = 3;
/// Seconds until every node knows of a change of the endpoints.
pub const LAG: Second = 4;
/// Caches are behind by so much at most.
const MEMORY: usize = 12;

/// What happened since the referee looked last.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "printed in violations")]
pub enum Fact {
    Closed(Closed),
    /// A gateway took an order.
    Ordered {
        pod: String,
        from: f64,
        to: f64,
    },
    Created(String),
    Marked(String),
    Unmarked(String),
    /// By the operator, with so many clients on it.
    Deleted {
        pod: String,
        clients: usize,
    },
    Evicted(String),
    /// An object was written; whether it is somebody else's.
    Applied {
        key: ObjectKey,
        foreign: bool,
    },
    /// The managed Redis got another pod template.
    RedisRolled,
    StatusWritten,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub dead_since: Option<Second>,
    pub cordoned: bool,
}

/// What goes wrong between the operator and the rest, in percent, and seconds by which caches are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    pub writes: u8,
    pub orders: u8,
    pub lag: Second,
}

pub struct World {
    pub now: Second,
    /// What the operator's clock was set forward by.
    pub skew: Second,
    pub chance: Chance,
    pub placement: Placement,
    pub pods: BTreeMap<String, Pod>,
    pub nodes: Vec<Node>,
    pub clients: Clients,
    pub objects: Objects,
    pub status: Option<WebSocketClusterStatus>,
    /// Newest first.
    pub specs: VecDeque<Rc<Spec>>,
    pub pods_seen: VecDeque<BTreeMap<String, PodObject>>,
    pub trouble: Trouble,
    pub operator: Option<Operator>,
    pub down_until: Second,
    pub unschedulable_until: Second,
    pub defaults: Defaults,
    pub facts: Vec<Fact>,
    /// Nodes that somebody drains.
    pub draining_nodes: BTreeSet<usize>,
    /// What happens later.
    pub later: Vec<(Second, Late)>,
    /// When the operator could last not do its work.
    pub unable_at: Second,
    /// When it could last not tell gateways how fast to go.
    pub mute_at: Second,
    pub status_writes: usize,
    pub webhook: bool,
    /// When what the spec asks for changed last.
    pub edited_at: Second,
    /// Budgets in force, with the times since when.
    pub budgets: Vec<(Second, f64)>,
    pub counter: u64,
}

/// What was sent off and has not arrived.
pub enum Late {
    Order {
        pod: String,
        uid: u64,
        order: Order,
    },
    /// What an operator had begun that leads no more.
    Pass(Box<Operator>, Vec<operator_core::plan::Action>),
}

/// What a gateway is told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Drain { rate: f64, seconds: Second },
    Cancel,
}

/// The API server's time.
pub fn at(second: Second) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + second)
}

/// Everybody may come in: who may is not what is simulated.
fn cluster(spec: &serde_json::Value) -> operator_core::crd::WebSocketCluster {
    let mut spec = spec.clone();
    spec["auth"] = json!({"anonymous": true});
    serde_json::from_value(json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "WebSocketCluster",
        "metadata": {"name": "chat", "namespace": "demo", "uid": "0b5e", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

impl World {
    pub fn new(history: &History, planner: Planner) -> Self {
        let defaults = Defaults {
            gateway_image: "gateway:1".into(),
            redis_image: "redis:8".into(),
            image_pull_secrets: BTreeSet::new(),
        };
        let spec = Spec::new(cluster(&history.spec), &defaults);
        let budget = spec.wish.budget;
        let mut objects = Objects::default();
        if history.foreign {
            objects.foreign.insert(ObjectKey { kind: ObjectKind::Service, name: "chat".into() });
        }
        Self {
            now: 0,
            skew: 0,
            chance: Chance(history.seed),
            placement: history.placement,
            pods: BTreeMap::new(),
            nodes: vec![Node { dead_since: None, cordoned: false }; 3],
            clients: Clients::default(),
            objects,
            status: None,
            specs: VecDeque::from([Rc::new(spec)]),
            pods_seen: VecDeque::new(),
            trouble: Trouble::default(),
            operator: Some(Operator::new(planner, 0)),
            down_until: 0,
            unschedulable_until: 0,
            defaults,
            facts: Vec::new(),
            draining_nodes: BTreeSet::new(),
            later: Vec::new(),
            unable_at: 0,
            mute_at: 0,
            status_writes: 0,
            webhook: history.webhook,
            edited_at: 0,
            budgets: vec![(0, budget)],
            counter: 0,
        }
    }

    /// What the user wants, unless the spec can't work.
    pub fn wish(&self) -> Option<&Wish> {
        let spec = &self.specs[0];
        spec.parsed.as_ref().ok().map(|_| &spec.wish)
    }

    pub fn paused(&self) -> bool {
        self.specs[0].cluster.spec.paused
    }

    /// A number that was not given before.
    pub fn count_up(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// For how long the operator has been able to do its work without hindrance.
    pub fn able_for(&self) -> Second {
        self.now - self.unable_at.max(self.mute_at)
    }

    /// The same, for telling gateways how fast to go: a cluster that is paused is steered.
    pub fn steers_for(&self) -> Second {
        self.now - self.mute_at
    }

    /// One second.
    pub fn tick(&mut self) {
        self.now += 1;
        let hindered = self.trouble != Trouble::default() || self.wish().is_none();
        if self.now < self.down_until || hindered {
            self.mute_at = self.now;
        }
        if self.paused() {
            self.unable_at = self.now;
        }
        self.what_was_late();
        if self.now % 5 == 0 {
            self.drain_nodes();
        }
        self.run_nodes();
        self.run_pods();
        self.close_clients();
        self.place_clients();
        let objects = self.pods.iter().map(|(name, pod)| (name.clone(), pod.object.clone())).collect();
        self.pods_seen.push_front(objects);
        self.pods_seen.truncate(MEMORY);
        let spec = self.specs[0].clone();
        self.specs.push_front(spec);
        self.specs.truncate(MEMORY);
        if self.now % 2 == 0 && self.now >= self.down_until {
            let mut operator = self.operator.take().unwrap();
            operator.pass(self);
            self.operator = Some(operator);
        }
    }

    fn what_was_late(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.later.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, late) in due {
            match late {
                Late::Order { pod, uid, order } => {
                    if self.pods.get(&pod).is_some_and(|found| found.object.uid == uid && found.gateway.up) {
                        self.take_order(&pod, order);
                    }
                }
                Late::Pass(mut operator, actions) => _ = operator.carry_out(self, actions),
            }
        }
    }

    /// A gateway does as it is told; false if it can't.
    pub fn take_order(&mut self, name: &str, order: Order) -> bool {
        let now = self.now;
        let Some(pod) = self.pods.get_mut(name) else { return false };
        match order {
            Order::Drain { rate, seconds } => {
                let from = pod.gateway.request(rate, seconds, now);
                self.facts.push(Fact::Ordered { pod: name.into(), from, to: rate });
                true
            }
            Order::Cancel => pod.gateway.cancel(),
        }
    }

    fn close_clients(&mut self) {
        let now = self.now;
        let mut closed = Vec::new();
        for (name, pod) in self.pods.iter_mut().filter(|(_, pod)| pod.gateway.up) {
            let (clients, late) = pod.gateway.close_due(now);
            if !clients.is_empty() {
                closed.push(pod.closed(name, clients, if late { How::TimeUp } else { How::Paced }));
            }
        }
        closed.into_iter().for_each(|closed| self.disconnect(closed));
    }

    /// Clients lost their connection, and come back.
    pub fn disconnect(&mut self, closed: Closed) {
        for client in &closed.clients {
            let pause = self.chance.below(2, [self.now, i64::try_from(*client).unwrap(), 1]);
            let back = self.now + Second::try_from(pause).unwrap();
            self.clients.lose(*client, back, closed.how != How::Lost);
        }
        if !closed.clients.is_empty() {
            self.facts.push(Fact::Closed(closed));
        }
    }

    fn place_clients(&mut self) {
        let now = self.now;
        let endpoints: Vec<String> = self.endpoints(LAG).map(|(name, _)| name.clone()).collect();
        for client in self.clients.come_back(now) {
            let open = |name: &&String| {
                let pod = &self.pods[*name];
                pod.gateway.accepts(now) && pod.gateway.clients.len() < pod.limit
            };
            let open: Vec<&String> = endpoints.iter().filter(open).collect();
            let load = |name: &&&String| self.pods[**name].gateway.clients.len();
            let chosen = match self.placement {
                Placement::LeastLoaded => open.iter().min_by_key(load),
                Placement::Piled => open.iter().max_by_key(load),
                Placement::Oldest => open.iter().min_by_key(|name| self.pods[**name].object.uid),
                Placement::Random if open.is_empty() => None,
                Placement::Random => {
                    let about = [now, i64::try_from(client).unwrap(), 2];
                    open.get(self.chance.below(open.len(), about))
                }
            };
            match chosen.map(|name| (*name).clone()) {
                Some(name) => {
                    self.pods.get_mut(&name).unwrap().gateway.clients.push(client);
                    self.clients.connected(client);
                }
                None => self.clients.wait(client, now + 1),
            }
        }
    }

    /// The pods that new clients come to, as it was known everywhere `lag` seconds after the last change.
    pub fn endpoints(&self, lag: Second) -> impl Iterator<Item = (&String, &Pod)> {
        let recent = move |at: Option<Second>| at.is_some_and(|at| self.now - at < lag);
        self.pods.iter().filter(move |(_, pod)| {
            let object = &pod.object;
            let marked = object.mark.is_some() && !recent(pod.marked_at);
            let ending = object.deletion.is_some() && !recent(pod.ended_at);
            object.labelled && object.ready && !marked && !ending
        })
    }

    /// The pods that nobody has set aside by their label.
    pub fn own_pods(&self) -> impl Iterator<Item = (&String, &Pod)> {
        self.pods.iter().filter(|(_, pod)| pod.object.labelled)
    }

    /// Clients besides those of pods that were set aside.
    pub fn own_clients(&self) -> usize {
        let aside = self.pods.values().filter(|pod| !pod.object.labelled);
        self.clients.present().count() - aside.map(|pod| pod.gateway.clients.len()).sum::<usize>()
    }

    /// Clients for whom there is room when the cluster is as large as it may be.
    pub fn capacity(&self) -> usize {
        self.wish().map_or(0, |wish| wish.most() * wish.limit)
    }

    /// A pod as the operator's manifest asks for.
    pub fn new_pod(&mut self, name: String, made: Pod) {
        self.facts.push(Fact::Created(name.clone()));
        self.pods.insert(name, made);
    }

    pub fn pod_object(&mut self, revision: String, pulls: Option<String>) -> PodObject {
        let uid = self.count_up();
        PodObject {
            uid,
            version: uid,
            labelled: true,
            mark: None,
            revision,
            pulls,
            created: self.now,
            deletion: None,
            phase: Phase::Pending,
            ready: false,
            ready_since: self.now,
            waiting: None,
            beside: None,
        }
    }
}
