//! Whose things are whose.

use super::{Invariant, REACTION};
use crate::gateway::Second;
use crate::world::{Fact, World};

pub struct OthersObjectsAreTheirs;

impl Invariant for OthersObjectsAreTheirs {
    fn name(&self) -> &'static str {
        "an object that is not ours is never touched"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let touched = world.facts.iter().find_map(|fact| match fact {
            Fact::Applied { key, foreign: true } => Some(key),
            _ => None,
        });
        touched.map_or(Ok(()), |key| Err(format!("{key:?} was written")))
    }
}

/// While `spec.paused` is set no pod comes or goes by the operator's doing.
#[derive(Default)]
pub struct Paused {
    since: Option<Second>,
}

impl Invariant for Paused {
    fn name(&self) -> &'static str {
        "a paused cluster is left as it is"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if !world.paused() {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert(world.now);
        let known = world.now - since > REACTION + world.trouble.lag;
        let done = |fact: &&Fact| {
            matches!(fact, Fact::Created(_) | Fact::Marked(_) | Fact::Unmarked(_) | Fact::Deleted { .. })
        };
        match world.facts.iter().find(done).filter(|_| known) {
            Some(fact) => Err(format!("{fact:?}")),
            None => Ok(()),
        }
    }
}
