//! Invariant 5.

use super::{Invariant, REACTION};
use crate::pod::Pod;
use crate::world::{Fact, World};

/// A report is fresh for so many seconds, besides the pass that it is used in.
const FRESH: i64 = 6 + 2;

pub struct NothingUnknownIsScaledDown;

impl Invariant for NothingUnknownIsScaledDown {
    fn name(&self) -> &'static str {
        "5: without a fresh report of every serving pod nothing is scaled down"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let behind = world.trouble.lag;
        let slack = if world.able_for() > REACTION { 0 } else { REACTION };
        let for_size = |name: &str| {
            let mark = world.pods.get(name).and_then(|pod| pod.object.mark.as_ref());
            mark.is_some_and(|mark| mark.cause == "ScaleDown")
        };
        let chosen: Vec<&String> = world
            .facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Marked(name) if for_size(name) => Some(name),
                _ => None,
            })
            .collect();
        let Some(victim) = chosen.first() else { return Ok(()) };
        let silent = |name: &String, pod: &Pod| {
            let served = pod.stays() || chosen.contains(&name);
            let known = pod.object.ready && world.now - pod.starts > REACTION + behind;
            let answered = pod.gateway.answered.unwrap_or(i64::MIN / 2);
            served && known && world.now - answered > FRESH + behind + slack
        };
        match world.pods.iter().find(|(name, pod)| silent(name, pod)) {
            Some((name, pod)) => {
                Err(format!("{victim} is to go, and {name} answered last at {:?}", pod.gateway.answered))
            }
            None => Ok(()),
        }
    }
}
