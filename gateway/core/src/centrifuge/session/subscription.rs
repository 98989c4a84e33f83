//! The life of a subscription: asked for, confirmed by the backplane, left or ended.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Arrival, DEPARTURES, PRESENCE_GRACE, Session,
    page::{self, Fit},
    pending::Awaited,
    recovery::Answered,
    request::{self, MAX_PUBLICATIONS},
    standing::is_seen,
};
use crate::{
    backplane::{BackplaneError, Followed, Op, Outcome, PresenceOp, Retention, StreamPosition},
    centrifuge::{
        codes::{ErrorCode, UnsubscribeCode},
        command::Subscribe,
        reply::{self, Push, Reply, SubscribeResult},
    },
    hub::ChannelId,
    identity::Grant,
    shard::link::Link,
};

/// A channel that the client is in, and whether the backplane has been told that it is there, so that others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription(u32);

impl Subscription {
    fn new(channel: ChannelId) -> Self {
        Self(channel.with_mark(false))
    }

    fn seen(self, is_seen: bool) -> Self {
        Self(self.channel().with_mark(is_seen))
    }

    pub(super) fn channel(self) -> ChannelId {
        ChannelId::and_mark(self.0).0
    }

    pub(super) fn is_seen(self) -> bool {
        ChannelId::and_mark(self.0).1
    }
}

/// A subscription that the backplane has not confirmed yet.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) channel: ChannelId,
    recovers: bool,
    /// How much of the channel is kept.
    pub(super) retention: Option<Retention>,
    /// Where the client left off, while what it missed is looked for.
    pub(super) since: Option<StreamPosition>,
    terms: Terms,
}

/// What a token says of a subscription.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) grant: Option<Grant>,
    pub(super) ttl: Option<u32>,
    /// JSON for the client.
    pub(super) data: Option<Bytes>,
}

/// A subscription that the backplane has just confirmed.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) channel: ChannelId,
    recovers: bool,
    ttl: Option<u32>,
    data: Option<Bytes>,
    /// Where its deliveries start, if it keeps a stream.
    followed: Option<Followed>,
}

impl Subscribed {
    fn new(subscribing: &Subscribing, followed: Option<Followed>) -> Self {
        Self {
            channel: subscribing.channel,
            recovers: subscribing.recovers,
            ttl: subscribing.terms.ttl,
            data: subscribing.terms.data.clone(),
            followed,
        }
    }

    /// What the client is told.
    pub(super) fn result(&self) -> SubscribeResult<'_> {
        let followed = self.followed.as_ref();
        SubscribeResult {
            recoverable: followed.is_some(),
            positioned: followed.is_some(),
            position: followed.map(|followed| &followed.position),
            was_recovering: self.recovers,
            recovered: followed.is_some_and(|followed| followed.recovered),
            publications: followed.map_or(&[], |followed| &followed.publications),
            ttl: self.ttl,
            data: self.data.as_deref(),
        }
    }
}

impl Session {
    pub(super) fn subscribe(
        &mut self,
        id: u32,
        request: &Subscribe<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        self.note_arrival(request);
        let options = request::options(&request.channel, link)?;
        self.check_capacity(&request.channel, link)?;
        let (grant, ttl) = self.credentials.authorize(&request.channel, &request.token, options, link)?;
        self.ask(id, &request.channel, Some(request), Terms { grant, ttl, data: None }, link)
    }

    /// Asks the backplane for a channel, from where `request` left off, unless what the client missed would find no room.
    pub(super) fn ask(
        &mut self,
        id: u32,
        channel: &str,
        request: Option<&Subscribe<'_>>,
        terms: Terms,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let retention = Retention::of(request::options(channel, link)?);
        let since = request.filter(|request| retention.is_some() && has_position(request));
        let since = since.map(|since| StreamPosition { epoch: (*since.epoch).into(), offset: since.offset });
        if since.is_some() {
            page::shared_bytes(page::room(link))?;
        }
        let channel = link.hub.join(channel);
        let recovers = request.is_some_and(|request| request.recover);
        let subscribing = Subscribing { channel, recovers, retention, since, terms };
        // A connect command is answered once all of its channels are confirmed, so they all take the same way.
        if retention.is_none() && self.greeting.is_none() && link.hub.is_delivered(channel) {
            return self.subscribed(id, subscribing, Ok(Outcome::Done), link);
        }
        self.start(id, subscribing, link);
        Ok(())
    }

    /// Has the backplane start deliveries.
    pub(super) fn start(&mut self, id: u32, subscribing: Subscribing, link: &mut Link<'_>) {
        let channel = link.hub.name(subscribing.channel);
        let (retention, since) = (subscribing.retention, subscribing.since.clone());
        let op = Op::subscribe(channel, retention, since, MAX_PUBLICATIONS);
        self.request(id, Awaited::Subscribed(Box::new(subscribing)), op, link);
    }

    /// Remembers how the connection is to be counted.
    pub(super) fn note_arrival(&mut self, request: &Subscribe<'_>) {
        let arrival = if has_position(request) { Arrival::Recovering } else { Arrival::Subscribing };
        self.arrival = self.arrival.max(arrival);
    }

    /// One subscription per channel, and a bounded number of them.
    fn check_capacity(&self, channel: &str, link: &Link<'_>) -> Result<(), ErrorCode> {
        let id = link.hub.find(channel);
        if id.is_some_and(|id| self.is_subscribed(id) || self.under_way(id).is_some()) {
            return Err(ErrorCode::AlreadySubscribed);
        }
        let limit = link.policy.limits().subscriptions as usize;
        if self.subscriptions.len() + self.subscribing() >= limit {
            Err(ErrorCode::LimitExceeded)
        } else {
            Ok(())
        }
    }

    /// Answers a subscribe command. Of a recovery that is too large the client gets the first part, and then comes again for the rest,
    /// as it does whenever its subscription has insufficient state.
    pub(super) fn subscribed(
        &mut self,
        id: u32,
        subscribing: Subscribing,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let mut room = page::room(link);
        let answered = self.answered(id, subscribing, result, &mut room, link);
        let Some(Answered { subscribing, result, fit }) = answered else { return Ok(()) };
        match fit {
            Fit::All | Fit::Never => {
                let subscribed = self.enter(subscribing, result, link)?;
                self.reply(id, &Reply::Subscribe(subscribed.result()), link);
            }
            Fit::NotNow => {
                link.abandon(subscribing.channel);
                return Err(ErrorCode::TooManyRequests);
            }
            Fit::Part => {
                let name = link.hub.name(subscribing.channel);
                link.abandon(subscribing.channel);
                if let Ok(followed) = result {
                    let part = Subscribed::new(&subscribing, followed);
                    self.reply(id, &Reply::Subscribe(part.result()), link);
                    self.push_unsubscribe(&name, UnsubscribeCode::InsufficientState, link);
                }
            }
        }
        Ok(())
    }

    /// Takes the backplane's answer to [`Self::ask`].
    pub(super) fn enter(
        &mut self,
        subscribing: Subscribing,
        result: Result<Option<Followed>, ErrorCode>,
        link: &mut Link<'_>,
    ) -> Result<Subscribed, ErrorCode> {
        let channel = subscribing.channel;
        let followed = result.inspect_err(|_| link.abandon(channel))?;
        // The policy may be another one than when the client asked.
        let name = link.hub.name(channel);
        if let Err(code) = self.entitlement(&name, subscribing.terms.grant.as_ref(), link) {
            link.abandon(channel);
            return Err(code);
        }
        link.hub.joined(channel, link.key.slot);
        self.subscriptions.push(Subscription::new(channel));
        let subscribed = Subscribed::new(&subscribing, followed);
        if let Some(grant) = subscribing.terms.grant {
            self.credentials.add_grant(channel, grant);
        }
        self.appear(channel, link);
        Ok(subscribed)
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: u32,
        channel: &str,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        if let Some(channel) = link.hub.find(channel) {
            if let Some(index) = self.under_way(channel) {
                // Temporary, so that a client that wants the channel again by now does not take it for a refusal.
                let pending = self.take_pending(index);
                self.fail(pending.command, ErrorCode::Internal, link);
                link.abandon(channel);
            } else {
                let grace = self.departure_grace(channel, link);
                self.drop_subscription(channel, grace, link);
            }
        }
        self.reply(id, &Reply::Unsubscribe, link);
        Ok(())
    }

    /// Who leaves deliberately is gone at once, but one that does so again and again is treated like one that may come back: entering in
    /// time it is not announced, so that nobody can have a channel told of it as fast as it sends, nor many by turns.
    fn departure_grace(&mut self, channel: ChannelId, link: &mut Link<'_>) -> Duration {
        let now = u32::try_from(link.now.monotonic.as_secs()).unwrap_or(u32::MAX);
        if self.departed >= now.saturating_add(DEPARTURES)
            || !link.hub.may_depart(channel, link.now.monotonic)
        {
            return PRESENCE_GRACE;
        }
        self.departed = self.departed.max(now).saturating_add(1);
        Duration::ZERO
    }

    /// Ends the subscriptions whose token ran out; the client may come back with a new one.
    pub(super) fn expire_subscriptions(&mut self, link: &mut Link<'_>) {
        for channel in self.credentials.expired_grants(link.now) {
            let name = link.hub.name(channel);
            self.drop_subscription(channel, PRESENCE_GRACE, link);
            self.push_unsubscribe(&name, UnsubscribeCode::Expired, link);
        }
    }

    pub(super) fn drop_subscription(&mut self, channel: ChannelId, grace: Duration, link: &mut Link<'_>) {
        if self.is_subscribed(channel) {
            self.disappear(channel, grace, link);
            self.forget(channel);
            link.leave(channel);
        }
    }

    fn forget(&mut self, channel: ChannelId) {
        self.subscriptions.retain(|subscription| subscription.channel() != channel);
        self.credentials.remove_grant(channel);
    }

    pub(super) fn push_unsubscribe(&self, channel: &str, code: UnsubscribeCode, link: &mut Link<'_>) {
        link.write(|out| reply::push(out, channel, &Push::Unsubscribe(code)));
    }

    /// Tells the backplane that the client is in a channel, where anyone may want to know.
    pub(super) fn appear(&mut self, channel: ChannelId, link: &mut Link<'_>) {
        let name = link.hub.name(channel);
        let Ok(options) = request::options(&name, link) else { return };
        if is_seen(options) {
            let announce = options.join_leave;
            let info = self.info(Some(channel), link);
            self.mark(channel, true);
            link.tell(PresenceOp::Enter { channel: name, info, announce });
        }
    }

    /// Tells the backplane that the client is no longer in a channel, if it is seen there.
    pub(super) fn disappear(&mut self, channel: ChannelId, grace: Duration, link: &mut Link<'_>) {
        if self.subscriptions.contains(&Subscription::new(channel).seen(true)) {
            self.mark(channel, false);
            self.tell_gone(channel, grace, link);
        }
    }

    pub(super) fn tell_gone(&self, channel: ChannelId, grace: Duration, link: &mut Link<'_>) {
        let name = link.hub.name(channel);
        let announce = request::options(&name, link).is_ok_and(|options| options.join_leave);
        let info = self.info(Some(channel), link);
        link.tell(PresenceOp::Leave { channel: name, info, announce, grace });
    }

    fn mark(&mut self, channel: ChannelId, is_seen: bool) {
        let mut subscriptions = self.subscriptions.iter_mut();
        if let Some(subscription) = subscriptions.find(|subscription| subscription.channel() == channel) {
            *subscription = subscription.seen(is_seen);
        }
    }

    pub(super) fn is_subscribed(&self, channel: ChannelId) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.channel() == channel)
    }
}

/// Whether a client says where it left off.
fn has_position(request: &Subscribe<'_>) -> bool {
    request.recover && !request.epoch.is_empty()
}
