//! What may happen to one connection, at random.

use std::collections::BTreeSet;

use gateway_core::config::{self, Audience, ChannelOptions, Entrants};
use proptest::prelude::*;

use crate::{
    rules::Rules,
    vocabulary::{Answer, Channel, Command, Name, Token},
};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    Send(Vec<Command>, Form),
    /// A ping that is as large as a message may be, or a byte larger.
    Padded {
        too_large: bool,
        is_compressed: bool,
    },
    Binary,
    /// The client closes, with a code.
    Goodbye(u16),
    /// The backplane answers one of what it was asked.
    Answer(usize, Answer),
    /// Everything that the backplane was asked fails, and deliveries of all channels are lost.
    Outage,
    Deliver(Channel, bool),
    Discontinue(Channel),
    Exchange(Box<Rules>),
    Evict,
    Overflow,
    /// So many seconds pass; the client answers pings.
    Wait(u64),
}

/// How commands are sent.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// In a message of its own each.
    pub separate: bool,
    /// Where that was agreed on.
    pub is_compressed: bool,
}

fn form() -> impl Strategy<Value = Form> {
    any::<(bool, bool)>().prop_map(|(separate, is_compressed)| Form { separate, is_compressed })
}

fn channel() -> impl Strategy<Value = Channel> {
    prop_oneof![2 => Just(Channel::Plain), 1 => Just(Channel::News), 3 => prop::sample::select(&Channel::ALL[..])]
}

fn subscription_token() -> impl Strategy<Value = Token> {
    use Token::*;
    let others = &[Good, Good, Brief, Nameless, Expired, Forged, Foreign, Misplaced][..];
    prop_oneof![1 => Just(Absent), 1 => prop::sample::select(others)]
}

fn connection_token() -> impl Strategy<Value = Token> {
    use Token::*;
    prop_oneof![
        5 => prop::sample::select(&[Absent, Good, Subscribing][..]),
        1 => prop::sample::select(&[Brief, Nameless][..]),
        1 => prop::sample::select(&[SubscribingToUnknown, SubscribingToMany, Expired, Forged, Foreign, Misplaced][..]),
    ]
}

/// Whose connection is refreshed stays, as a rule.
fn refreshing_token() -> impl Strategy<Value = Token> {
    use Token::*;
    prop_oneof![6 => prop::sample::select(&[Good, Good, Brief, Subscribing][..]), 1 => connection_token()]
}

/// The more often a command ends the connection, the rarer it is.
fn command() -> impl Strategy<Value = Command> {
    let subscribe = (channel(), subscription_token(), any::<bool>());
    let subscribe =
        subscribe.prop_map(|(channel, token, recover)| Command::Subscribe { channel, token, recover });
    let sub_refresh = (channel(), subscription_token());
    prop_oneof![
        40 => subscribe,
        10 => channel().prop_map(Command::Unsubscribe),
        30 => channel().prop_map(Command::Publish),
        10 => channel().prop_map(Command::Presence),
        5 => channel().prop_map(Command::PresenceStats),
        20 => channel().prop_map(Command::History),
        5 => prop::sample::select(&[Command::Ping, Command::Rpc, Command::Send, Command::Pong, Command::Unheard][..]),
        6 => sub_refresh.prop_map(|(channel, token)| Command::SubRefresh { channel, token }),
        4 => refreshing_token().prop_map(Command::Refresh),
        1 => connection_token().prop_map(Command::Connect),
    ]
}

fn audience() -> impl Strategy<Value = Audience> {
    use Audience::*;
    prop::sample::select(&[Server, Subscribers, Users, Clients][..])
}

fn options() -> impl Strategy<Value = ChannelOptions> {
    let entrants = prop::sample::select(&[Entrants::Tokens, Entrants::Users, Entrants::Clients][..]);
    let switches = (prop::bool::weighted(0.8), prop::bool::weighted(0.8), any::<bool>());
    (switches, entrants, audience(), audience(), audience()).prop_map(
        |((history, presence, join_leave), subscribe, publish, read_presence, read_history)| ChannelOptions {
            history: history.then(config::History::default),
            presence,
            join_leave,
            subscribe,
            publish,
            read_presence,
            read_history,
        },
    )
}

/// What most installations have, or anything.
fn rules() -> impl Strategy<Value = Rules> {
    let usual =
        || ChannelOptions { history: Some(config::History::default()), presence: true, ..Default::default() };
    let options = || prop_oneof![Just(usual()), options()];
    let news = prop::option::weighted(0.85, options());
    let limit = prop::sample::select(&[4, 4, 2][..]);
    let revoked = prop::collection::btree_set(prop::sample::select(&Name::ALL[..]), 1..4);
    let revoked = prop_oneof![1 => Just(BTreeSet::new()), 1 => revoked];
    (prop::bool::weighted(0.6), revoked, prop::bool::weighted(0.97), limit, options(), news).prop_map(
        |(anonymous, revoked, is_served, subscriptions, plain, news)| Rules {
            anonymous,
            revoked,
            is_served,
            subscriptions,
            plain,
            live: ChannelOptions::default(),
            news,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![
        12 => Just(Answer::Fine),
        1 => prop::sample::select(&[Answer::Busy, Answer::Failed, Answer::TooLarge, Answer::Unrecoverable][..]),
    ];
    let commands = prop::collection::vec(prop_oneof![400 => command(), 1 => Just(Command::Malformed)], 1..12);
    let padded = (prop::bool::weighted(0.2), any::<bool>());
    let padded = padded.prop_map(|(too_large, is_compressed)| Event::Padded { too_large, is_compressed });
    let end = prop_oneof![
        3 => Just(Event::Evict),
        1 => Just(Event::Overflow),
        1 => Just(Event::Binary),
        1 => prop::sample::select(&[1000, 1001, 4000][..]).prop_map(Event::Goodbye),
    ];
    let wait = prop_oneof![3 => 1..4_u64, 1 => 1..40_u64];
    prop_oneof![
        60 => (commands, form()).prop_map(|(commands, form)| Event::Send(commands, form)),
        120 => (0..64_usize, answer).prop_map(|(index, answer)| Event::Answer(index, answer)),
        24 => (channel(), any::<bool>()).prop_map(|(channel, is_large)| Event::Deliver(channel, is_large)),
        6 => channel().prop_map(Event::Discontinue),
        8 => rules().prop_map(|rules| Event::Exchange(Box::new(rules))),
        2 => Just(Event::Outage),
        3 => padded,
        24 => wait.prop_map(Event::Wait),
        3 => end,
    ]
}

/// A connection, what it begins under, and everything that happens to it.
#[derive(Clone, Debug)]
pub struct History {
    pub rules: Rules,
    /// Compression was agreed on.
    pub is_compressed: bool,
    /// There are keys with which to check a token takes long.
    pub is_slow: bool,
    pub events: Vec<Event>,
}

/// A connection begins with a connect command, as a rule with others in the same message.
pub fn history() -> impl Strategy<Value = History> {
    let begin = (connection_token(), prop::collection::vec(command(), 0..6), form());
    let begin = begin.prop_map(|(token, mut commands, form)| {
        commands.insert(0, Command::Connect(token));
        Event::Send(commands, form)
    });
    let first = prop_oneof![9 => begin, 1 => event()];
    (rules(), any::<(bool, bool)>(), first, prop::collection::vec(event(), 0..80)).prop_map(
        |(rules, (is_compressed, is_slow), first, rest)| {
            let rules = Rules { is_served: true, revoked: BTreeSet::new(), ..rules };
            History { rules, is_compressed, is_slow, events: [vec![first], rest].concat() }
        },
    )
}
