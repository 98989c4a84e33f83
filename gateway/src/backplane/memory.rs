//! The backplane of a gateway that runs alone.

mod state;
mod stream;

use std::time::{Duration, Instant};

use gateway_core::backplane::{BackplaneError, Message, Op, Outcome, Publication};
use tokio::sync::{mpsc, oneshot};

use self::state::{Publish, State};
use super::{
    Submitted, Waiter,
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
        match op {
            Op::Publish { channel, payload, info, origin, retention, idempotency_key } => {
                let publication = Publication { offset: 0, payload, info, origin };
                let publish = Publish { channel: channel.clone(), publication, retention, idempotency_key };
                let (position, delivery) = self.state.publish(publish, now);
                self.inboxes.complete(waiter, Ok(Outcome::Published { position })).await;
                if let Some((shards, publication)) = delivery {
                    self.inboxes.deliver(shards, &channel, &Message::Publication(publication)).await;
                }
            }
            Op::Enter { channel, info, announce } => {
                self.departures.cancel(&channel, &info.client);
                let (shards, info) = self.state.enter(&channel, info);
                self.inboxes.complete(waiter, Ok(Outcome::Done)).await;
                if announce && !shards.is_empty() && self.joins.enter(&channel, &info.client, now) {
                    self.inboxes.deliver(shards, &channel, &Message::Join(info)).await;
                }
            }
            Op::Leave { channel, info, announce, grace } => {
                self.departures.push(Departure { channel, info, announce }, now, grace);
                while let Some(displaced) = self.departures.pop_excess() {
                    self.depart(displaced).await;
                }
                self.inboxes.complete(waiter, Ok(Outcome::Done)).await;
            }
            op => {
                let result = self.answer(op, &waiter, now);
                self.inboxes.complete(waiter, result).await;
            }
        }
    }

    fn answer(&mut self, op: Op, waiter: &Waiter, now: Instant) -> Result<Outcome, BackplaneError> {
        let shard = waiter.shard();
        match op {
            Op::Subscribe { channel, retention, since, limit } => {
                let shard = shard.ok_or(BackplaneError::Unavailable)?;
                Ok(self.state.subscribe(channel, shard, retention, since.as_ref(), limit, now))
            }
            Op::Release { channel } => {
                if let Some(shard) = shard {
                    self.state.release(&channel, shard);
                }
                Ok(Outcome::Done)
            }
            Op::History { channel, since, limit, bytes, reverse, .. } => {
                self.state.history(&channel, since.as_ref(), limit, bytes, reverse, now)
            }
            Op::Presence { channel, limit } => self.state.presence(&channel, limit),
            Op::PresenceStats { channel } => Ok(self.state.presence_stats(&channel)),
            Op::Publish { .. } | Op::Enter { .. } | Op::Leave { .. } => Ok(Outcome::Done),
        }
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
