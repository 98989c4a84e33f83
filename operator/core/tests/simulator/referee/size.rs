//! The cluster is as large as its connections ask for.

use super::Invariant;
use crate::gateway::Second;
use crate::world::{Fact, World};
use operator_core::desired::{Desired, Size};
use std::collections::VecDeque;

/// Seconds for which a size that was asked for once may be kept: the longest stabilization window of a history.
const KEPT: Second = 400;

/// The size that so many clients ask for.
pub fn asked(desired: &Desired, clients: usize) -> usize {
    match &desired.size {
        Size::Fixed(size) => *size as usize,
        Size::Scaled(scaling) => {
            let load = clients * (100 + scaling.headroom_percent as usize);
            load.div_ceil(100 * scaling.connections_per_pod as usize)
                .clamp(scaling.min as usize, scaling.max as usize)
        }
    }
}

#[derive(Default)]
pub struct NoMoreThanIsAskedFor {
    asked: VecDeque<(Second, usize)>,
}

impl Invariant for NoMoreThanIsAskedFor {
    fn name(&self) -> &'static str {
        "no more pods serve than the connections, or the size given, ask for"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let Some(desired) = world.desired() else { return Ok(()) };
        let size = asked(desired, world.own_clients());
        if self.asked.back().is_none_or(|(_, last)| *last != size) {
            self.asked.push_back((world.now, size));
        }
        while self.asked.len() > 1 && self.asked[1].0 < world.now - KEPT {
            self.asked.pop_front();
        }
        if !world.facts.iter().any(|fact| matches!(fact, Fact::Created(_))) {
            return Ok(());
        }
        let most = self.asked.iter().map(|(_, size)| *size).max().unwrap_or(0);
        let lost = |node: Option<usize>| node.is_some_and(|node| world.nodes[node].dead_since.is_some());
        let updated = |pod: &&crate::pod::Pod| pod.object.revision == desired.revision.0;
        let serve = world.pods.values().filter(updated).filter(|pod| pod.stays() && !lost(pod.node)).count();
        if serve > most { Err(format!("{serve} pods, and {most} were asked for")) } else { Ok(()) }
    }
}
