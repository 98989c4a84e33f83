//! Invariant 4.

use super::{Invariant, REACTION};
use crate::gateway::Trigger;
use crate::pod::{How, Pod};
use crate::world::{Fact, LAG, World};

/// Pods that closed connections because they were asked to drain.
pub fn drained_by_request(world: &World) -> impl Iterator<Item = (&String, &Pod)> {
    world.facts.iter().filter_map(move |fact| match fact {
        Fact::Closed(closed) if matches!(closed.how, How::Paced | How::TimeUp) => {
            let pod = world.pods.get(&closed.pod)?;
            let requested = pod.gateway.drain.as_ref()?.trigger == Trigger::Requested;
            requested.then_some((&closed.pod, pod))
        }
        _ => None,
    })
}

pub struct OutOfTheEndpointsFirst;

impl Invariant for OutOfTheEndpointsFirst {
    fn name(&self) -> &'static str {
        "4: no pod is drained before it has left the endpoints"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for (name, pod) in drained_by_request(world) {
            let out = pod.marked_at.is_some_and(|at| world.now - at >= LAG);
            if pod.object.labelled && pod.object.deletion.is_none() && !out {
                return Err(format!("{name} closes connections, and left at {:?}", pod.marked_at));
            }
        }
        Ok(())
    }
}

pub struct OldPodsLeaveTogether;

impl Invariant for OldPodsLeaveTogether {
    fn name(&self) -> &'static str {
        "4: in a rollout all old pods leave the endpoints before the first client is moved"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let Some(wish) = world.wish().filter(|_| world.able_for() > REACTION) else { return Ok(()) };
        let old = |pod: &Pod| pod.made_for != wish.pods;
        let can_take_over = world.endpoints(0).any(|(_, pod)| !old(pod));
        for (name, pod) in drained_by_request(world) {
            let rolls = pod.object.mark.as_ref().is_some_and(|mark| mark.cause == "Rollout");
            let for_it = old(pod) && rolls && pod.marked_at.is_some_and(|at| at > world.edited_at);
            let left = world.endpoints(0).find(|(_, other)| old(other));
            if let Some((other, _)) = left.filter(|_| for_it && can_take_over) {
                return Err(format!("{name} moves clients, and old {other} is in the endpoints"));
            }
        }
        Ok(())
    }
}
