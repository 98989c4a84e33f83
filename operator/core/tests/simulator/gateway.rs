//! A gateway process: its connections, and a drain at the pace that it was told.

/// Seconds since the beginning, by a clock that nobody sets.
pub type Second = i64;
/// Index of a client.
pub type ClientId = usize;

/// Seconds after SIGTERM in which a gateway serves its clients as ever, since load balancers have yet to hear of it.
const SETTLE: Second = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Requested,
    Terminated,
}

#[derive(Clone, Debug)]
pub struct Drain {
    pub trigger: Trigger,
    pub rate: f64,
    pub begins: Second,
    pub deadline: Second,
    pub moved: u64,
    /// Nobody steered it since it began by itself.
    pub unsteered: bool,
    carry: f64,
}

/// What a gateway goes by, from the time its pod was made.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub rate: f64,
    pub timeout: Second,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    /// The process runs.
    pub up: bool,
    pub clients: Vec<ClientId>,
    pub drain: Option<Drain>,
    /// Until then the operator can't reach it.
    pub silent_until: Second,
    /// When an operator had its last answer.
    pub answered: Option<Second>,
    pace: Pace,
}

impl Gateway {
    pub fn new(pace: Pace) -> Self {
        Self { up: false, clients: Vec::new(), drain: None, silent_until: 0, answered: None, pace }
    }

    pub fn reachable(&self, now: Second) -> bool {
        self.up && now >= self.silent_until
    }

    /// It takes new connections.
    pub fn accepts(&self, now: Second) -> bool {
        self.up && self.drain.as_ref().is_none_or(|drain| now < drain.begins)
    }

    /// Connections per second that it closes of its clients now.
    pub fn rate(&self, now: Second) -> f64 {
        let drain = self.drain.as_ref().filter(|drain| self.up && now >= drain.begins);
        drain.filter(|_| !self.clients.is_empty()).map_or(0.0, |drain| drain.rate)
    }

    /// `POST /drain`; gives the rate before.
    pub fn request(&mut self, rate: f64, seconds: Second, now: Second) -> f64 {
        let before = self.rate(now);
        let drain = self.drain.get_or_insert(Drain {
            trigger: Trigger::Requested,
            rate,
            begins: now,
            deadline: now + seconds,
            moved: 0,
            unsteered: false,
            carry: 0.0,
        });
        (drain.rate, drain.deadline, drain.begins, drain.unsteered) = (rate, now + seconds, now, false);
        before
    }

    /// `DELETE /drain`; refused once the process is to end.
    pub fn cancel(&mut self) -> bool {
        let terminates = self.drain.as_ref().is_some_and(|drain| drain.trigger == Trigger::Terminated);
        if !terminates {
            self.drain = None;
        }
        !terminates
    }

    /// SIGTERM: a requested drain goes on as it was steered, or else one begins at the pace of the configuration.
    pub fn terminate(&mut self, now: Second) {
        match &mut self.drain {
            Some(drain) => drain.trigger = Trigger::Terminated,
            None => {
                self.drain = Some(Drain {
                    trigger: Trigger::Terminated,
                    rate: self.pace.rate,
                    begins: now + SETTLE,
                    deadline: now + self.pace.timeout,
                    moved: 0,
                    unsteered: true,
                    carry: 0.0,
                });
            }
        }
    }

    /// The process ends.
    pub fn stop(&mut self) {
        (self.up, self.drain) = (false, None);
    }

    /// Whom it closes in this second, and whether because its time is up.
    pub fn close_due(&mut self, now: Second) -> (Vec<ClientId>, bool) {
        let Some(drain) = self.drain.as_mut().filter(|drain| now > drain.begins) else {
            return (Vec::new(), false);
        };
        let late = now >= drain.deadline;
        drain.carry = (drain.carry + drain.rate).min(drain.rate.max(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small rate")]
        let paced = drain.carry.floor() as usize;
        let count = if late { self.clients.len() } else { paced.min(self.clients.len()) };
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let closed = count as f64;
        drain.carry = (drain.carry - closed).max(0.0);
        drain.moved += count as u64;
        (self.clients.drain(..count).collect(), late)
    }
}
