//! Invariant 3.

use super::{Invariant, REACTION};
use crate::gateway::Second;
use crate::pod::Pod;
use crate::world::{Fact, World};

/// The rates at which gateways really close connections stay within the budget. One that somebody else ended begins by itself; within
/// the time that the operator needs to learn of it all is within the budget again.
#[derive(Default)]
pub struct Budget {
    over_since: Option<Second>,
}

impl Invariant for Budget {
    fn name(&self) -> &'static str {
        "3: the rates in force stay within the budget"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let now = world.now;
        let allowed = in_force(world).max(needed(world)) + 0.5;
        let sum = |counts: &dyn Fn(&Pod) -> bool| -> f64 {
            world.pods.values().filter(|pod| counts(pod)).map(|pod| pod.gateway.rate(now)).sum()
        };
        let is_news = |pod: &Pod| {
            let unsteered = pod.gateway.drain.as_ref().is_some_and(|drain| drain.unsteered);
            unsteered && pod.ended_at.is_some_and(|at| now - at <= REACTION)
        };
        let known = sum(&|pod| !is_news(pod));
        for fact in &world.facts {
            match fact {
                Fact::Ordered { pod, from, to } if to > from && known > allowed => {
                    return Err(format!(
                        "{pod} was told {to}/s after {from}/s, and all together do {known}/s"
                    ));
                }
                _ => {}
            }
        }
        let all = sum(&|_| true);
        if all <= allowed {
            self.over_since = None;
            return Ok(());
        }
        let since = *self.over_since.get_or_insert(now);
        let steerable = world
            .pods
            .values()
            .any(|pod| pod.gateway.rate(now) > 0.0 && now - pod.gateway.silent_until > REACTION);
        if now - since > REACTION && world.steers_for() > REACTION && steerable {
            return Err(format!("all together do {all}/s since second {since}"));
        }
        Ok(())
    }
}

/// The highest budget that the operator may know of.
pub fn in_force(world: &World) -> f64 {
    let horizon = world.now - REACTION - world.trouble.lag;
    let mut highest = world.budgets.last().map_or(0.0, |(_, budget)| *budget);
    for pair in world.budgets.windows(2) {
        if pair[1].0 >= horizon {
            highest = highest.max(pair[0].1);
        }
    }
    highest
}

/// What pods that somebody else ended need, spread evenly over the time they have.
pub fn needed(world: &World) -> f64 {
    let left = |pod: &Pod| pod.object.deletion.filter(|_| pod.ended_by_user).map(|kill| kill - world.now - 2);
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let rate = |pod: &Pod| left(pod).map(|seconds| pod.gateway.clients.len() as f64 / seconds.max(1) as f64);
    world.pods.values().filter_map(rate).sum::<f64>() * 1.25
}
