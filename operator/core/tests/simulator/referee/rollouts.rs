//! Invariant 11.

use super::Invariant;
use crate::world::{Fact, World};

pub struct OnlyWhatMeansSomethingElse;

impl Invariant for OnlyWhatMeansSomethingElse {
    fn name(&self) -> &'static str {
        "11: a new version of the operator rolls nothing"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for fact in &world.facts {
            match fact {
                Fact::RedisRolled => return Err("the managed Redis rolls, and nobody asked for that".into()),
                Fact::Marked(name) => {
                    let unasked = |pod: &&crate::pod::Pod| {
                        let for_rollout =
                            pod.object.mark.as_ref().is_some_and(|mark| mark.cause == "Rollout");
                        // Whatever an operator whose cache is behind may have read.
                        for_rollout && world.specs.iter().all(|spec| spec.wish.pods == pod.made_for)
                    };
                    if world.pods.get(name).filter(unasked).is_some() {
                        return Err(format!("{name} rolls, and is what the spec asks for"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
