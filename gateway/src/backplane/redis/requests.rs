//! Commands for operations on streams and presence, and what their replies mean.

use std::time::Duration;

use bytes::Bytes;
use gateway_core::{
    backplane::{BackplaneError, ClientInfo, Outcome, Retention, StreamPosition},
    provisional::ProvisionalEpoch,
    resp::Resp,
    sequencer::{Entry, POSITION_OUTLIVES, Page, Range, Read},
};
use redis::Cmd;

use super::{
    envelope::{self, JOINED, LEFT, PASSING},
    scripts::{Scripts, call},
};

/// Beyond this Lua would round an offset (IEEE 754, binary64). No stream comes near; a client may say anything.
const LARGEST_OFFSET: u64 = 1 << 53;
/// How long the result of an idempotency key is kept (`Publish::idempotency_key`).
const REMEMBER_SECONDS: u32 = 300;

/// Members, or names of channels, that are looked at before Redis serves others.
const SCANNED: u32 = 256;

/// A read for `LogOp::Read`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct History {
    pub(super) size: u32,
    pub(super) since: Option<StreamPosition>,
    pub(super) limit: u32,
    pub(super) bytes: usize,
    pub(super) reverse: bool,
}

/// A random epoch, for a stream that has none yet.
fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 12)
}

impl Scripts {
    /// Appends publications to a channel's stream. With an idempotency key there is one.
    pub(super) fn append(
        &self,
        channel: &str,
        retention: Retention,
        bodies: &[Vec<u8>],
        key: Option<&str>,
    ) -> Cmd {
        let mut keys = vec![self.keys.meta(channel), self.keys.stream(channel)];
        keys.extend(key.map(|key| self.keys.once(channel, key)));
        let mut command = call(&self.publish, &keys);
        // One more than asked for: the sequencer compares the tag of the publication before a gap.
        command.arg(self.keys.live(channel)).arg(new_epoch()).arg(u64::from(retention.size) + 1);
        command.arg(milliseconds(retention.ttl)).arg(milliseconds(retention.ttl + POSITION_OUTLIVES));
        command.arg(REMEMBER_SECONDS).arg(&self.store).arg(bodies);
        command
    }

    /// Passes a publication on that no stream keeps.
    pub(super) fn pass(&self, channel: &str, body: &[u8], key: Option<&str>) -> Cmd {
        let envelope = [PASSING, body].concat();
        match key {
            Some(key) => {
                let mut command = call(&self.publish_once, &[self.keys.once(channel, key)]);
                command.arg(self.keys.live(channel)).arg(envelope).arg(REMEMBER_SECONDS);
                command
            }
            None => {
                let mut command = redis::cmd("PUBLISH");
                command.arg(self.keys.live(channel)).arg(envelope);
                command
            }
        }
    }

    pub(super) fn read(&self, read: &Read) -> Cmd {
        let Range { pivot, from, up_to, after } = read.range;
        let mut command = self.read_start(&read.channel, pivot, from);
        command.arg(up_to).arg(after).arg(read.bytes).arg(0);
        command
    }

    pub(super) fn history(&self, channel: &str, history: &History) -> Cmd {
        let since = history.since.as_ref().map(|since| since.offset);
        let mut command = if history.reverse {
            let mut command = self.read_start(channel, since.map(|since| since.saturating_sub(1)), 1);
            command.arg(history.limit).arg(0);
            command
        } else {
            let mut command = self.read_start(channel, Some(since.unwrap_or(0)), 1);
            command.arg(0).arg(history.limit);
            command
        };
        command.arg(history.bytes).arg(history.size);
        command
    }

    pub(super) fn rotate(&self, channel: &str, epoch: &str) -> Cmd {
        let mut command = call(&self.rotate, &[self.keys.meta(channel), self.keys.stream(channel)]);
        command.arg(epoch).arg(new_epoch()).arg(milliseconds(POSITION_OUTLIVES));
        command
    }

    pub(super) fn enter(
        &self,
        node: &str,
        channel: &str,
        info: &ClientInfo,
        announce: bool,
        tell: bool,
    ) -> Cmd {
        let mut member = format!("{node}{}", if announce { 'a' } else { '-' }).into_bytes();
        envelope::encode_client(&mut member, info);
        let mut command = call(&self.enter, &[self.keys.members(channel), self.keys.users(channel)]);
        command
            .arg(&*info.client)
            .arg(member)
            .arg(&*info.user)
            .arg(self.keys.live(channel))
            .arg(client_envelope(JOINED, info, tell));
        command
    }

    /// Tells of a client that came or went.
    pub(super) fn announce(&self, channel: &str, what: &[u8], info: &ClientInfo) -> Cmd {
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.keys.live(channel)).arg(client_envelope(what, info, true));
        command
    }

    pub(super) fn leave(&self, channel: &str, info: &ClientInfo, announce: bool) -> Cmd {
        let mut command = call(&self.leave, &[self.keys.members(channel), self.keys.users(channel)]);
        command
            .arg(&*info.client)
            .arg(&*info.user)
            .arg(self.keys.live(channel))
            .arg(client_envelope(LEFT, info, announce));
        command
    }

    /// Some of the members of a channel.
    pub(super) fn members(&self, channel: &str, cursor: &str) -> Cmd {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.keys.members(channel)).arg(cursor).arg("COUNT").arg(SCANNED);
        command
    }

    pub(super) fn presence_stats(&self, channel: &str) -> Cmd {
        call(&self.presence_stats, &[self.keys.members(channel), self.keys.users(channel)])
    }

    /// Renews a node's lease. `known` when Redis had it a moment ago, and so is to have it still.
    pub(super) fn lease(&self, node: &str, ttl: Duration, known: bool) -> Cmd {
        let mut command = call(&self.lease, &[self.keys.leases()]);
        command.arg(node).arg(milliseconds(ttl)).arg(u8::from(known));
        command
    }

    pub(super) fn give_up(&self, node: &str) -> Cmd {
        let mut command = call(&self.give_up, &[self.keys.leases()]);
        command.arg(node);
        command
    }

    /// Some of the channels in which a node had members.
    pub(super) fn scan(&self, node: &str, cursor: &str) -> Cmd {
        let mut command = redis::cmd("SSCAN");
        command.arg(self.keys.node_channels(node)).arg(cursor).arg("COUNT").arg(SCANNED);
        command
    }

    pub(super) fn sweep(&self, node: &str, channel: &str, cursor: &str) -> Cmd {
        let mut command = call(&self.sweep, &[self.keys.members(channel), self.keys.users(channel)]);
        command.arg(node).arg(self.keys.live(channel)).arg(cursor).arg(SCANNED);
        command
    }

    /// Forgets where a node had members.
    pub(super) fn forget_channels(&self, node: &str) -> Cmd {
        let mut command = redis::cmd("DEL");
        command.arg(self.keys.node_channels(node));
        command
    }

    /// Ends a node's lease.
    pub(super) fn forget_lease(&self, node: &str) -> Cmd {
        let mut command = redis::cmd("ZREM");
        command.arg(self.keys.leases()).arg(node);
        command
    }

    fn read_start(&self, channel: &str, place: Option<u64>, first: u64) -> Cmd {
        let mut command = call(&self.read, &[self.keys.meta(channel), self.keys.stream(channel)]);
        let place = place.map(|place| place.min(LARGEST_OFFSET).to_string()).unwrap_or_default();
        command.arg(&self.store).arg(place).arg(first.min(LARGEST_OFFSET));
        command
    }
}

fn client_envelope(kind: &[u8], info: &ClientInfo, announce: bool) -> Vec<u8> {
    let mut envelope = Vec::new();
    if announce {
        envelope.extend_from_slice(kind);
        envelope::encode_client(&mut envelope, info);
    }
    envelope
}

/// What each of some publishes yields; the reply is the first one's place, or anything else without a stream.
pub(super) fn published(reply: &Resp) -> impl Iterator<Item = Outcome> + use<> {
    let place = if let Resp::Text(place) = reply { envelope::decode_place(place) } else { None };
    (0..).map(move |nth| {
        Outcome::published(
            place.as_ref().map(|(epoch, first)| StreamPosition {
                epoch: epoch.clone(),
                offset: first.saturating_add(nth),
            }),
        )
    })
}

/// The page that a read found.
pub(super) fn page(reply: Resp) -> Option<Page> {
    let Resp::Array(fields) = reply else { return None };
    let [
        Resp::Text(epoch),
        Resp::Text(offset),
        Resp::Text(tag),
        Resp::Text(began),
        Resp::Array(before),
        Resp::Array(after),
    ] = <[Resp; 6]>::try_from(fields).ok()?
    else {
        return None;
    };
    let top = StreamPosition { epoch: std::str::from_utf8(&epoch).ok()?.into(), offset: decimal(&offset)? };
    let began = std::str::from_utf8(&began).ok().and_then(ProvisionalEpoch::parse);
    let entries = before.into_iter().rev().chain(after).map(entry).collect::<Option<Vec<_>>>()?;
    Some(Page { top, began, tag: envelope::decode_tag(&tag), entries })
}

/// One entry of a stream: `[id, [field, body]]`.
fn entry(reply: Resp) -> Option<Entry> {
    let Resp::Array(pair) = reply else { return None };
    let [Resp::Text(id), Resp::Array(fields)] = <[Resp; 2]>::try_from(pair).ok()? else { return None };
    let [_, Resp::Text(body)] = <[Resp; 2]>::try_from(fields).ok()? else { return None };
    let offset = id.split(|&byte| byte == b'-').next()?;
    envelope::decode_body(body, decimal(offset)?)
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What `LogOp::Read` yields.
pub(super) fn history(history: &History, page: Page) -> Result<Outcome, BackplaneError> {
    if let Some(since) = &history.since {
        let first = page.entries.first().map(|entry| entry.publication.offset);
        let next = since.offset.saturating_add(1);
        let gap =
            !history.reverse && history.limit > 0 && page.top.offset > since.offset && first != Some(next);
        if !page.is_of(&since.epoch) || gap {
            return Err(BackplaneError::UnrecoverablePosition);
        }
    }
    let mut publications: Vec<_> = page.entries.into_iter().map(|entry| entry.publication).collect();
    if history.reverse {
        publications.reverse();
    }
    Ok(Outcome::Read { position: page.top, publications })
}

/// What `PresenceOp::Count` yields.
pub(super) fn counted(reply: Resp) -> Option<Outcome> {
    let Resp::Array(fields) = reply else { return None };
    let [Resp::Int(clients), Resp::Int(users)] = <[Resp; 2]>::try_from(fields).ok()? else { return None };
    let number = |count| u64::try_from(count).ok();
    Some(Outcome::Counted { clients: number(clients)?, users: number(users)? })
}

/// Where to read on, and some members with their nodes. What another version wrote and this one cannot read is left out.
pub(super) fn members(reply: Resp) -> Option<(String, Vec<(String, ClientInfo)>)> {
    let Resp::Array(fields) = reply else { return None };
    let [cursor, Resp::Array(items)] = <[Resp; 2]>::try_from(fields).ok()? else { return None };
    let values = items.into_iter().skip(1).step_by(2);
    Some((text(cursor)?, values.filter_map(member).collect()))
}

/// One member: 16 digits of its node, a flag, the client.
fn member(reply: Resp) -> Option<(String, ClientInfo)> {
    let Resp::Text(mut member) = reply else { return None };
    let mut client: Bytes = (member.len() > 17).then(|| member.split_off(17))?;
    let node = std::str::from_utf8(member.get(..16)?).ok()?;
    Some((node.to_owned(), envelope::decode_client(&mut client)?))
}

/// Whether the node's lease is renewed, and whose is over.
pub(super) fn leases(reply: Resp) -> Option<(bool, Vec<String>)> {
    let Resp::Array(fields) = reply else { return None };
    let [Resp::Int(renewed), expired] = <[Resp; 2]>::try_from(fields).ok()? else { return None };
    Some((renewed == 1, texts(expired)))
}

/// Where to sweep on, and how many have gone.
pub(super) fn swept(reply: Resp) -> Option<(String, u32)> {
    let Resp::Array(fields) = reply else { return None };
    let [cursor, Resp::Int(gone)] = <[Resp; 2]>::try_from(fields).ok()? else { return None };
    Some((text(cursor)?, u32::try_from(gone).ok()?))
}

/// Where to read on, and what was read.
pub(super) fn scanned(reply: Resp) -> Option<(String, Vec<String>)> {
    let Resp::Array(fields) = reply else { return None };
    let [cursor, items] = <[Resp; 2]>::try_from(fields).ok()?;
    Some((text(cursor)?, texts(items)))
}

fn text(reply: Resp) -> Option<String> {
    let Resp::Text(text) = reply else { return None };
    String::from_utf8(text.to_vec()).ok()
}

/// Strings of a list; what is none is left out.
fn texts(reply: Resp) -> Vec<String> {
    let Resp::Array(items) = reply else { return Vec::new() };
    items.into_iter().filter_map(text).collect()
}
