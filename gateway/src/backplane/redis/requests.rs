//! Commands for operations on streams and presence, and what their replies mean.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_core::{
    backplane::{BackplaneError, ClientInfo, Outcome, Publication, Retention, StreamPosition},
    resp::Resp,
    sequencer::{Entry, Page, Read},
};
use redis::Cmd;

use super::{
    envelope::{self, JOINED, LEFT, PASSING},
    scripts::{Scripts, call},
};

/// How long a stream's position outlives its publications, so that a client that comes back late learns whether it missed something.
const POSITION_OUTLIVES: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the result of an idempotency key is kept (`Op::Publish`).
const REMEMBER_SECONDS: u32 = 300;

/// Members, or names of channels, that are looked at before Redis serves others.
const SCANNED: u32 = 256;

/// A read for `Op::History`.
#[derive(Debug)]
pub(super) struct History {
    pub(super) size: u32,
    pub(super) since: Option<StreamPosition>,
    pub(super) limit: u32,
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
        command.arg(REMEMBER_SECONDS).arg(bodies);
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
        let mut command = self.read_start(&read.channel);
        command
            .arg(if read.latest { "latest" } else { "first" })
            .arg(read.from)
            .arg("+")
            .arg(read.limit)
            .arg(0);
        command
    }

    pub(super) fn history(&self, channel: &str, history: &History) -> Cmd {
        let mut command = self.read_start(channel);
        let since = history.since.as_ref().map(|since| since.offset);
        if history.reverse {
            let last = since.map_or_else(|| "+".to_owned(), |since| since.saturating_sub(1).to_string());
            command.arg("reverse").arg(1).arg(last);
        } else {
            command.arg("first").arg(since.unwrap_or(0).saturating_add(1)).arg("+");
        }
        command.arg(history.limit).arg(history.size);
        command
    }

    pub(super) fn rotate(&self, channel: &str, epoch: &str) -> Cmd {
        let mut command = call(&self.rotate, &[self.keys.meta(channel), self.keys.stream(channel)]);
        command.arg(epoch).arg(new_epoch()).arg(milliseconds(POSITION_OUTLIVES));
        command
    }

    pub(super) fn enter(&self, node: &str, channel: &str, info: &ClientInfo, announce: bool) -> Cmd {
        let mut member = format!("{node}{}", if announce { 'a' } else { '-' }).into_bytes();
        envelope::encode_client(&mut member, info);
        let mut command = call(&self.enter, &[self.keys.members(channel)]);
        command
            .arg(&*info.client)
            .arg(member)
            .arg(self.keys.live(channel))
            .arg(client_envelope(JOINED, info, announce));
        command
    }

    pub(super) fn leave(&self, channel: &str, info: &ClientInfo, announce: bool) -> Cmd {
        let mut command = call(&self.leave, &[self.keys.members(channel)]);
        command.arg(&*info.client).arg(self.keys.live(channel)).arg(client_envelope(LEFT, info, announce));
        command
    }

    pub(super) fn presence(&self, channel: &str) -> Cmd {
        call(&self.presence, &[self.keys.members(channel), self.keys.leases()])
    }

    pub(super) fn lease(&self, node: &str, ttl: Duration) -> Cmd {
        let mut command = call(&self.lease, &[self.keys.leases()]);
        command.arg(node).arg(milliseconds(ttl));
        command
    }

    /// Some of the channels in which a node had members.
    pub(super) fn scan(&self, node: &str, cursor: &str) -> Cmd {
        let mut command = redis::cmd("SSCAN");
        command.arg(self.keys.node_channels(node)).arg(cursor).arg("COUNT").arg(SCANNED);
        command
    }

    pub(super) fn sweep(&self, node: &str, channel: &str, cursor: &str) -> Cmd {
        let mut command = call(&self.sweep, &[self.keys.members(channel), self.keys.leases()]);
        command.arg(node).arg(self.keys.live(channel)).arg(cursor).arg(SCANNED);
        command
    }

    pub(super) fn bury(&self, node: &str) -> Cmd {
        let mut command = call(&self.bury, &[self.keys.leases(), self.keys.node_channels(node)]);
        command.arg(node);
        command
    }

    fn read_start(&self, channel: &str) -> Cmd {
        let mut command = call(&self.read, &[self.keys.meta(channel), self.keys.stream(channel)]);
        command.arg(new_epoch()).arg(milliseconds(POSITION_OUTLIVES));
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
    (0..).map(move |nth| Outcome::Published {
        position: place
            .as_ref()
            .map(|(epoch, first)| StreamPosition { epoch: epoch.clone(), offset: first.saturating_add(nth) }),
    })
}

/// The page that a read found.
pub(super) fn page(reply: Resp) -> Option<Page> {
    let Resp::Array(fields) = reply else { return None };
    let [Resp::Text(epoch), Resp::Text(offset), Resp::Text(tag), Resp::Array(entries)] =
        <[Resp; 4]>::try_from(fields).ok()?
    else {
        return None;
    };
    let top = StreamPosition { epoch: std::str::from_utf8(&epoch).ok()?.into(), offset: decimal(&offset)? };
    let entries = entries.into_iter().map(entry).collect::<Option<Vec<_>>>()?;
    Some(Page { top, tag: envelope::decode_tag(&tag), entries })
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

/// What `Op::History` yields.
pub(super) fn history(history: &History, page: Page) -> Result<Outcome, BackplaneError> {
    let publications: Vec<Arc<Publication>> =
        page.entries.into_iter().map(|entry| entry.publication).collect();
    if let Some(since) = &history.since {
        let first = publications.first().map(|publication| publication.offset);
        let next = since.offset.saturating_add(1);
        let gap =
            !history.reverse && history.limit > 0 && page.top.offset > since.offset && first != Some(next);
        if since.epoch != page.top.epoch || gap {
            return Err(BackplaneError::UnrecoverablePosition);
        }
    }
    Ok(Outcome::History { position: page.top, publications })
}

/// What `Op::Presence` yields.
pub(super) fn presence(reply: Resp) -> Option<Outcome> {
    let Resp::Array(members) = reply else { return None };
    // What another version wrote and this one cannot read is left out.
    let mut clients: Vec<_> = members.into_iter().filter_map(member).collect();
    clients.sort_by(|a, b| a.client.cmp(&b.client));
    Some(Outcome::Presence { clients })
}

/// One member: 16 digits of its node, a flag, the client.
fn member(reply: Resp) -> Option<ClientInfo> {
    let Resp::Text(mut member) = reply else { return None };
    let mut client: Bytes = (member.len() > 17).then(|| member.split_off(17))?;
    envelope::decode_client(&mut client)
}

/// Whether Redis knew the node, and whose lease is over.
pub(super) fn leases(reply: Resp) -> Option<(bool, Vec<String>)> {
    let Resp::Array(fields) = reply else { return None };
    let [Resp::Int(added), expired] = <[Resp; 2]>::try_from(fields).ok()? else { return None };
    Some((added == 0, texts(expired)))
}

/// Where to read on, and what was read.
pub(super) fn scanned(reply: Resp) -> Option<(String, Vec<String>)> {
    let Resp::Array(fields) = reply else { return None };
    let [cursor, items] = <[Resp; 2]>::try_from(fields).ok()?;
    Some((text(cursor)?, texts(items)))
}

pub(super) fn text(reply: Resp) -> Option<String> {
    let Resp::Text(text) = reply else { return None };
    String::from_utf8(text.to_vec()).ok()
}

/// Strings of a list; what is none is left out.
fn texts(reply: Resp) -> Vec<String> {
    let Resp::Array(items) = reply else { return Vec::new() };
    items.into_iter().filter_map(text).collect()
}
