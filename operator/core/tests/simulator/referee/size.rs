//! The cluster is as large as its connections ask for.

use super::Invariant;
use crate::gateway::Second;
use crate::pod::Pod;
use crate::world::{Fact, World};
use std::collections::VecDeque;

/// Seconds for which a size that was asked for once may be kept: the longest stabilization window of a history.
const KEPT: Second = 400;

#[derive(Default)]
pub struct NoMoreThanIsAskedFor {
    asked: VecDeque<(Second, usize)>,
}

impl Invariant for NoMoreThanIsAskedFor {
    fn name(&self) -> &'static str {
        "no more pods serve than the connections, or the size given, ask for"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let Some(wish) = world.wish() else { return Ok(()) };
        let size = wish.asked(world.own_clients());
        if self.asked.back().is_none_or(|(_, last)| *last != size) {
            self.asked.push_back((world.now, size));
        }
        while self.asked.len() > 1 && self.asked[1].0 < world.now - KEPT {
            self.asked.pop_front();
        }
        let made = world.facts.iter().rev().find_map(|fact| match fact {
            Fact::Created(name) => world.pods.get(name),
            _ => None,
        });
        let Some(made) = made else { return Ok(()) };
        let most = self.asked.iter().map(|(_, size)| *size).max().unwrap_or(0);
        let lost = |node: Option<usize>| node.is_some_and(|node| world.nodes[node].dead_since.is_some());
        let like_it = |pod: &&Pod| pod.object.revision == made.object.revision;
        let serve = world.pods.values().filter(like_it).filter(|pod| pod.stays() && !lost(pod.node)).count();
        if serve > most { Err(format!("{serve} pods, and {most} were asked for")) } else { Ok(()) }
    }
}
