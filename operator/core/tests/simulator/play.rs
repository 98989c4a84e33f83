//! Plays a history, with the referee looking on.

use crate::gateway::Second;
use crate::history::{Edit, Event, History};
use crate::referee::{Referee, Violation, rests, settled, tells_the_truth};
use crate::shell::Planner;
use crate::world::World;
use std::rc::Rc;

/// Whatever happened, the cluster is as it should be after so many seconds of calm.
const PATIENCE: Second = 3000;
/// The last word about what was done, and then so many seconds in which nothing is.
const LAST_WORDS: Second = 30;
const REST: Second = 20;

pub struct Play {
    pub world: World,
    referee: Referee,
}

/// The planner as it is.
pub fn honest() -> Planner {
    Rc::new(operator_core::plan::plan)
}

/// The whole history and its end.
pub fn judge(history: &History, planner: Planner) -> Result<World, Violation> {
    let mut play = Play::new(history, planner);
    play.settle()?;
    for (event, pause) in &history.steps {
        play.world.happen(event);
        play.run(Second::from(*pause))?;
    }
    play.world.calm();
    play.settle()?;
    play.rest()?;
    play.moves(history)?;
    Ok(play.world)
}

impl Play {
    /// Its clients are on their way, and nothing else has happened.
    pub fn new(history: &History, planner: Planner) -> Self {
        let mut world = World::new(history, planner);
        world.happen(&Event::Connect(history.clients));
        Self { world, referee: Referee::new() }
    }

    pub fn run(&mut self, seconds: Second) -> Result<(), Violation> {
        (0..seconds).try_for_each(|_| self.tick())
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&World) -> bool) -> Result<(), Violation> {
        for _ in 0..PATIENCE {
            if done(&self.world) {
                return Ok(());
            }
            self.tick()?;
        }
        Err(self.violation("it ends as it should", format!("{what} did not happen")))
    }

    pub fn settle(&mut self) -> Result<(), Violation> {
        let mut why = String::new();
        for _ in 0..PATIENCE {
            self.tick()?;
            match settled(&self.world) {
                Ok(()) => return Ok(()),
                Err(not_yet) => why = not_yet,
            }
        }
        let said = self.world.status.as_ref().map(|status| status.reason.clone());
        Err(self.violation("it ends as it should", format!("{why}; the status says {said:?}")))
    }

    /// The cluster has settled: nothing more is said or done.
    pub fn rest(&mut self) -> Result<(), Violation> {
        self.run(LAST_WORDS)?;
        for _ in 0..REST {
            self.world.facts.clear();
            self.world.tick();
            rests(&self.world)?;
        }
        tells_the_truth(&self.world)
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.world.tick();
        self.referee.look(&self.world)?;
        self.world.facts.clear();
        Ok(())
    }

    /// Each client is moved once for each thing that moves clients.
    fn moves(&self, history: &History) -> Result<(), Violation> {
        // What `calm` does moves everybody once or twice more.
        let causes: u32 = 2 + history.steps.iter().map(|(event, _)| causes(event)).sum::<u32>();
        let most = self.world.clients.all.iter().map(|client| client.moves).max().unwrap_or(0);
        if most <= causes {
            return Ok(());
        }
        Err(self.violation("a client is moved once for each cause", format!("{most} times by {causes}")))
    }

    fn violation(&self, invariant: &'static str, what: String) -> Violation {
        Violation { second: self.world.now, invariant, what }
    }
}

/// How often one client can be moved by it.
fn causes(event: &Event) -> u32 {
    match event {
        Event::Edit(Edit::Replicas(_) | Edit::Scaling { .. }) => 2,
        Event::DrainNode(_) | Event::KillNode(_) => 6,
        Event::Edit(_)
        | Event::Connect(_)
        | Event::Disconnect(_)
        | Event::Delete { .. }
        | Event::Evict { .. }
        | Event::Crash { .. }
        | Event::SidecarCrash { .. }
        | Event::StripLabel { .. }
        | Event::TakeOver { .. }
        | Event::Trouble { .. } => 1,
        Event::UncordonNode(_)
        | Event::ReviveNode(_)
        | Event::Silence { .. }
        | Event::Unschedulable { .. }
        | Event::RestartOperator
        | Event::StopOperator { .. }
        | Event::StepClock { .. }
        | Event::Upgrade => 0,
    }
}
