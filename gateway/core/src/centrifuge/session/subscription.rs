//! The life of a subscription: asked for, confirmed by the backplane, left or ended.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Arrival, DEPARTURES, Session, Waiting,
    identity::{Grant, PRESENCE_GRACE},
    page::{self, Fit},
    request::{self, MAX_PUBLICATIONS},
};
use crate::{
    backplane::{BackplaneError, Op, Outcome, Publication, Retention, StreamPosition},
    centrifuge::{
        codes::{ErrorCode, UnsubscribeCode},
        command::Subscribe,
        reply::{self, Push, Reply, SubscribeResult},
    },
    hub::ChannelId,
    provisional::ProvisionalEpoch,
    shard::link::Link,
};

/// A subscription that the backplane has not confirmed yet.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) channel: ChannelId,
    recovers: bool,
    /// How much of the channel is kept.
    retention: Option<Retention>,
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
    position: Option<StreamPosition>,
    publications: Vec<Arc<Publication>>,
    recovered: bool,
}

impl Subscribed {
    fn new(
        subscribing: &Subscribing,
        position: Option<StreamPosition>,
        publications: Vec<Arc<Publication>>,
        recovered: bool,
    ) -> Self {
        Self {
            channel: subscribing.channel,
            recovers: subscribing.recovers,
            ttl: subscribing.terms.ttl,
            data: subscribing.terms.data.clone(),
            position,
            publications,
            recovered,
        }
    }

    /// What the client is told.
    pub(super) fn result(&self) -> SubscribeResult<'_> {
        SubscribeResult {
            recoverable: self.position.is_some(),
            positioned: self.position.is_some(),
            position: self.position.as_ref(),
            was_recovering: self.recovers,
            recovered: self.recovered,
            publications: &self.publications,
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
        request::options(&request.channel, link)?;
        self.check_capacity(&request.channel, link)?;
        let (grant, ttl) = self.authorize(&request.channel, &request.token, link)?;
        self.ask(id, &request.channel, Some(request), Terms { grant, ttl, data: None }, link)
    }

    /// Asks the backplane for a channel, from where `request` left off.
    pub(super) fn ask(
        &mut self,
        id: u32,
        channel: &str,
        request: Option<&Subscribe<'_>>,
        terms: Terms,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let retention = request::retention(request::options(channel, link)?);
        let since = request.filter(|request| retention.is_some() && has_position(request));
        let since = since.map(|since| StreamPosition { epoch: (*since.epoch).into(), offset: since.offset });
        let channel = link.hub.join(channel);
        let recovers = request.is_some_and(|request| request.recover);
        let subscribing = Subscribing { channel, recovers, retention, since, terms };
        // A connect command is answered once all of its channels are confirmed, so they all take the same way.
        if retention.is_none() && self.greeting.is_none() && link.hub.is_delivered(channel) {
            let outcome = Outcome::Subscribed { position: None, publications: vec![], recovered: false };
            return self.subscribed(id, subscribing, Ok(outcome), link);
        }
        self.start(id, subscribing, link);
        Ok(())
    }

    /// Has the backplane start deliveries.
    fn start(&mut self, id: u32, subscribing: Subscribing, link: &mut Link<'_>) {
        let channel = link.hub.name(subscribing.channel);
        let (retention, since) = (subscribing.retention, subscribing.since.clone());
        let op = Op::Subscribe { channel, retention, since, limit: MAX_PUBLICATIONS };
        self.request(id, Waiting::Subscribed(Box::new(subscribing)), op, link);
    }

    /// Makes of the backplane's answers what the client is told; nothing while there is more to ask. What the client missed may be more
    /// than a subscribe reads: its first part is then read like history. Whether it is such a part.
    pub(super) fn answered(
        &mut self,
        id: u32,
        mut subscribing: Subscribing,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Option<(Subscribing, Result<Outcome, BackplaneError>, bool)> {
        match (result, subscribing.retention) {
            (Ok(Outcome::Subscribed { position: Some(end), recovered: false, .. }), Some(retention))
                if subscribing.since.as_ref().is_some_and(|since| may_precede(since, &end)) =>
            {
                let (channel, since) = (link.hub.name(subscribing.channel), subscribing.since.clone());
                let limit = MAX_PUBLICATIONS;
                let op = Op::History { channel, retention, since, limit, reverse: false };
                self.request(id, Waiting::Subscribed(Box::new(subscribing)), op, link);
                None
            }
            (Ok(Outcome::History { mut position, publications }), _)
                if page::may_begin_with(publications.first(), link) =>
            {
                position.offset = publications.last().map_or(position.offset, |last| last.offset);
                let part = Outcome::Subscribed { position: Some(position), publications, recovered: true };
                Some((subscribing, Ok(part), true))
            }
            (Ok(Outcome::History { .. }) | Err(BackplaneError::UnrecoverablePosition), _)
                if subscribing.since.is_some() =>
            {
                subscribing.since = None;
                self.start(id, subscribing, link);
                None
            }
            (result, _) => Some((subscribing, result, false)),
        }
    }

    /// Remembers how the connection is to be counted.
    pub(super) fn note_arrival(&mut self, request: &Subscribe<'_>) {
        let arrival = if has_position(request) { Arrival::Recovering } else { Arrival::Subscribing };
        self.arrival = self.arrival.max(arrival);
    }

    /// One subscription per channel, and a bounded number of them.
    fn check_capacity(&self, channel: &str, link: &Link<'_>) -> Result<(), ErrorCode> {
        let id = link.hub.find(channel);
        if id.is_some_and(|id| self.subscriptions.contains(&id) || self.under_way(id).is_some()) {
            return Err(ErrorCode::AlreadySubscribed);
        }
        let limit = link.settings.config.limits.subscriptions as usize;
        if self.subscriptions.len() + self.subscribing() >= limit {
            Err(ErrorCode::LimitExceeded)
        } else {
            Ok(())
        }
    }

    /// Subscriptions that the backplane has not confirmed yet.
    pub(super) fn subscribing(&self) -> usize {
        self.pending.iter().filter(|pending| matches!(pending.waiting, Waiting::Subscribed(_))).count()
    }

    /// Index of the pending command that subscribes to a channel.
    fn under_way(&self, channel: ChannelId) -> Option<usize> {
        self.pending.iter().position(
            |pending| matches!(&pending.waiting, Waiting::Subscribed(subscribing) if subscribing.channel == channel),
        )
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
        let Some((subscribing, mut result, is_part)) = self.answered(id, subscribing, result, link) else {
            return Ok(());
        };
        let fit = result.as_mut().map_or(Fit::All, |outcome| fit(outcome, &mut page::room(link), link));
        match fit {
            Fit::All | Fit::Never if !is_part => {
                let subscribed = self.enter(subscribing, result, link)?;
                self.reply(id, &Reply::Subscribe(subscribed.result()), link);
            }
            Fit::NotNow => {
                link.abandon(subscribing.channel);
                return Err(ErrorCode::TooManyRequests);
            }
            Fit::All | Fit::Never | Fit::Part => {
                let name = link.hub.name(subscribing.channel);
                link.abandon(subscribing.channel);
                if let Ok(Outcome::Subscribed { position, publications, recovered }) = result {
                    let part = Subscribed::new(&subscribing, position, publications, recovered);
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
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<Subscribed, ErrorCode> {
        let channel = subscribing.channel;
        let (position, publications, recovered) = match result {
            Ok(Outcome::Subscribed { position, publications, recovered }) => {
                (position, publications, recovered)
            }
            unexpected => {
                link.abandon(channel);
                return Err(unexpected.err().map_or(ErrorCode::Internal, ErrorCode::from));
            }
        };
        link.hub.joined(channel, link.key.slot);
        self.subscriptions.push(channel);
        let subscribed = Subscribed::new(&subscribing, position, publications, recovered);
        if let Some(grant) = subscribing.terms.grant {
            self.identity.get_or_insert_default().grants.insert(channel, grant);
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
                let grace = self.departure_grace(link);
                self.drop_subscription(channel, grace, link);
            }
        }
        self.reply(id, &Reply::Unsubscribe, link);
        Ok(())
    }

    /// Who leaves deliberately is gone at once, but one that does so again and again is treated like one that may come back: entering in
    /// time it is not announced, so that nobody can have a channel told of it as fast as it sends.
    fn departure_grace(&mut self, link: &Link<'_>) -> Duration {
        let now = u32::try_from(link.now.monotonic.as_secs()).unwrap_or(u32::MAX);
        if self.departed >= now.saturating_add(DEPARTURES) {
            return PRESENCE_GRACE;
        }
        self.departed = self.departed.max(now).saturating_add(1);
        Duration::ZERO
    }

    /// Ends the subscriptions whose token ran out; the client may come back with a new one.
    pub(super) fn expire_subscriptions(&mut self, link: &mut Link<'_>) {
        let Some(identity) = &self.identity else { return };
        let now = link.now.monotonic;
        let expired = identity.grants.iter().filter(|(_, grant)| grant.ends.is_some_and(|ends| ends <= now));
        let expired: Vec<ChannelId> = expired.map(|(channel, _)| *channel).collect();
        for channel in expired {
            let name = link.hub.name(channel);
            self.drop_subscription(channel, PRESENCE_GRACE, link);
            self.push_unsubscribe(&name, UnsubscribeCode::Expired, link);
        }
    }

    pub(super) fn drop_subscription(&mut self, channel: ChannelId, grace: Duration, link: &mut Link<'_>) {
        if self.subscriptions.contains(&channel) {
            self.depart(channel, &link.hub.name(channel), grace, link);
            self.forget(channel);
            link.leave(channel);
        }
    }

    fn forget(&mut self, channel: ChannelId) {
        self.subscriptions.retain(|subscribed| *subscribed != channel);
        if let Some(identity) = &mut self.identity {
            identity.grants.remove(&channel);
        }
    }

    pub(super) fn push_unsubscribe(&self, channel: &str, code: UnsubscribeCode, link: &mut Link<'_>) {
        link.write(|out| reply::push(out, channel, &Push::Unsubscribe(code)));
    }

    /// Tells the backplane that the client is in a channel, where anyone may want to know.
    fn appear(&self, channel: ChannelId, link: &mut Link<'_>) {
        let name = link.hub.name(channel);
        let Ok(options) = request::options(&name, link) else { return };
        if options.presence || options.join_leave {
            let announce = options.join_leave;
            let info = self.info(Some(channel), link);
            link.tell(Op::Enter { channel: name, info, announce });
        }
    }

    /// Tells the backplane that the client is no longer in a channel it appeared in.
    pub(super) fn depart(&self, channel: ChannelId, name: &Arc<str>, grace: Duration, link: &mut Link<'_>) {
        let Ok(options) = request::options(name, link) else { return };
        if options.presence || options.join_leave {
            let announce = options.join_leave;
            let info = self.info(Some(channel), link);
            link.tell(Op::Leave { channel: name.clone(), info, announce, grace });
        }
    }
}

/// Cuts a recovery to what fits: its position is then where its publications end.
pub(super) fn fit(outcome: &mut Outcome, room: &mut usize, link: &Link<'_>) -> Fit {
    let Outcome::Subscribed { position: Some(position), publications, recovered } = outcome else {
        return Fit::All;
    };
    let start = publications.first().map_or(position.offset, |first| first.offset.saturating_sub(1));
    let fit = page::cut(publications, room, link);
    match fit {
        Fit::All => {}
        Fit::Part | Fit::NotNow => {
            position.offset = publications.last().map_or(start, |last| last.offset);
        }
        Fit::Never => *recovered = false,
    }
    fit
}

/// Whether what comes between two places may be in one stream. The position of a channel without a stream stays good in the stream that
/// begins after it.
fn may_precede(since: &StreamPosition, end: &StreamPosition) -> bool {
    since.offset < end.offset && (since.epoch == end.epoch || ProvisionalEpoch::parse(&since.epoch).is_some())
}

/// Whether a client says where it left off.
fn has_position(request: &Subscribe<'_>) -> bool {
    request.recover && !request.epoch.is_empty()
}
