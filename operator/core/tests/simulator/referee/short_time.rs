//! Whatever ends a pod, its clients are moved evenly over the time there is.

use super::{Invariant, REACTION, budget};
use crate::gateway::Second;
use crate::pod::{Closed, How};
use crate::world::{Fact, World};

pub struct SpreadOverTheTimeThereIs;

impl Invariant for SpreadOverTheTimeThereIs {
    fn name(&self) -> &'static str {
        "short time: clients are spread evenly over the time there is"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let at_once = |fact: &Fact| match fact {
            Fact::Closed(closed) if matches!(closed.how, How::TimeUp | How::Killed) => Some(closed.clone()),
            _ => None,
        };
        world.facts.iter().filter_map(at_once).try_for_each(|closed| judge(world, &closed))
    }
}

fn judge(world: &World, closed: &Closed) -> Result<(), String> {
    let Some(told) = closed.told else { return Ok(()) };
    let time = world.now - told;
    let hindered = world.able_for() <= time || closed.reachable_since > told;
    let room: usize =
        world.endpoints(0).map(|(_, pod)| pod.limit.saturating_sub(pod.gateway.clients.len())).sum();
    let at_once = closed.clients.len();
    if time <= REACTION || hindered || room < at_once {
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let evenly = (closed.moved + at_once as u64) as f64 / time as f64;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let too_many = at_once as f64 > budget::in_force(world) + 3.0 * evenly + 3.0;
    if too_many {
        return Err(format!("{} closed {at_once} at once after {time} s", closed.pod));
    }
    Ok(())
}

/// The operator deletes no pod with clients on it before its time is up.
pub struct NobodyIsCutOff {
    shortest: Second,
}

impl Default for NobodyIsCutOff {
    fn default() -> Self {
        Self { shortest: Second::MAX }
    }
}

impl Invariant for NobodyIsCutOff {
    fn name(&self) -> &'static str {
        "no pod is deleted before its last client is moved or its time is up"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if let Some(wish) = world.wish() {
            self.shortest = self.shortest.min(wish.drain_timeout);
        }
        for fact in &world.facts {
            let Fact::Deleted { pod, clients: clients @ 1.. } = fact else { continue };
            let turn = world.pods.get(pod).and_then(|pod| pod.turn_at);
            if turn.is_none_or(|at| world.now - at < self.shortest) {
                return Err(format!("{pod} is deleted with {clients} clients; its turn came at {turn:?}"));
            }
        }
        Ok(())
    }
}
