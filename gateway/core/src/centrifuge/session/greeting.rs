//! Server-side subscriptions: the channels that a connection token names. The backplane confirms each, and then one connect reply
//! tells of them all; what is delivered in between is held back behind it.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Failure, Session, Stage,
    page::{self, Fit},
    recovery::Answered,
    subscription::{Subscribed, Subscribing, Terms},
};
use crate::{
    backplane::{BackplaneError, Outcome},
    centrifuge::{
        codes::{DisconnectCode, ErrorCode},
        command::Connect,
        reply::SubscribeResult,
    },
    identity::Grant,
    protocol::Parting,
    shard::link::Link,
    token::ServerSubscription,
    transport::Goodbye,
};

/// A connect command whose server-side subscriptions are under way.
#[derive(Debug)]
pub(super) struct Greeting {
    ttl: Option<u32>,
    subscribed: Vec<Subscribed>,
    /// Deliveries of channels that are confirmed already; nothing once there were too many to keep.
    held: Option<Vec<Bytes>>,
    held_bytes: usize,
    /// Bytes that further recoveries may take in the connect reply.
    room: usize,
    /// A recovery did not fit: the client has to come again for the rest.
    is_cut: bool,
}

impl Session {
    /// Answers a connect command once its server-side subscriptions are confirmed.
    pub(super) fn greet(
        &mut self,
        id: u32,
        ttl: Option<u32>,
        subscriptions: Vec<ServerSubscription>,
        request: &Connect<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        let limit = link.policy.limits().subscriptions as usize;
        if subscriptions.len() > limit {
            return Err(DisconnectCode::ChannelLimit.into());
        }
        if subscriptions.is_empty() {
            self.welcome(id, ttl, &[], link);
            return Ok(());
        }
        self.greeting = Some(Box::new(Greeting {
            ttl,
            subscribed: vec![],
            held: Some(vec![]),
            held_bytes: 0,
            room: page::room(link),
            is_cut: false,
        }));
        for ServerSubscription { channel, info, data } in subscriptions {
            let left_off = request.subs.get(&*channel);
            left_off.into_iter().for_each(|left_off| self.note_arrival(left_off));
            let token_id = self.credentials.token_id();
            let grant = Some(Grant { token_id, info, by_server: true, ..Grant::default() });
            let terms = Terms { grant, ttl: None, data };
            if let Err(code) = self.ask(id, &channel, left_off, terms, link) {
                self.give_up(link);
                self.fail(id, code, link);
                break;
            }
        }
        Ok(())
    }

    /// Takes the backplane's answer to one of the server-side subscriptions.
    pub(super) fn greeted(
        &mut self,
        id: u32,
        subscribing: Subscribing,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Failure> {
        // The policy may be another one than when the client brought its token.
        if !self.credentials.admit(link.policy) {
            link.abandon(subscribing.channel);
            return Err(Failure::Disconnect(DisconnectCode::PermissionDenied));
        }
        let mut room = self.greeting.as_ref().map_or(0, |greeting| greeting.room);
        let answered = self.answered(id, subscribing, result, &mut room, link);
        let Some(Answered { subscribing, result, fit }) = answered else { return Ok(()) };
        if let Some(greeting) = &mut self.greeting {
            greeting.room = room;
            greeting.is_cut |= matches!(fit, Fit::Part | Fit::NotNow);
        }
        let subscribed = self.enter(subscribing, result, link).inspect_err(|_| self.give_up(link))?;
        if let Some(greeting) = &mut self.greeting {
            greeting.subscribed.push(subscribed);
        }
        if !self.pending.is_empty() {
            return Ok(());
        }
        let Some(greeting) = self.greeting.take() else { return Ok(()) };
        let Some(held) = greeting.held else {
            self.give_up(link);
            return Err(ErrorCode::Internal.into());
        };
        let names: Vec<Arc<str>> = greeting.subscribed.iter().map(|s| link.hub.name(s.channel)).collect();
        let results = greeting.subscribed.iter().map(Subscribed::result);
        let subs: Vec<(&str, SubscribeResult<'_>)> = names.iter().map(|name| &**name).zip(results).collect();
        self.welcome(id, greeting.ttl, &subs, link);
        if greeting.is_cut {
            // What was held comes after what is missing; it is recovered like that.
            return Err(Failure::Disconnect(DisconnectCode::InsufficientState));
        }
        held.into_iter().for_each(|bytes| link.forward(&bytes));
        Ok(())
    }

    /// The connect command fails; the client tries again from the start.
    fn give_up(&mut self, link: &mut Link<'_>) {
        self.greeting = None;
        self.stage = Stage::Refused;
        self.leave_all(Parting::MayReturn, link);
        self.credentials.forget();
    }

    /// Keeps a delivery that has to wait for the connect reply, and says so. With more than `limit` bytes the connect command fails.
    pub(super) fn hold(&mut self, bytes: &Bytes, limit: usize) -> bool {
        let Some(greeting) = &mut self.greeting else { return false };
        greeting.held_bytes += bytes.len();
        if greeting.held_bytes > limit {
            greeting.held = None;
        }
        if let Some(held) = &mut greeting.held {
            held.push(bytes.clone());
        }
        true
    }
}
