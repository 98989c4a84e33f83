//! Judges what really happened, whatever the operator thought. It shares nothing with the planner: no code, no formula, no view.
//! A file of this name, since the fuzz target of specs includes it by its path.

mod availability;
mod budget;
mod endpoints;
mod evictions;
mod ownership;
mod progress;
mod reports;
mod rest;
mod rollouts;
mod room;
mod short_time;
mod size;

pub use rest::{rests, settled, tells_the_truth};

use crate::gateway::Second;
use crate::world::World;
use std::fmt;

/// Seconds in which the operator learns of something and does what it can: a report every 2 s, two of which may fail, and the order.
pub const REACTION: Second = 8;

/// What must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    pub second: Second,
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "second {}: {}: {}", self.second, self.invariant, self.what)
    }
}

/// One claim of ARCHITECTURE.md or DESIGN, looked at after each second.
trait Invariant {
    fn name(&self) -> &'static str;
    fn look(&mut self, world: &World) -> Result<(), String>;
}

pub struct Referee(Vec<Box<dyn Invariant>>);

impl Referee {
    pub fn new() -> Self {
        Self(vec![
            Box::new(budget::Budget::default()),
            Box::new(endpoints::OutOfTheEndpointsFirst),
            Box::new(endpoints::OldPodsLeaveTogether),
            Box::new(room::NobodyIsMovedWhereNobodyHasRoom::default()),
            Box::new(reports::NothingUnknownIsScaledDown),
            Box::new(short_time::SpreadOverTheTimeThereIs),
            Box::new(short_time::NobodyIsCutOff::default()),
            Box::new(availability::NeverWithoutEndpoints::default()),
            Box::new(evictions::OneAtATime),
            Box::new(ownership::OthersObjectsAreTheirs),
            Box::new(ownership::Paused::default()),
            Box::new(rollouts::OnlyWhatMeansSomethingElse),
            Box::new(size::NoMoreThanIsAskedFor::default()),
            Box::new(progress::MissingPodsCome::default()),
            Box::new(progress::DrainsGoOn::default()),
        ])
    }

    /// Lets go what begins with one of these names.
    pub fn dismiss(&mut self, names: &[&str]) {
        self.0.retain(|invariant| !names.iter().any(|name| invariant.name().starts_with(name)));
    }

    pub fn look(&mut self, world: &World) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|invariant| {
            invariant.look(world).map_err(|what| {
                let invariant = invariant.name();
                Violation { second: world.now, invariant, what }
            })
        })
    }
}
