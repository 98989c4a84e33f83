//! Whoever is moved finds a place.

use super::endpoints::drained_by_request;
use super::{Invariant, REACTION};
use crate::gateway::Second;
use crate::pod::How;
use crate::world::{Fact, World};

#[derive(Default)]
pub struct NobodyIsMovedWhereNobodyHasRoom {
    full_since: Option<Second>,
}

impl Invariant for NobodyIsMovedWhereNobodyHasRoom {
    fn name(&self) -> &'static str {
        "nobody is moved while nobody has room"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let room = world.endpoints(0).any(|(_, pod)| pod.gateway.clients.len() < pod.limit);
        let wanted = world.wish().is_some_and(|wish| wish.most() > 0);
        if room || !wanted || world.able_for() <= REACTION {
            self.full_since = None;
            return Ok(());
        }
        let since = *self.full_since.get_or_insert(world.now);
        let paced = |name: &str| {
            world.facts.iter().any(
                |fact| matches!(fact, Fact::Closed(closed) if closed.pod == name && closed.how == How::Paced),
            )
        };
        match drained_by_request(world).find(|(name, _)| paced(name)) {
            Some((name, _)) if world.now - since > REACTION => {
                Err(format!("{name} moves clients, and since second {since} there is no room"))
            }
            _ => Ok(()),
        }
    }
}
