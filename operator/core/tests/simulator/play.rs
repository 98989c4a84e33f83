//! Plays a history, with the referee looking on.

use crate::gateway::Second;
use crate::history::{Edit, Event, History};
use crate::referee::{Referee, Violation, rests, settled, tells_the_truth};
use crate::shell::Planner;
use crate::world::World;
use std::env;
use std::rc::Rc;

/// Whatever happened, the cluster is as it should be after so many seconds of calm.
const PATIENCE: Second = 3000;
/// Where nobody asks whether it gets there it is looked at for so long.
const UNJUDGED: Second = 300;
/// The invariant of how histories end.
const END: &str = "it ends as it should";
/// The last word about what was done, and then so many seconds in which nothing is.
const LAST_WORDS: Second = 30;
const REST: Second = 20;

pub struct Play {
    pub world: World,
    referee: Referee,
    /// How often one client can be moved by what made an end of all trouble.
    calmed_by: u32,
    /// How long it may take to be as it should be.
    patience: Second,
    /// Whether what happens is printed.
    aloud: bool,
}

/// The planner as it is.
pub fn honest() -> Planner {
    Rc::new(operator_core::plan::plan)
}

/// The whole history and its end.
pub fn judge(history: &History, planner: Planner) -> Result<(), Violation> {
    judge_besides(history, planner, &[])
}

/// The same, but for the invariants whose names begin with one of these.
pub fn judge_besides(history: &History, planner: Planner, unjudged: &[&str]) -> Result<(), Violation> {
    let mut play = Play::new(history, planner);
    play.referee.dismiss(unjudged);
    if unjudged.contains(&END) {
        play.patience = UNJUDGED;
    }
    match play.through(history) {
        Err(violation) if unjudged.iter().any(|name| violation.invariant.starts_with(name)) => Ok(()),
        outcome => outcome,
    }
}

impl Play {
    /// Its clients are on their way, and nothing else has happened.
    pub fn new(history: &History, planner: Planner) -> Self {
        let mut world = World::new(history, planner);
        world.happen(&Event::Connect(history.clients));
        Self {
            world,
            referee: Referee::new(),
            calmed_by: 0,
            patience: PATIENCE,
            aloud: env::var_os("MOORING_SIMULATION_ALOUD").is_some(),
        }
    }

    fn through(&mut self, history: &History) -> Result<(), Violation> {
        self.settle()?;
        for (event, pause) in &history.steps {
            self.world.happen(event);
            self.run(Second::from(*pause))?;
        }
        self.calmed_by = self.world.calm();
        self.settle()?;
        self.rest()?;
        self.moves(history)
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
        Err(self.violation(END, format!("{what} did not happen")))
    }

    pub fn settle(&mut self) -> Result<(), Violation> {
        let mut why = String::new();
        for _ in 0..self.patience {
            self.tick()?;
            match settled(&self.world) {
                Ok(()) => return Ok(()),
                Err(not_yet) => why = not_yet,
            }
        }
        let said = self.world.status.as_ref().map(|status| status.reason.clone());
        Err(self.violation(END, format!("{why}; the status says {said:?}")))
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
        self.read_aloud();
        self.referee.look(&self.world)?;
        self.world.facts.clear();
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "what it is for")]
    fn read_aloud(&self) {
        for fact in self.world.facts.iter().filter(|_| self.aloud) {
            println!("{:>5} {fact:?}", self.world.now);
        }
    }

    /// Each client is moved once for each thing that moves clients.
    fn moves(&self, history: &History) -> Result<(), Violation> {
        let causes: u32 = self.calmed_by + history.steps.iter().map(|(event, _)| causes(event)).sum::<u32>();
        let most = self.world.clients.all.iter().map(|client| client.moves).max().unwrap_or(0);
        if most <= causes {
            return Ok(());
        }
        Err(self.violation("a client is moved once for each cause", format!("{most} times by {causes}")))
    }

    pub fn violation(&self, invariant: &'static str, what: String) -> Violation {
        Violation { second: self.world.now, invariant, what }
    }
}

/// How often one client can be moved by it.
fn causes(event: &Event) -> u32 {
    match event {
        Event::Edit(Edit::Replicas(_) | Edit::Scaling { .. }) => 2,
        Event::DrainNode(_) | Event::KillNode(_) => 6,
        Event::Edit(
            Edit::Budget(_)
            | Edit::DrainTimeout(_)
            | Edit::Surge(_)
            | Edit::Pause(_)
            | Edit::Port(_)
            | Edit::ProgressDeadline(_)
            | Edit::Invalid,
        ) => 0,
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
