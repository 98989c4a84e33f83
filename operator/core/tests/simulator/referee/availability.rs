//! There is always somebody to connect to.

use super::{Invariant, REACTION};
use crate::gateway::Second;
use crate::pod::How;
use crate::world::{Fact, World};

#[derive(Default)]
pub struct NeverWithoutEndpoints {
    before: usize,
    lost_at: Second,
}

impl Invariant for NeverWithoutEndpoints {
    fn name(&self) -> &'static str {
        "the operator takes no last pod out of the endpoints"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let lost = |fact: &Fact| matches!(fact, Fact::Closed(closed) if matches!(closed.how, How::Lost | How::Killed));
        let ended = world.pods.values().any(|pod| pod.ended_by_user && pod.ended_at >= Some(world.now - 1));
        if world.facts.iter().any(lost) || ended || world.able_for() <= REACTION {
            self.lost_at = world.now;
        }
        let before = std::mem::replace(&mut self.before, world.endpoints(0).count());
        let marked = world.facts.iter().any(|fact| matches!(fact, Fact::Marked(_)));
        let wanted = world.wish().is_some_and(|wish| wish.most() > 0);
        let quiet = world.now - self.lost_at > REACTION;
        if before > 0 && self.before == 0 && marked && wanted && quiet {
            return Err("nobody is left".into());
        }
        Ok(())
    }
}
