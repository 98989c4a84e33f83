//! The connection that carries live messages, and what the sequencer makes of them.

use std::time::Instant;

use bytes::Bytes;
use gateway_core::{resp::Resp, sequencer::Effect};

use super::{
    actor::Actor,
    envelope::{self, Live},
    failure::Failure,
    pending::Ack,
    pipeline::Event,
};

/// Channels per SUBSCRIBE; Redis serves others in between.
const BATCH: usize = 512;
/// Confirmations awaited at most before more channels are registered.
const UNCONFIRMED: usize = 2_048;

impl Actor {
    pub(super) async fn on_live(&mut self, event: Event<Ack>) {
        let heard = matches!(event, Event::Replies(_));
        match event {
            Event::Up(_) => {
                self.subscribe_to_canary();
                self.sequencer.connected();
                self.upkeep.live_up(Instant::now());
            }
            Event::Replies(replies) => {
                for reply in replies {
                    self.on_live_reply(reply);
                }
            }
            Event::Down { failure, .. } => {
                self.trouble("live messages", &failure, Instant::now());
                self.registrations.clear();
                self.recoveries.clear();
                self.sequencer.disconnected();
            }
        }
        self.carry_out().await;
        let now = Instant::now();
        if heard {
            self.upkeep.live_heard(now);
        }
        self.keep_health(now);
    }

    /// Does what the sequencer asks for, and what follows from that.
    pub(super) async fn carry_out(&mut self) {
        loop {
            let effects = self.sequencer.take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Register { channel, generation } => {
                        self.registrations.push_back((channel, Some(generation)));
                    }
                    Effect::Unregister { channel } => self.registrations.push_back((channel, None)),
                    Effect::Read(read) => self.recoveries.push_back(read),
                    Effect::Rotate { channel, generation, epoch } => {
                        tracing::warn!(%channel, "Redis lost publications of the channel that were delivered; its epoch is over");
                        self.send_rotation(channel, generation, &epoch);
                    }
                    Effect::Deliver { channel, shards, message } => {
                        self.inboxes.deliver(shards, &channel, &message).await;
                    }
                    Effect::Complete { ticket, result } => {
                        if let Some(waiter) = self.subscribes.remove(&ticket) {
                            self.inboxes.complete(waiter, result).await;
                        }
                    }
                }
            }
        }
        self.register_next();
        self.recover_next();
    }

    /// Registers and unregisters channels in the order asked for, as long as few confirmations are awaited: after an outage that is
    /// every channel.
    fn register_next(&mut self) {
        while self.live.in_flight() < UNCONFIRMED
            && let Some((channel, generation)) = self.registrations.pop_front()
        {
            let Some(generation) = generation else {
                let mut command = redis::cmd("UNSUBSCRIBE");
                command.arg(self.keys.live(&channel));
                self.live.send_all(&command, [Ack::Unregistered]);
                continue;
            };
            let mut command = redis::cmd("SUBSCRIBE");
            let mut acks = Vec::new();
            let mut next = Some((channel, generation));
            while let Some((channel, generation)) = next {
                command.arg(self.keys.live(&channel));
                acks.push(Ack::Registered(channel, generation));
                let another = self
                    .registrations
                    .pop_front_if(|(_, generation)| acks.len() < BATCH && generation.is_some());
                next = another.and_then(|(channel, generation)| Some((channel, generation?)));
            }
            self.live.send_all(&command, acks);
        }
    }

    fn subscribe_to_canary(&mut self) {
        let mut command = redis::cmd("SUBSCRIBE");
        command.arg(&self.canary);
        self.live.send_all(&command, [Ack::Canary]);
    }

    fn on_live_reply(&mut self, reply: Resp) {
        let fields = match reply {
            Resp::Array(fields) => fields,
            // This user may not hear its cluster, say.
            Resp::Error(error) => return self.live.fail(Failure::Refused(error)),
            _ => Vec::new(),
        };
        let Ok([Resp::Text(kind), Resp::Text(name), rest]) = <[Resp; 3]>::try_from(fields) else {
            return self.live.fail(Failure::GivenUp("Redis sent something else than messages"));
        };
        match (&kind[..], rest) {
            (b"message", Resp::Text(payload)) => self.on_message(&name, payload),
            (b"subscribe" | b"unsubscribe", _) => match self.live.answered() {
                Some(Ack::Registered(channel, generation)) => self.sequencer.registered(&channel, generation),
                Some(Ack::Unregistered) => {}
                Some(Ack::Canary) => self.upkeep.canary_audible(),
                None => self.live.fail(Failure::GivenUp("Redis confirmed what was not asked")),
            },
            _ => {}
        }
    }

    fn on_message(&mut self, name: &Bytes, payload: Bytes) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let Some(channel) = self.keys.channel_of(name) else {
            if name == self.canary {
                self.upkeep.canary_returned(&payload, Instant::now());
            }
            return;
        };
        match envelope::decode(payload) {
            Some(Live::Stored { epoch, entries }) => {
                for entry in entries {
                    self.sequencer.live(channel, &epoch, entry);
                }
            }
            Some(Live::Passing(message)) => self.sequencer.pass(channel, message),
            None => tracing::error!(channel, "a live message has a form that this version does not know"),
        }
    }
}
