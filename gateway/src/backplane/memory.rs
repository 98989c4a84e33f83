//! The backplane of a gateway that runs alone.

mod state;
mod stream;

use std::time::{Duration, Instant};

use gateway_core::backplane::{BackplaneError, BusOp, LogOp, Message, Op, Outcome, PresenceOp};
use tokio::sync::{mpsc, oneshot};

use self::state::{Delivery, State};
use super::{
    Submitted,
    departures::{Departure, Departures},
    inboxes::Inboxes,
    joins::Joins,
};

/// How often what has outlived its time is dropped.
const SWEEP: Duration = Duration::from_secs(10);

/// Serves commands until told to stop, then those already queued.
pub(super) async fn run(
    page_bytes: usize,
    mut commands: mpsc::Receiver<Submitted>,
    inboxes: Inboxes,
    mut stop: oneshot::Receiver<()>,
) {
    let mut actor = Actor {
        inboxes,
        state: State::new(page_bytes, Instant::now()),
        departures: Departures::default(),
        joins: Joins::default(),
    };
    let mut sweep = tokio::time::interval(SWEEP);
    let mut stopping = false;
    loop {
        let due = actor.departures.next_due().into_iter().chain(actor.joins.next_due()).min();
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => actor.serve(command).await,
                None => break,
            },
            // A dropped thread guard is no order to stop.
            Ok(()) = &mut stop, if !stopping => {
                stopping = true;
                commands.close();
            }
            () = sleep_until(due) => {}
            _ = sweep.tick() => actor.state.sweep(Instant::now()),
        }
        let now = Instant::now();
        while let Some(departure) = actor.departures.pop(now) {
            actor.depart(departure).await;
        }
        while let Some((channel, client)) = actor.joins.pop(now) {
            if let Some((shards, info)) = actor.state.member(&channel, &client) {
                actor.inboxes.deliver(shards, &channel, &Message::Join(info)).await;
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What an operation yields, and what subscribers are told then.
type Served = (Result<Outcome, BackplaneError>, Option<Delivery>);

struct Actor {
    inboxes: Inboxes,
    state: State,
    departures: Departures,
    joins: Joins,
}

impl Actor {
    async fn serve(&mut self, command: Submitted) {
        let Submitted { op, waiter } = command;
        let now = Instant::now();
        let (result, delivery) = match op {
            Op::Bus(op) => self.serve_bus(op, waiter.shard(), now),
            Op::Log(op) => self.serve_log(op, waiter.shard(), now),
            Op::Presence(op) => self.serve_presence(op, now).await,
        };
        self.inboxes.complete(waiter, result).await;
        if let Some(Delivery { channel, shards, message }) = delivery {
            self.inboxes.deliver(shards, &channel, &message).await;
        }
    }

    fn serve_bus(&mut self, op: BusOp, shard: Option<u16>, now: Instant) -> Served {
        let result = match op {
            BusOp::Publish(publish) => {
                let (position, delivery) = self.state.publish(publish, now);
                return (Ok(Outcome::published(position)), delivery);
            }
            BusOp::Subscribe { channel } => {
                let subscribed = shard.map(|shard| self.state.subscribe(channel, shard));
                subscribed.map(|()| Outcome::Done).ok_or(BackplaneError::Unavailable)
            }
            BusOp::Release { channel } => {
                if let Some(shard) = shard {
                    self.state.release(&channel, shard);
                }
                Ok(Outcome::Done)
            }
        };
        (result, None)
    }

    fn serve_log(&mut self, op: LogOp, shard: Option<u16>, now: Instant) -> Served {
        let result = match op {
            LogOp::Append { publish, retention } => {
                let (position, delivery) = self.state.append(publish, retention, now);
                return (Ok(Outcome::published(position)), delivery);
            }
            LogOp::Follow { channel, since, limit } => {
                let followed =
                    shard.map(|shard| self.state.follow(channel, shard, since.as_ref(), limit, now));
                followed.map(Outcome::Followed).ok_or(BackplaneError::Unavailable)
            }
            LogOp::Read { channel, since, limit, bytes, reverse, .. } => {
                self.state.read(&channel, since.as_ref(), limit, bytes, reverse, now)
            }
        };
        (result, None)
    }

    async fn serve_presence(&mut self, op: PresenceOp, now: Instant) -> Served {
        let result = match op {
            PresenceOp::Enter { channel, info, announce } => {
                self.departures.cancel(&channel, &info.client);
                let (shards, info) = self.state.enter(&channel, info);
                let tells = announce && !shards.is_empty() && self.joins.enter(&channel, &info.client, now);
                let join = Delivery { channel, shards, message: Message::Join(info) };
                return (Ok(Outcome::Done), tells.then_some(join));
            }
            PresenceOp::Leave { channel, info, announce, grace } => {
                self.departures.push(Departure { channel, info, announce }, now, grace);
                while let Some(displaced) = self.departures.pop_excess() {
                    self.depart(displaced).await;
                }
                Ok(Outcome::Done)
            }
            PresenceOp::List { channel, limit } => self.state.list(&channel, limit),
            PresenceOp::Count { channel } => Ok(self.state.count(&channel)),
        };
        (result, None)
    }

    async fn depart(&mut self, departure: Departure) {
        let Departure { channel, info, announce } = departure;
        let announce = announce && !self.joins.leave(&channel, &info.client);
        if let Some((shards, info)) = self.state.leave(&channel, &info.client)
            && announce
        {
            self.inboxes.deliver(shards, &channel, &Message::Leave(info)).await;
        }
    }
}
