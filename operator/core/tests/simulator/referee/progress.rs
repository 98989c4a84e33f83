//! What is to be done is done in time.

use super::{Invariant, REACTION, budget};
use crate::gateway::Second;
use crate::pod::Pod;
use crate::world::World;

/// Seconds until a pod that is missing is there, and until a drain that stands still goes on.
const PATIENCE: Second = 60;
/// Seconds until a node that does not answer counts as lost.
const NODE_LOST: Second = 60;

#[derive(Default)]
pub struct MissingPodsCome {
    since: Option<Second>,
}

impl Invariant for MissingPodsCome {
    fn name(&self) -> &'static str {
        "a pod that is missing is replaced"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let Some(wish) = world.wish() else { return Ok(()) };
        let lost = |pod: &Pod| {
            let dead = pod.node.and_then(|node| world.nodes[node].dead_since);
            dead.is_some_and(|since| world.now - since > NODE_LOST)
        };
        let rolls = world.own_pods().any(|(_, pod)| pod.made_for != wish.pods);
        let there = world.pods.values().filter(|pod| pod.stays() && !lost(pod)).count();
        let wanted = wish.least();
        if rolls || there >= wanted || world.able_for() <= REACTION {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert(world.now);
        if world.now - since > PATIENCE {
            return Err(format!("{there} pods of {wanted} since second {since}"));
        }
        Ok(())
    }
}

#[derive(Default)]
pub struct DrainsGoOn {
    since: Option<Second>,
}

impl Invariant for DrainsGoOn {
    fn name(&self) -> &'static str {
        "a drain that can go on goes on"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let Some(wish) = world.wish() else { return Ok(()) };
        let now = world.now;
        let rolls = world.own_pods().any(|(_, pod)| pod.made_for != wish.pods);
        let can_go_on = |pod: &&Pod| {
            let told = pod.turn_at.or(pod.marked_at.filter(|_| !rolls)).or(pod.ended_at);
            let reachable = pod.gateway.reachable(now) && now - pod.gateway.silent_until > REACTION;
            reachable && told.is_some_and(|at| now - at > REACTION)
        };
        let to_move: usize = world.pods.values().filter(can_go_on).map(|pod| pod.gateway.clients.len()).sum();
        let room: usize =
            world.endpoints(0).map(|(_, pod)| pod.limit.saturating_sub(pod.gateway.clients.len())).sum();
        let rate: f64 = world.pods.values().map(|pod| pod.gateway.rate(now)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let slow = rate < budget::in_force(world).min(to_move as f64) / 2.0;
        if !slow || to_move == 0 || room < to_move || world.able_for() <= REACTION {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert(now);
        if now - since > PATIENCE {
            return Err(format!("{to_move} clients are to be moved, at {rate}/s since second {since}"));
        }
        Ok(())
    }
}
