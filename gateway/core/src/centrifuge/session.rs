//! The state machine of one connection of the centrifuge protocol (<https://centrifugal.dev/docs/transports/client_protocol>).
//!
//! A connection first connects, with a token or anonymously, and then subscribes. What the backplane has to answer is kept as
//! [`Pending`] until its completion comes back; an idle connection holds nothing but its credentials and its channels' ids.

mod connect;
mod failure;
mod greeting;
mod page;
mod pending;
mod recovery;
mod request;
mod standing;
mod subscription;

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use smallvec::SmallVec;

use self::{
    failure::Failure,
    greeting::Greeting,
    pending::{Awaited, Pending},
    subscription::Subscription,
};
use super::{
    codes::{DisconnectCode, ErrorCode, UnsubscribeCode},
    command::{Answer, Command, Commands, Method},
    reply::{self, Reply},
};
use crate::{
    backplane::{BackplaneError, Outcome},
    hub::ChannelId,
    identity::Credentials,
    key::{ConnectionKey, RequestId},
    protocol::{Cause, Kind, Parting, Protocol, Received},
    shard::{
        broadcast::{Broadcast, Encoding},
        heartbeat::{Beat, CONNECT_TIMEOUT, Heartbeat, first_beat},
        link::{Link, MAX_WAITING},
    },
    token::CheckedToken,
    transport::{Goodbye, Transport},
};

/// Commands in one message; centrifuge-js sends one for each of its subscriptions when it comes back.
const MAX_COMMANDS: usize = 10_000;

/// How long a client that did not say goodbye stays present, so that a moved client's user is never absent.
const PRESENCE_GRACE: Duration = Duration::from_secs(10);

/// Deliberate departures that are announced at once; then one more each second.
const DEPARTURES: u32 = 16;

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    stage: Stage,
    arrival: Arrival,
    next_request: RequestId,
    subscriptions: SmallVec<[Subscription; 4]>,
    pending: Vec<Pending>,
    /// Of what is pending.
    weight: u32,
    /// Monotonic seconds up to which its deliberate departures are paid for.
    departed: u32,
    credentials: Credentials,
    /// Present while the server-side subscriptions of its token are under way.
    greeting: Option<Box<Greeting>>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its connect command is awaited.
    #[default]
    Connecting,
    /// Its connect command failed in a way that another one may mend.
    Refused,
    /// It may do what its token allows.
    Connected,
    /// The same, and it is being pinged.
    Beating,
}

/// Whether the connection is counted as new or as resumed. It is counted once: after the first message that holds a subscribe
/// command or brings server-side subscriptions (resumed when one of them asks for recovery), or as new when it subscribes to nothing
/// within [`CONNECT_TIMEOUT`] or before its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    #[default]
    Unknown,
    Subscribing,
    Recovering,
    Counted,
}

impl From<DisconnectCode> for Goodbye {
    fn from(code: DisconnectCode) -> Self {
        Self { code: code.code(), reason: code.reason() }
    }
}

impl Protocol for Session {
    fn kind(&self) -> Kind {
        Kind::Centrifuge
    }

    fn goodbye(&self, cause: Cause) -> Goodbye {
        match cause {
            Cause::Moved => DisconnectCode::Shutdown.into(),
            Cause::Slow => DisconnectCode::Slow.into(),
            Cause::Flood => DisconnectCode::TooManyRequests.into(),
        }
    }

    fn first_wake(&self, _: &Link<'_>) -> Duration {
        CONNECT_TIMEOUT
    }

    /// One or more commands. Those that come when too many wait for the backplane are kept for later.
    fn receive(&mut self, message: Received<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        let Received::Text(message) = message else {
            return Err(DisconnectCode::InappropriateProtocol.into());
        };
        let mut commands = Commands::new(message, MAX_COMMANDS);
        let mut from = message;
        while let Some(command) = commands.next() {
            link.tally.received += 1;
            match command.map_err(|error| error.answer()) {
                Ok(command) => self.handle(command, link)?,
                Err(Answer::Reply { id, code }) if self.stage > Stage::Connecting => {
                    self.fail(id, code, link);
                }
                Err(Answer::Reply { .. }) => return Err(DisconnectCode::BadRequest.into()),
                Err(Answer::Disconnect(code)) => return Err(code.into()),
            }
            if self.credentials.is_checking() {
                // The command is handled again when its token has been checked.
                link.tally.received -= 1;
                link.keep_lines(from);
                break;
            }
            if self.is_waiting_for(MAX_WAITING) {
                link.keep_lines(commands.rest());
                break;
            }
            from = commands.rest();
        }
        if self.arrival > Arrival::Unknown {
            self.count_arrival(link);
        }
        Ok(())
    }

    fn complete(
        &mut self,
        request: RequestId,
        result: Result<Outcome, BackplaneError>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        let Some(index) = self.pending.iter().position(|pending| pending.request == request) else {
            return Ok(());
        };
        let Pending { command, awaited, .. } = self.take_pending(index);
        match self.finish(command, awaited, result, link) {
            Ok(()) => {}
            Err(Failure::Error(code)) => self.fail(command, code, link),
            Err(Failure::Disconnect(code)) => return Err(code.into()),
        }
        Ok(())
    }

    fn checked(&mut self, token: CheckedToken) {
        self.credentials.checked(token);
    }

    fn push<'b>(
        &mut self,
        broadcast: &'b mut Broadcast<'_>,
        _: ConnectionKey,
        transport: Transport,
    ) -> Option<&'b Bytes> {
        let limit = broadcast.limit;
        let bytes = broadcast.bytes(Encoding::CentrifugeJson, transport)?;
        if self.hold(bytes, limit) { None } else { Some(bytes) }
    }

    /// The client subscribes again from where it is.
    ///
    /// # Errors
    /// The server subscribed the client to it, who can only start again as a whole.
    fn discontinued(
        &mut self,
        channel: ChannelId,
        name: &Arc<str>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        let by_server = self.credentials.grant(channel).is_some_and(|grant| grant.by_server);
        self.drop_subscription(channel, PRESENCE_GRACE, link);
        if by_server {
            return Err(DisconnectCode::InsufficientState.into());
        }
        self.push_unsubscribe(name, UnsubscribeCode::InsufficientState, link);
        Ok(())
    }

    /// The heartbeat, and what has expired.
    fn beat(&mut self, heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
        self.count_arrival(link);
        match self.stage {
            // Nobody who brought a token is to stay away for what we have not looked at.
            Stage::Connecting | Stage::Refused if self.credentials.is_checking() => {
                return Err(DisconnectCode::TooManyRequests.into());
            }
            Stage::Connecting | Stage::Refused => return Err(DisconnectCode::Stale.into()),
            Stage::Connected => {
                self.stage = Stage::Beating;
                return Ok(first_beat(link.key.generation).saturating_sub(CONNECT_TIMEOUT));
            }
            Stage::Beating => {}
        }
        if self.credentials.are_expired(link.now) {
            return Err(DisconnectCode::Expired.into());
        }
        self.expire_subscriptions(link);
        match heartbeat.regular() {
            Beat::Ping(next) => {
                link.write(reply::ping);
                Ok(next)
            }
            Beat::Rest(next) => Ok(next),
            Beat::Dead => Err(DisconnectCode::NoPong.into()),
        }
    }

    fn is_outdated(&self, link: &Link<'_>) -> bool {
        self.stands_otherwise(link)
    }

    fn adapt(&mut self, link: &mut Link<'_>) -> Result<(), Goodbye> {
        self.stand_corrected(link)
    }

    fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// True also while one command is under way that all others have to wait for.
    fn is_waiting_for(&self, count: usize) -> bool {
        self.greeting.is_some() || self.credentials.is_checking() || self.weight as usize >= count
    }

    /// A client that may be on its way to another node stays present for a while.
    fn end(&mut self, parting: Parting, link: &mut Link<'_>) {
        self.count_arrival(link);
        self.leave_all(parting, link);
    }
}

impl Session {
    fn handle(&mut self, command: Command<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        let Command { id, method } = command;
        let outcome = match method {
            Method::Pong => Ok(()),
            Method::Connect(connect) => return self.connect(id, &connect, link),
            _ if self.stage == Stage::Connecting => return Err(DisconnectCode::BadRequest.into()),
            // No backend takes messages: they are dropped.
            Method::Send(_) => Ok(()),
            // SDKs send what they want to do right behind the connect command, before they can know that it fails.
            _ if self.stage == Stage::Refused => Err(ErrorCode::Internal),
            Method::Subscribe(request) => self.subscribe(id, &request, link),
            Method::Unsubscribe(request) => self.unsubscribe(id, &request.channel, link),
            Method::Publish(request) => self.publish(id, &request, link),
            Method::Presence(request) => self.presence(id, &request.channel, link),
            Method::PresenceStats(request) => self.presence_stats(id, &request.channel, link),
            Method::History(request) => self.history(id, &request, link),
            Method::Ping => {
                self.reply(id, &Reply::Ping, link);
                Ok(())
            }
            // Nor calls, which are told so.
            Method::Rpc(_) => Err(ErrorCode::NotAvailable),
            Method::Refresh(request) => return self.refresh(id, &request, link),
            Method::SubRefresh(request) => self.sub_refresh(id, &request, link),
        };
        match outcome {
            // Its answer comes with its token's.
            Err(_) if self.credentials.is_checking() => {}
            Err(code) => self.fail(id, code, link),
            Ok(()) => {}
        }
        Ok(())
    }

    fn leave_all(&mut self, parting: Parting, link: &mut Link<'_>) {
        self.weight = 0;
        for pending in mem::take(&mut self.pending) {
            if let Awaited::Subscribed(subscribing) = pending.awaited {
                link.abandon(subscribing.channel);
            }
        }
        for subscription in mem::take(&mut self.subscriptions) {
            let channel = subscription.channel();
            if subscription.is_seen() {
                let now = link.now.monotonic;
                let grace = match parting {
                    Parting::ForGood if link.hub.may_depart(channel, now) => Duration::ZERO,
                    Parting::ForGood | Parting::MayReturn => PRESENCE_GRACE,
                };
                self.tell_gone(channel, grace, link);
            }
            link.leave(channel);
        }
    }

    fn count_arrival(&mut self, link: &mut Link<'_>) {
        match mem::replace(&mut self.arrival, Arrival::Counted) {
            Arrival::Counted => {}
            Arrival::Recovering => link.accepted.resumed += 1,
            Arrival::Unknown | Arrival::Subscribing => link.accepted.new += 1,
        }
    }

    fn reply(&self, id: u32, result: &Reply<'_>, link: &mut Link<'_>) {
        link.write(|out| reply::reply(out, id, result));
    }

    fn fail(&self, id: u32, code: ErrorCode, link: &mut Link<'_>) {
        link.write(|out| reply::error(out, id, code));
    }
}
