//! What the server tells a client: replies, pushes and pings, each one line of a text message.
//!
//! Every function appends a line to `out`, after a line break when there is one before it, so that several of them make one
//! message. As in the protocol's JSON form, a member that is false, 0 or empty is left out.
//!
//! Bodies: JSON is embedded verbatim, on one line. What came as a raw text message appears as a JSON string, always, even when
//! it happens to read as JSON; a raw binary message appears as a string of standard base64 with padding.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    codes::{ErrorCode, UnsubscribeCode},
    json::{self, Object},
};
use crate::backplane::{ClientInfo, Message, Payload, Publication, StreamPosition};

/// The result of a command.
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// Of `connect`.
    Connect(ConnectResult<'a>),
    /// Of `subscribe`.
    Subscribe(SubscribeResult<'a>),
    /// Of `unsubscribe`.
    Unsubscribe,
    /// Of `publish`.
    Publish,
    /// Of `presence`.
    Presence(&'a [ClientInfo]),
    /// Of `presence_stats`.
    PresenceStats {
        /// Connections present.
        clients: u64,
        /// Users present.
        users: u64,
    },
    /// Of `history`.
    History {
        /// The stream's last position.
        position: &'a StreamPosition,
        /// In the order asked for.
        publications: &'a [Arc<Publication>],
    },
    /// Of `ping`.
    Ping,
    /// Of `refresh`.
    Refresh {
        /// The connection's id.
        client: &'a str,
        /// Seconds until the next refresh is due; absent when the connection does not expire.
        ttl: Option<u32>,
    },
    /// Of `sub_refresh`.
    SubRefresh {
        /// Seconds until the next refresh is due; absent when the subscription does not expire.
        ttl: Option<u32>,
    },
}

/// `ConnectResult`.
#[derive(Clone, Debug)]
pub struct ConnectResult<'a> {
    /// The connection's id.
    pub client: &'a str,
    /// The server's version.
    pub version: &'a str,
    /// The node the client is on.
    pub node: &'a str,
    /// Seconds until a refresh is due; absent when the connection does not expire.
    pub ttl: Option<u32>,
    /// Seconds between pings of the server; the client answers each.
    pub ping: u32,
    /// Server-side subscriptions.
    pub subs: &'a [(&'a str, SubscribeResult<'a>)],
}

/// `SubscribeResult`.
#[derive(Clone, Debug, Default)]
pub struct SubscribeResult<'a> {
    /// The subscription can be recovered.
    pub recoverable: bool,
    /// Publications have offsets that the server watches.
    pub positioned: bool,
    /// The stream's position; absent without history.
    pub position: Option<&'a StreamPosition>,
    /// The client asked for recovery.
    pub was_recovering: bool,
    /// Nothing is missing between where the client was and `position`.
    pub recovered: bool,
    /// What was recovered, in order.
    pub publications: &'a [Arc<Publication>],
    /// Seconds until a refresh is due; absent when the subscription does not expire.
    pub ttl: Option<u32>,
    /// JSON of the application's.
    pub data: Option<&'a [u8]>,
}

/// What happens in a channel, or to a subscription.
#[derive(Clone, Debug)]
pub enum Push<'a> {
    /// A publication.
    Publication(&'a Publication),
    /// A client entered.
    Join(&'a ClientInfo),
    /// A client left.
    Leave(&'a ClientInfo),
    /// The server unsubscribed the client.
    Unsubscribe(UnsubscribeCode),
}

impl<'a> Push<'a> {
    /// What clients are told of a channel's message, if anything.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        match message {
            Message::Publication(publication) => Some(Self::Publication(publication)),
            Message::Join(info) => Some(Self::Join(info)),
            Message::Leave(info) => Some(Self::Leave(info)),
            Message::Discontinued => None,
        }
    }
}

/// Appends a command's result.
pub fn reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    line(out, |o| {
        o.number("id", id.into());
        match reply {
            Reply::Connect(result) => o.object("connect", |o| connect_result(o, result)),
            Reply::Subscribe(result) => o.object("subscribe", |o| subscribe_result(o, result)),
            Reply::Unsubscribe => o.object("unsubscribe", |_| ()),
            Reply::Publish => o.object("publish", |_| ()),
            Reply::Presence(clients) => o.object("presence", |o| {
                o.object("presence", |o| {
                    for info in *clients {
                        o.object(&info.client, |o| client_info(o, info));
                    }
                });
            }),
            Reply::PresenceStats { clients, users } => o.object("presence_stats", |o| {
                o.number("num_clients", *clients);
                o.number("num_users", *users);
            }),
            Reply::History { position, publications } => o.object("history", |o| {
                o.array("publications", publications, |o, p| publication(o, p));
                stream_position(o, position);
            }),
            Reply::Ping => o.object("ping", |_| ()),
            Reply::Refresh { client, ttl } => o.object("refresh", |o| {
                o.string("client", client);
                expiry(o, *ttl);
            }),
            Reply::SubRefresh { ttl } => o.object("sub_refresh", |o| expiry(o, *ttl)),
        }
    });
}

/// Appends a command's failure.
pub fn error(out: &mut Vec<u8>, id: u32, code: ErrorCode) {
    line(out, |o| {
        o.number("id", id.into());
        o.object("error", |o| {
            o.number("code", code.code().into());
            o.string("message", code.message());
            o.flag("temporary", code.temporary());
        });
    });
}

/// Appends what happened in a channel.
pub fn push(out: &mut Vec<u8>, channel: &str, push: &Push<'_>) {
    line(out, |o| {
        o.object("push", |o| {
            o.string("channel", channel);
            match push {
                Push::Publication(p) => o.object("pub", |o| publication(o, p)),
                Push::Join(info) => o.object("join", |o| o.object("info", |o| client_info(o, info))),
                Push::Leave(info) => o.object("leave", |o| o.object("info", |o| client_info(o, info))),
                Push::Unsubscribe(code) => o.object("unsubscribe", |o| {
                    o.number("code", code.code().into());
                    o.string("reason", code.reason());
                }),
            }
        });
    });
}

/// Appends a ping, which the client answers with the same.
pub fn ping(out: &mut Vec<u8>) {
    line(out, |_| ());
}

fn line(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    if !out.is_empty() {
        out.push(b'\n');
    }
    json::object(out, fill);
}

fn connect_result(o: &mut Object<'_>, result: &ConnectResult<'_>) {
    o.string("client", result.client);
    o.string("version", result.version);
    expiry(o, result.ttl);
    if !result.subs.is_empty() {
        o.object("subs", |o| {
            for (channel, sub) in result.subs {
                o.object(channel, |o| subscribe_result(o, sub));
            }
        });
    }
    o.number("ping", result.ping.into());
    o.flag("pong", true);
    o.string("node", result.node);
}

fn subscribe_result(o: &mut Object<'_>, result: &SubscribeResult<'_>) {
    expiry(o, result.ttl);
    o.flag("recoverable", result.recoverable);
    o.flag("positioned", result.positioned);
    if let Some(position) = result.position {
        stream_position(o, position);
    }
    o.flag("was_recovering", result.was_recovering);
    o.flag("recovered", result.recovered);
    if !result.publications.is_empty() {
        o.array("publications", result.publications, |o, p| publication(o, p));
    }
    if let Some(data) = result.data {
        o.raw("data", data);
    }
}

fn stream_position(o: &mut Object<'_>, position: &StreamPosition) {
    o.string("epoch", &position.epoch);
    o.number("offset", position.offset);
}

fn expiry(o: &mut Object<'_>, ttl: Option<u32>) {
    if let Some(ttl) = ttl {
        o.flag("expires", true);
        o.number("ttl", ttl.into());
    }
}

fn publication(o: &mut Object<'_>, publication: &Publication) {
    match &publication.payload {
        Payload::Json(document) => o.raw("data", document),
        Payload::Text(text) => o.string("data", &String::from_utf8_lossy(text)),
        Payload::Binary(bytes) => {
            o.plain("data", |out| out.extend_from_slice(STANDARD.encode(bytes).as_bytes()));
        }
    }
    if publication.offset > 0 {
        o.number("offset", publication.offset);
    }
    if let Some(info) = &publication.info {
        o.object("info", |o| client_info(o, info));
    }
}

fn client_info(o: &mut Object<'_>, info: &ClientInfo) {
    o.string("user", &info.user);
    o.string("client", &info.client);
    if let Some(document) = &info.conn_info {
        o.raw("conn_info", document);
    }
    if let Some(document) = &info.chan_info {
        o.raw("chan_info", document);
    }
}

/// Bytes that a text takes at most as JSON.
#[must_use]
pub fn text_bound(length: usize) -> usize {
    ESCAPED * length
}

/// Bytes that a publication takes at most within an array of them.
#[must_use]
pub fn publication_bound(publication: &Publication) -> usize {
    let body = match &publication.payload {
        Payload::Json(document) => document.len(),
        Payload::Text(text) => text_bound(text.len()),
        Payload::Binary(bytes) => bytes.len().div_ceil(3) * 4,
    };
    MEMBERS + body + publication.info.as_ref().map_or(0, client_info_bound)
}

/// Bytes that a client takes at most among those present.
#[must_use]
pub fn client_info_bound(info: &ClientInfo) -> usize {
    let documents = [&info.conn_info, &info.chan_info].into_iter().flatten().map(Bytes::len);
    MEMBERS + ESCAPED * (2 * info.client.len() + info.user.len()) + documents.sum::<usize>()
}

/// What the names of an object's members take, its numbers and its punctuation.
const MEMBERS: usize = 96;
/// A byte of text that has to be escaped, as in `\u001f`; one that is no UTF-8 takes less.
const ESCAPED: usize = 6;

#[cfg(test)]
mod tests;
