//! What happens to a cluster, and how it all ends well.

use crate::api::Spec;
use crate::gateway::Second;
use crate::history::{Edit, Event};
use crate::shell::Operator;
use crate::wish::Wish;
use crate::world::{Late, Trouble, World};
use std::rc::Rc;

impl World {
    pub fn happen(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Connect(count) => {
                let room = self.capacity().saturating_sub(self.clients.present().count());
                self.clients.arrive((*count).min(room), now);
            }
            Event::Disconnect(count) => self.lose_interest(*count),
            Event::Edit(edit) => self.edit(edit),
            Event::Delete { pod, grace } => self.with(*pod, |world, name| world.end_pod(name, *grace, true)),
            Event::Evict { pod } => self.with(*pod, Self::evict),
            Event::DrainNode(node) => {
                if let Some(found) = self.nodes.get_mut(*node) {
                    found.cordoned = true;
                    self.draining_nodes.insert(*node);
                }
            }
            Event::UncordonNode(node) => {
                self.nodes.get_mut(*node).into_iter().for_each(|node| node.cordoned = false);
                self.draining_nodes.remove(node);
            }
            Event::KillNode(node) if *node < self.nodes.len() => self.kill_node(*node),
            Event::ReviveNode(node) if *node < self.nodes.len() => self.revive_node(*node),
            Event::KillNode(_) | Event::ReviveNode(_) => {}
            Event::Crash { pod, times } => self.with(*pod, |world, name| world.crash(name, *times)),
            Event::SidecarCrash { pod, seconds } => self.with(*pod, |world, name| {
                world.pods.get_mut(name).unwrap().sidecar_until = now + Second::from(*seconds);
            }),
            Event::Silence { pod, seconds } => self.with(*pod, |world, name| {
                world.pods.get_mut(name).unwrap().gateway.silent_until = now + Second::from(*seconds);
            }),
            Event::Unschedulable { seconds } => self.unschedulable_until = now + Second::from(*seconds),
            Event::StripLabel { pod } => self.with(*pod, |world, name| {
                let version = world.count_up();
                let object = &mut world.pods.get_mut(name).unwrap().object;
                (object.labelled, object.version) = (false, version);
            }),
            Event::RestartOperator => self.replace_operator(),
            Event::StopOperator { seconds } => self.down_until = now + Second::from(*seconds),
            Event::TakeOver { late } => {
                let mut deposed = self.operator.take().unwrap();
                let mut actions = deposed.decide(self).map_or_else(Vec::new, |(actions, _)| actions);
                let done = self.chance.below(actions.len() + 1, [now, 0, 6]);
                let mut begun = actions.split_off(done);
                begun.truncate(1);
                deposed.carry_out(self, actions);
                self.operator = Some(Operator::new(deposed.planner.clone(), now));
                self.later.push((now + Second::from(*late), Late::Pass(Box::new(deposed), begun)));
                self.mute_at = now;
            }
            Event::StepClock { seconds } => self.skew += seconds,
            Event::Trouble { writes, orders, lag } => {
                self.trouble = Trouble { writes: *writes, orders: *orders, lag: Second::from(*lag) };
            }
            Event::Upgrade => {
                self.defaults.gateway_image = "gateway:2".into();
                self.defaults.redis_image = "redis:9".into();
                self.restore(|_| {}, false);
                self.replace_operator();
            }
        }
    }

    /// Whatever went wrong is over, and the user wants something that can be. Tells how often that can move one client.
    pub fn calm(&mut self) -> u32 {
        self.trouble = Trouble::default();
        self.down_until = self.now;
        self.unschedulable_until = self.now;
        self.draining_nodes.clear();
        for node in 0..self.nodes.len() {
            self.nodes[node].cordoned = false;
            self.revive_node(node);
        }
        for pod in self.pods.values_mut() {
            (pod.gateway.silent_until, pod.sidecar_until) = (0, 0);
        }
        let mut edits = Vec::new();
        if self.paused() {
            edits.push(Edit::Pause(false));
        }
        let cluster = &self.specs[0].cluster;
        if cluster.spec.disruption.drain_timeout == "soon" {
            edits.push(Edit::DrainTimeout(600));
        }
        if cluster.spec.image.as_ref().is_some_and(|image| image.starts_with("missing")) {
            edits.push(Edit::Image(9));
        }
        edits.iter().for_each(|edit| self.edit(edit));
        if self.wish().is_none() {
            self.edit(&Edit::Replicas(3));
            edits.push(Edit::Replicas(3));
        }
        let surplus = self.clients.present().count().saturating_sub(self.capacity());
        self.lose_interest(surplus);
        u32::try_from(edits.len()).unwrap() + u32::from(surplus > 0)
    }

    pub fn edit(&mut self, edit: &Edit) {
        let before = self.wish().cloned();
        self.restore(|spec| edit.apply(spec), true);
        let now = self.now;
        let after = self.wish().cloned();
        let meaning = |wish: Option<&Wish>| wish.map(|wish| (wish.pods.clone(), wish.size.clone()));
        if meaning(before.as_ref()) != meaning(after.as_ref()) {
            self.edited_at = now;
        }
        self.budgets.extend(after.map(|wish| (now, wish.budget)));
    }

    /// What is stored of the spec is something else from now on.
    pub fn restore(
        &mut self,
        change: impl FnOnce(&mut operator_core::crd::WebSocketClusterSpec),
        edited: bool,
    ) {
        let mut cluster = self.specs[0].cluster.clone();
        change(&mut cluster.spec);
        *cluster.metadata.generation.get_or_insert(1) += i64::from(edited);
        self.specs[0] = Rc::new(Spec::new(cluster, &self.defaults));
    }

    fn replace_operator(&mut self) {
        let planner = self.operator.take().unwrap().planner;
        self.operator = Some(Operator::new(planner, self.now));
        self.mute_at = self.now;
    }

    fn lose_interest(&mut self, count: usize) {
        for index in 0..count {
            let present: Vec<_> = self.clients.present().collect();
            if present.is_empty() {
                return;
            }
            let about = [self.now, i64::try_from(index).unwrap(), 4];
            let client = present[self.chance.below(present.len(), about)];
            self.clients.leave(client);
            for pod in self.pods.values_mut() {
                pod.gateway.clients.retain(|connected| *connected != client);
            }
        }
    }

    fn with(&mut self, pod: usize, act: impl FnOnce(&mut Self, &str)) {
        if let Some(name) = self.pods.keys().nth(pod).cloned() {
            act(self, &name);
        }
    }
}
