//! The connection that carries live messages, and what the sequencer makes of them.

use std::{mem, sync::Arc, time::Instant};

use bytes::Bytes;
use gateway_core::{
    resp::Resp,
    sequencer::{Effect, Generation},
};

use super::{
    actor::Actor,
    envelope::{self, Live},
    keys,
    pending::Ack,
    wire::Event,
};

/// Channels per SUBSCRIBE; Redis serves others in between.
const BATCH: usize = 512;

impl Actor {
    pub(super) async fn on_live(&mut self, event: Event) {
        match event {
            Event::Up => {
                self.acks.clear();
                self.subscribe_to_canary();
                self.sequencer.connected();
                self.upkeep.live_up(Instant::now());
            }
            Event::Replies(replies) => {
                for reply in replies {
                    self.on_live_reply(reply);
                }
            }
            Event::Down(error) => {
                self.trouble("live messages", &error, Instant::now());
                self.sequencer.disconnected();
            }
        }
        self.carry_out().await;
        self.keep_health(Instant::now());
    }

    /// Does what the sequencer asks for, and what follows from that.
    pub(super) async fn carry_out(&mut self) {
        let mut registrations = Vec::new();
        loop {
            let effects = self.sequencer.take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Register { channel, generation } => {
                        registrations.push((channel, generation));
                        if registrations.len() == BATCH {
                            self.send_registrations(mem::take(&mut registrations));
                        }
                    }
                    Effect::Unregister { channel } => {
                        self.send_registrations(mem::take(&mut registrations));
                        self.live.send(redis::cmd("UNSUBSCRIBE").arg(keys::live(&channel)));
                        self.acks.push_back(Ack::Unregistered);
                    }
                    Effect::Read(read) => self.send_read(&read),
                    Effect::Rotate { channel, generation, epoch } => {
                        tracing::warn!(%channel, "Redis lost publications of the channel that were delivered; its epoch is over");
                        self.send_rotation(channel, generation, &epoch);
                    }
                    Effect::Deliver { channel, shards, message } => {
                        self.inboxes.deliver(shards, &channel, &message).await;
                    }
                    Effect::Complete { ticket, result } => {
                        if let Some(reply) = self.subscribes.remove(&ticket) {
                            self.inboxes.complete(reply, result).await;
                        }
                    }
                }
            }
        }
        self.send_registrations(registrations);
    }

    fn send_registrations(&mut self, registrations: Vec<(Arc<str>, Generation)>) {
        if registrations.is_empty() {
            return;
        }
        let mut command = redis::cmd("SUBSCRIBE");
        for (channel, generation) in registrations {
            command.arg(keys::live(&channel));
            self.acks.push_back(Ack::Registered(channel, generation));
        }
        self.live.send(&command);
    }

    fn subscribe_to_canary(&mut self) {
        self.live.send(redis::cmd("SUBSCRIBE").arg(keys::canary(&self.node)));
        self.acks.push_back(Ack::Canary);
    }

    fn on_live_reply(&mut self, reply: Resp) {
        let Resp::Array(fields) = reply else {
            return self.live.fail("Redis sent something else than messages");
        };
        let Ok([Resp::Text(kind), Resp::Text(name), rest]) = <[Resp; 3]>::try_from(fields) else {
            return self.live.fail("Redis sent something else than messages");
        };
        match (&kind[..], rest) {
            (b"message", Resp::Text(payload)) => self.on_message(&name, payload),
            (b"subscribe" | b"unsubscribe", _) => match self.acks.pop_front() {
                Some(Ack::Registered(channel, generation)) => self.sequencer.registered(&channel, generation),
                Some(Ack::Unregistered) => {}
                Some(Ack::Canary) => self.upkeep.canary_audible(),
                None => self.live.fail("Redis confirmed what was not asked"),
            },
            _ => {}
        }
    }

    fn on_message(&mut self, name: &Bytes, payload: Bytes) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let Some(channel) = keys::channel_of(name) else {
            if name == keys::canary(&self.node) {
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
