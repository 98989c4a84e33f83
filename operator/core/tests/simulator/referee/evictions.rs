//! The PodDisruptionBudget is a number that the plan sets.

use super::{Invariant, REACTION};
use crate::gateway::Second;
use crate::pod::Pod;
use crate::world::{Fact, World};

/// Two passes: a watch tells of an eviction at once, nobody has to be asked.
const HEARD: Second = 4;

pub struct OneAtATime;

impl Invariant for OneAtATime {
    fn name(&self) -> &'static str {
        "evictions: one while nobody is being moved, none meanwhile"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if world.able_for() <= REACTION {
            return Ok(());
        }
        let known = |at: Option<Second>| at.is_some_and(|at| world.now - at > HEARD);
        let moving =
            |pod: &Pod| pod.gateway.rate(world.now) > 0.0 && (known(pod.ended_at) || known(pod.turn_at));
        for fact in &world.facts {
            let Fact::Evicted(name) = fact else { continue };
            let harmless = world.pods.get(name).is_none_or(|pod| pod.gateway.clients.is_empty());
            let other = world.pods.iter().find(|(other, pod)| *other != name && moving(pod));
            if let Some((other, _)) = other.filter(|_| !harmless) {
                return Err(format!("{name} was evicted while {other} moves its clients"));
            }
        }
        Ok(())
    }
}
