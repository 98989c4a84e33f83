//! The operator's process: caches that are behind, answers that got lost, actions that wait after a failure. What it does for a pod it does
//! in order, and not at all after one of them failed.

use crate::api::{Failed, PodObject, Spec};
use crate::gateway::Second;
use crate::seam;
use crate::world::{Fact, Late, Order, World, at};
use gateway_core::control;
use jiff::Timestamp;
use operator_core::crd::WebSocketClusterStatus;
use operator_core::desired::Desired;
use operator_core::drift::differences;
use operator_core::observed::{Memory, ObjectKey, Observed, Rewritten};
use operator_core::plan::{Action, Plan, is_due};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What is judged.
pub type Planner = Rc<dyn Fn(&Desired, &Observed, Timestamp) -> Plan>;

/// Seconds for which a write counts although the cache does not show it.
const TRUST: Second = 10;
/// An action that failed waits at most so many seconds.
const LONGEST_WAIT: Second = 30;
/// An order arrives so many seconds after it was given up, at most.
const LATEST: usize = 4;

/// A pod as the API server answered a write.
struct Written {
    object: PodObject,
    at: Second,
    created: bool,
}

/// An object that came out of its application otherwise than it went in.
struct Rewrite {
    manifest: Value,
    wait: Second,
    /// By the operator's clock.
    again: Second,
}

pub struct Operator {
    pub planner: Planner,
    pub memory: Memory,
    /// By the pod's uid, with the operator's own time.
    pub reports: BTreeMap<u64, (control::Report, Timestamp)>,
    written: BTreeMap<String, Written>,
    status_written: Option<Timestamp>,
    /// Failures and the end of the wait, by action.
    waiting: BTreeMap<String, (u32, Second)>,
    rewrites: BTreeMap<ObjectKey, Rewrite>,
    /// How old the cache is: it may stand still, and never goes back.
    seen_at: Second,
    /// What the last decision was made from.
    spec: Option<Rc<Spec>>,
    pods: BTreeMap<String, PodObject>,
}

impl Operator {
    pub fn new(planner: Planner, now: Second) -> Self {
        Self {
            planner,
            memory: Memory::default(),
            reports: BTreeMap::new(),
            written: BTreeMap::new(),
            status_written: None,
            waiting: BTreeMap::new(),
            rewrites: BTreeMap::new(),
            seen_at: now,
            spec: None,
            pods: BTreeMap::new(),
        }
    }

    pub fn pass(&mut self, world: &mut World) {
        let Some((actions, status)) = self.decide(world) else { return };
        let tried = self.carry_out(world, actions);
        // What a gateway is told, it tells itself in time.
        let is_so = if tried { self.plan(world).map(|plan| plan.status) } else { Some(status) };
        if let Some(status) = is_so {
            self.write_status(world, status);
        }
    }

    /// Looks, asks the gateways, and plans. A new size is recorded first, since a successor reads it.
    pub fn decide(&mut self, world: &mut World) -> Option<(Vec<Action>, WebSocketClusterStatus)> {
        let spec = self.look(world);
        self.ask(world);
        self.spec = Some(spec);
        let Plan { actions, status, memory, .. } = self.plan(world)?;
        self.memory = memory;
        let recorded = world.status.as_ref().map_or(0, |status| status.desired_replicas);
        if recorded != status.desired_replicas {
            self.write_status(world, status.clone());
        }
        Some((actions, status))
    }

    fn look(&mut self, world: &World) -> Rc<Spec> {
        self.seen_at = self.seen_at.max(world.now - world.trouble.lag);
        let behind = usize::try_from(world.now - self.seen_at).unwrap();
        self.pods = self.newest(world, behind);
        world.specs[behind.min(world.specs.len() - 1)].clone()
    }

    /// What the planner makes of what is known.
    fn plan(&mut self, world: &World) -> Option<Plan> {
        let spec = self.spec.clone()?;
        let desired = spec.parsed.as_ref().ok()?;
        self.look(world);
        let wall = seam::wall(world);
        let observed = seam::observe(world, desired, self, wall);
        Some((self.planner)(desired, &observed, wall))
    }

    /// Those that were set aside by their label as well.
    pub fn pods(&self) -> impl Iterator<Item = (&String, &PodObject)> {
        self.pods.iter()
    }

    /// Of the objects there are, those that admission has changed.
    pub fn rewritten(&self, owned: &BTreeMap<ObjectKey, Value>) -> BTreeMap<ObjectKey, Rewritten> {
        let still = |(key, rewrite): (&ObjectKey, &Rewrite)| {
            let differences = differences(&rewrite.manifest, owned.get(key)?);
            let again = at(rewrite.again);
            (!differences.is_empty()).then(|| (key.clone(), Rewritten { differences, again }))
        };
        self.rewrites.iter().filter_map(still).collect()
    }

    /// What the cache shows, and what was written and it does not show yet.
    fn newest(&mut self, world: &World, behind: usize) -> BTreeMap<String, PodObject> {
        let mut seen = world
            .pods_seen
            .get(behind.min(world.pods_seen.len().saturating_sub(1)))
            .cloned()
            .unwrap_or_default();
        let now = world.now;
        self.written.retain(|name, written| {
            let ahead = seen.get(name).map_or(written.created, |seen| seen.version < written.object.version);
            ahead && now - written.at < TRUST
        });
        seen.extend(self.written.iter().map(|(name, written)| (name.clone(), written.object.clone())));
        seen
    }

    fn ask(&mut self, world: &mut World) {
        let (now, wall) = (world.now, seam::wall(world));
        let uids: BTreeSet<u64> = self.pods.values().map(|object| object.uid).collect();
        self.reports.retain(|uid, _| uids.contains(uid));
        for (name, seen) in &self.pods {
            let Some(pod) = world.pods.get_mut(name).filter(|pod| pod.object.uid == seen.uid) else {
                continue;
            };
            if pod.gateway.reachable(now) {
                self.reports.insert(seen.uid, (seam::report(&pod.gateway, now), wall));
                pod.gateway.answered = Some(now);
            }
        }
    }

    fn write_status(&mut self, world: &mut World, status: WebSocketClusterStatus) {
        let wall = seam::wall(world);
        if !is_due(world.status.as_ref(), self.status_written, &status, wall) {
            return;
        }
        let (answered, done) = world.luck();
        if done {
            world.facts.push(Fact::StatusWritten);
            world.status_writes += 1;
            world.status = Some(status);
        }
        if answered {
            self.status_written = Some(wall);
        }
    }

    /// Whether anything was tried besides telling gateways.
    pub fn carry_out(&mut self, world: &mut World, actions: Vec<Action>) -> bool {
        let (mut failed, mut tried) = (BTreeSet::new(), false);
        let planned: BTreeSet<String> = actions.iter().map(seam::identity).collect();
        for action in actions {
            let identity = seam::identity(&action);
            let pod = seam::pod_of(&action);
            let waits = self.waiting.get(&identity).is_some_and(|(_, until)| world.now < *until);
            let held = waits || pod.as_ref().is_some_and(|pod| failed.contains(pod));
            tried |= !held && !matches!(action, Action::Drain { .. });
            if !held && self.act(world, action).is_ok() {
                self.waiting.remove(&identity);
                continue;
            }
            failed.extend(pod);
            if !held {
                let failures = self.waiting.get(&identity).map_or(0, |(failures, _)| *failures);
                let wait: Second = 1 << failures.min(5);
                self.waiting.insert(identity, (failures + 1, world.now + wait.min(LONGEST_WAIT)));
            }
        }
        self.waiting.retain(|identity, _| planned.contains(identity));
        tried
    }

    fn act(&mut self, world: &mut World, action: Action) -> Result<(), Failed> {
        let Some(spec) = self.spec.clone() else { return Err(Failed) };
        let Ok(desired) = &spec.parsed else { return Err(Failed) };
        match action {
            Action::Apply { key, manifest } => {
                world.apply(key.clone(), manifest.clone())?;
                self.applied(world, key, manifest);
                Ok(())
            }
            Action::Remove { key } => world.remove(&key),
            Action::CreateSecret(which) => world.apply(which.object(desired), serde_json::json!({})),
            Action::CreatePod(pod) => {
                let (revision, pulls) = seam::labels(&pod);
                let created = world.create_pod(&pod, revision, pulls, &spec)?;
                self.remember(world.now, pod.metadata.name.as_ref().unwrap(), created, true);
                Ok(())
            }
            Action::Relabel { pod, labels } => panic!("{pod} has lost no {labels:?}"),
            Action::MarkDraining { pod, cause, since, deadline } => {
                let mark = seam::mark(cause, since, deadline);
                self.relabel(world, &pod.0, Some(mark))
            }
            Action::Drain { pod, rate, deadline } => {
                let seconds = deadline.duration_since(seam::wall(world)).as_secs().max(0);
                self.tell(world, &pod.0, Order::Drain { rate, seconds })
            }
            Action::CancelDrain { pod } => {
                self.tell(world, &pod.0, Order::Cancel)?;
                self.relabel(world, &pod.0, None)
            }
            Action::DeletePod { pod, uid, resource_version, .. } => {
                let (uid, version) = (uid.parse().unwrap(), resource_version.parse().unwrap());
                let left = world.delete_pod(&pod.0, uid, version)?;
                self.remember(world.now, &pod.0, left, false);
                Ok(())
            }
        }
    }

    /// An object that admission changes is applied ever more seldom.
    fn applied(&mut self, world: &World, key: ObjectKey, manifest: Value) {
        let before = self.rewrites.remove(&key).map_or(0, |rewrite| rewrite.wait);
        if differences(&manifest, &world.objects.owned[&key]).is_empty() {
            return;
        }
        let wait = (2 * before).clamp(4, 600);
        let again = world.now + world.skew + wait;
        self.rewrites.insert(key, Rewrite { manifest, wait, again });
    }

    fn relabel(
        &mut self,
        world: &mut World,
        name: &str,
        mark: Option<crate::api::Mark>,
    ) -> Result<(), Failed> {
        let uid = self.pods.get(name).ok_or(Failed)?.uid;
        let changed = world.relabel(name, uid, mark)?;
        self.remember(world.now, name, Some(changed), false);
        Ok(())
    }

    fn remember(&mut self, now: Second, name: &str, object: Option<PodObject>, created: bool) {
        if let Some(object) = object {
            self.written.insert(name.into(), Written { object, at: now, created });
        }
    }

    /// An order, which may be lost, be done without an answer, arrive late, or arrive once more.
    fn tell(&mut self, world: &mut World, name: &str, order: Order) -> Result<(), Failed> {
        let now = world.now;
        let uid = self.pods.get(name).ok_or(Failed)?.uid;
        let reached =
            world.pods.get(name).is_some_and(|pod| pod.object.uid == uid && pod.gateway.reachable(now));
        if !reached {
            return Err(Failed);
        }
        let about = [now, world.count_up().cast_signed(), 5];
        let fate = if world.chance.happens(world.trouble.orders, about) { about[1] % 4 } else { 4 };
        let later = now + 1 + Second::try_from(world.chance.below(LATEST, about)).unwrap();
        if fate == 2 || fate == 3 {
            world.later.push((later, Late::Order { pod: name.into(), uid, order }));
        }
        let done = (fate == 1 || fate >= 3) && world.take_order(name, order);
        if done && fate >= 3 { Ok(()) } else { Err(Failed) }
    }
}
