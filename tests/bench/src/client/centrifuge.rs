//! The centrifuge protocol in JSON, as one subscriber speaks it (<https://centrifugal.dev/docs/transports/client_protocol>). Pure.

use std::{rc::Rc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    audit::{Position, Start},
    message::Message,
};

/// First command of a connection.
pub const CONNECT: &str = r#"{"id":1,"connect":{"name":"mooring-fleet"}}"#;
/// Answers a ping.
pub const PONG: &str = "{}";

const CONNECT_ID: u32 = 1;
const SUBSCRIBE_ID: u32 = 2;

/// What a line from the server means.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// To be answered with [`PONG`].
    Ping,
    /// The connect command succeeded.
    Connected {
        /// Name of the gateway.
        node: String,
        /// Longest time between pings; none are sent when zero.
        ping: Duration,
    },
    /// The subscribe command succeeded; what was missed comes with it.
    Subscribed(Start, Vec<Delivery>),
    /// A command failed.
    Failed {
        /// Of the subscribe command; else of the connect command.
        subscribe: bool,
        /// Whether the same command may succeed later.
        temporary: bool,
    },
    /// A message.
    Published(Delivery),
    /// The server ended the subscription; whether the client subscribes again.
    Unsubscribed {
        /// By the code's range.
        again: bool,
    },
    /// Nothing that matters here.
    Other,
}

/// A message and its place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// None in a channel without stream.
    pub offset: Option<u64>,
}

/// Whether a close code forbids to come back (<https://centrifugal.dev/docs/server/codes>).
#[must_use]
pub fn is_terminal(code: u16) -> bool {
    matches!(code, 1009 | 3500..4000 | 4500..5000)
}

/// A subscription over all connections of its client: it knows where it left off.
#[derive(Debug)]
pub struct Subscription {
    channel: String,
    place: Option<Position>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    id: u32,
    error: Option<ErrorReply>,
    connect: Option<ConnectResult>,
    #[serde(borrow)]
    subscribe: Option<SubscribeResult<'a>>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
}

#[derive(Deserialize)]
struct ErrorReply {
    code: u32,
    #[serde(default)]
    temporary: bool,
}

#[derive(Deserialize)]
struct ConnectResult {
    #[serde(default)]
    ping: u64,
    #[serde(default)]
    node: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct SubscribeResult<'a> {
    recoverable: bool,
    was_recovering: bool,
    recovered: bool,
    offset: u64,
    epoch: String,
    #[serde(borrow)]
    publications: Vec<Publication<'a>>,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(rename = "pub", borrow)]
    publication: Option<Publication<'a>>,
    unsubscribe: Option<Unsubscribe>,
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    offset: u64,
}

#[derive(Deserialize)]
struct Unsubscribe {
    code: u32,
}

impl Publication<'_> {
    fn delivery(&self) -> Option<Delivery> {
        let offset = (self.offset > 0).then_some(self.offset);
        Some(Delivery { message: Message::from_text(self.data.get())?, offset })
    }
}

impl Subscription {
    /// To a channel, never confirmed so far.
    #[must_use]
    pub fn new(channel: String) -> Self {
        Self { channel, place: None }
    }

    /// The subscribe command; it asks for what was missed since the place where the subscription left off.
    #[must_use]
    pub fn command(&self) -> String {
        let channel = serde_json::Value::from(self.channel.as_str());
        match &self.place {
            None => format!(r#"{{"id":{SUBSCRIBE_ID},"subscribe":{{"channel":{channel}}}}}"#),
            Some(Position { offset, epoch }) => {
                let epoch = serde_json::Value::from(&**epoch);
                format!(
                    r#"{{"id":{SUBSCRIBE_ID},"subscribe":{{"channel":{channel},"recover":true,"offset":{offset},"epoch":{epoch}}}}}"#
                )
            }
        }
    }

    /// Takes one line from the server; nothing when it is not the protocol's.
    pub fn receive(&mut self, line: &str) -> Option<Event> {
        let line: Line<'_> = serde_json::from_str(line).ok()?;
        Some(match line {
            Line { error: Some(error), id, .. } => {
                Event::Failed { subscribe: id != CONNECT_ID, temporary: error.temporary || error.code < 100 }
            }
            Line { connect: Some(result), .. } => {
                Event::Connected { node: result.node, ping: Duration::from_secs(result.ping) }
            }
            Line { subscribe: Some(result), .. } => self.subscribed(&result),
            Line { push: Some(push), .. } => self.pushed(&push),
            Line { id: 0, .. } => Event::Ping,
            _ => Event::Other,
        })
    }

    fn subscribed(&mut self, result: &SubscribeResult<'_>) -> Event {
        let asked = self.place.is_some();
        let position =
            result.recoverable.then(|| Position { offset: result.offset, epoch: Rc::from(&*result.epoch) });
        self.place.clone_from(&position);
        let start = match (result.was_recovering, result.recovered) {
            (true, false) => Start::NotRecovered(position),
            // Who asked, and is told nothing of it, takes itself to have missed nothing.
            (false, _) if !asked => Start::Fresh(position),
            _ => Start::Recovered,
        };
        let missed = result.publications.iter().filter_map(Publication::delivery).collect();
        Event::Subscribed(start, missed)
    }

    fn pushed(&mut self, push: &Push<'_>) -> Event {
        if let Some(publication) = &push.publication {
            if let Some(place) = &mut self.place {
                place.offset = place.offset.max(publication.offset);
            }
            return publication.delivery().map_or(Event::Other, Event::Published);
        }
        match &push.unsubscribe {
            Some(Unsubscribe { code }) => Event::Unsubscribed { again: *code >= 2500 },
            None => Event::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(sequence: u64, offset: u64) -> Delivery {
        Delivery { message: Message { sequence, sent_micros: 5 }, offset: Some(offset) }
    }

    #[test]
    fn a_subscription_recovers_from_the_last_publication_it_saw() {
        let mut subscription = Subscription::new("news".to_owned());
        assert_eq!(subscription.command(), r#"{"id":2,"subscribe":{"channel":"news"}}"#);
        let fresh =
            subscription.receive(r#"{"id":2,"subscribe":{"recoverable":true,"offset":3,"epoch":"a"}}"#);
        let position = Position { offset: 3, epoch: "a".into() };
        assert_eq!(fresh, Some(Event::Subscribed(Start::Fresh(Some(position)), vec![])));
        let live =
            subscription.receive(r#"{"push":{"channel":"news","pub":{"data":{"n":1,"at":5},"offset":4}}}"#);
        assert_eq!(live, Some(Event::Published(delivery(1, 4))));
        assert_eq!(
            subscription.command(),
            r#"{"id":2,"subscribe":{"channel":"news","recover":true,"offset":4,"epoch":"a"}}"#
        );
    }

    #[test]
    fn what_was_missed_comes_with_the_reply() {
        let mut subscription = Subscription::new("news".to_owned());
        let reply = r#"{"id":2,"subscribe":{"recoverable":true,"was_recovering":true,"recovered":true,"offset":6,"epoch":"a",
            "publications":[{"data":{"n":2,"at":5},"offset":5},{"data":{"text":"somebody else's"},"offset":6}]}}"#;
        assert_eq!(
            subscription.receive(reply),
            Some(Event::Subscribed(Start::Recovered, vec![delivery(2, 5)]))
        );
        assert!(subscription.command().contains(r#""offset":6"#));
    }

    #[test]
    fn a_lost_history_is_told_apart_from_a_fresh_start() {
        let mut subscription = Subscription::new("news".to_owned());
        let reply = r#"{"id":2,"subscribe":{"recoverable":true,"was_recovering":true,"epoch":"b"}}"#;
        let position = Position { offset: 0, epoch: "b".into() };
        assert_eq!(
            subscription.receive(reply),
            Some(Event::Subscribed(Start::NotRecovered(Some(position)), vec![]))
        );
    }

    #[test]
    fn who_asks_to_recover_and_is_told_nothing_of_it_takes_it_for_granted() {
        let mut subscription = Subscription::new("news".to_owned());
        let reply = r#"{"id":2,"subscribe":{"recoverable":true,"offset":3,"epoch":"a"}}"#;
        let position = Position { offset: 3, epoch: "a".into() };
        assert_eq!(
            subscription.receive(reply),
            Some(Event::Subscribed(Start::Fresh(Some(position)), vec![]))
        );
        assert_eq!(subscription.receive(reply), Some(Event::Subscribed(Start::Recovered, vec![])));
    }

    #[test]
    fn the_rest_of_the_protocol_is_understood() {
        let mut subscription = Subscription::new("news".to_owned());
        let node = || Event::Connected { node: "chat-1".to_owned(), ping: Duration::from_secs(25) };
        let cases = [
            ("{}", Some(Event::Ping)),
            (r#"{"id":1,"connect":{"client":"x","node":"chat-1","ping":25,"pong":true}}"#, Some(node())),
            (
                r#"{"id":1,"error":{"code":101,"message":"m"}}"#,
                Some(Event::Failed { subscribe: false, temporary: false }),
            ),
            (
                r#"{"id":2,"error":{"code":100,"message":"m","temporary":true}}"#,
                Some(Event::Failed { subscribe: true, temporary: true }),
            ),
            (
                r#"{"push":{"channel":"news","unsubscribe":{"code":2500}}}"#,
                Some(Event::Unsubscribed { again: true }),
            ),
            (
                r#"{"push":{"channel":"news","unsubscribe":{"code":2000}}}"#,
                Some(Event::Unsubscribed { again: false }),
            ),
            (r#"{"push":{"channel":"news","join":{"info":{}}}}"#, Some(Event::Other)),
            ("hello", None),
        ];
        for (line, event) in cases {
            assert_eq!(subscription.receive(line), event, "{line}");
        }
    }

    #[test]
    fn codes_say_who_may_come_back() {
        assert!([3500, 3999, 4500, 1009].into_iter().all(is_terminal));
        assert!(![1000, 1001, 1006, 1012, 3001, 3012, 4000, 5000].into_iter().any(is_terminal));
    }
}
