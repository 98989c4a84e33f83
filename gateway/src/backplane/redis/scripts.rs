//! The scripts, each one atomic in Redis.

use gateway_core::provisional::ProvisionalEpoch;
use redis::Cmd;

use super::keys::Keys;

/// One script and the name that Redis gives it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

/// Every script, loaded whenever a connection begins.
pub(super) struct Scripts {
    pub(super) keys: Keys,
    /// The id of this life of Redis's data.
    pub(super) store: String,
    pub(super) publish: Script,
    pub(super) publish_once: Script,
    pub(super) read: Script,
    pub(super) rotate: Script,
    pub(super) enter: Script,
    pub(super) leave: Script,
    pub(super) presence_stats: Script,
    pub(super) lease: Script,
    pub(super) give_up: Script,
    pub(super) sweep: Script,
}

impl Scripts {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            store: String::new(),
            publish: Script::new(include_str!("scripts/publish.lua")),
            publish_once: Script::new(include_str!("scripts/publish_once.lua")),
            read: Script::new(include_str!("scripts/read.lua")),
            rotate: Script::new(include_str!("scripts/rotate.lua")),
            enter: Script::new(include_str!("scripts/enter.lua")),
            leave: Script::new(include_str!("scripts/leave.lua")),
            presence_stats: Script::new(include_str!("scripts/presence_stats.lua")),
            lease: Script::new(include_str!("scripts/lease.lua")),
            give_up: Script::new(include_str!("scripts/give_up.lua")),
            sweep: Script::new(include_str!("scripts/sweep.lua")),
        }
    }

    /// Whether an epoch is of this life of Redis's data, as far as this node has heard.
    pub(super) fn is_of_this_life(&self, epoch: ProvisionalEpoch) -> bool {
        u32::from_str_radix(&self.store, 16) == Ok(epoch.store)
    }

    /// The commands that load them.
    pub(super) fn load(&self) -> Vec<Cmd> {
        let Self {
            publish,
            publish_once,
            read,
            rotate,
            enter,
            leave,
            presence_stats,
            lease,
            give_up,
            sweep,
            keys: _,
            store: _,
        } = self;
        [publish, publish_once, read, rotate, enter, leave, presence_stats, lease, give_up, sweep]
            .into_iter()
            .map(|script| {
                let mut command = redis::cmd("SCRIPT");
                command.arg("LOAD").arg(script.code);
                command
            })
            .collect()
    }
}

/// A call of a script with its keys; arguments are added to it.
pub(super) fn call(script: &Script, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(&script.hash).arg(keys.len()).arg(keys);
    command
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        time::Duration,
    };

    use gateway_core::{
        backplane::{ClientInfo, Retention},
        sequencer::{Range, Read},
    };
    use redis::Arg;

    use super::*;
    use crate::backplane::redis::requests::History;

    /// What Redis hashes of a key (Redis Cluster specification, "Hash tags").
    fn hashed(key: &str) -> &str {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
        tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
    }

    fn words(command: &Cmd) -> Vec<String> {
        let text = |word: Arg<&[u8]>| match word {
            Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        };
        command.args_iter().map(text).collect()
    }

    /// Every command that calls a script for a channel of this name.
    fn calls(scripts: &Scripts, channel: &str) -> Vec<Cmd> {
        let retention = Retention { size: 1, ttl: Duration::ZERO };
        let client = ClientInfo { client: "c".into(), user: "u".into(), conn_info: None, chan_info: None };
        let range = Range { pivot: None, from: 0, up_to: 1, after: 1 };
        let read = Read { channel: channel.into(), generation: 0, range, bytes: 1 };
        let history = History { size: 1, since: None, limit: 1, bytes: 1, reverse: false };
        vec![
            scripts.append(channel, retention, &[vec![]], None),
            scripts.append(channel, retention, &[vec![]], Some("}key{")),
            scripts.pass(channel, b"", Some("}key{")),
            scripts.read(&read),
            scripts.history(channel, &history),
            scripts.rotate(channel, "epoch"),
            scripts.enter("node", channel, &client, true, true),
            scripts.leave(channel, &client, true),
            scripts.presence_stats(channel),
            scripts.lease("node", Duration::ZERO, true),
            scripts.give_up("node"),
            scripts.sweep("node", channel, "0"),
        ]
    }

    #[test]
    fn no_script_touches_keys_of_two_hash_tags_nor_one_that_is_not_among_its_keys() {
        let scripts = Scripts::new(Keys::new("default/chat", 0));
        let mut codes = BTreeMap::new();
        for load in scripts.load() {
            let code = words(&load).pop().unwrap();
            codes.insert(redis::Script::new(&code).get_hash().to_owned(), code);
        }
        let mut called = BTreeSet::new();
        for channel in ["chat", "a}b", "{a}", "}", "}x", "\\}", "node:node", ""] {
            for call in calls(&scripts, channel) {
                let words = words(&call);
                let count: usize = words[2].parse().unwrap();
                let keys = &words[3..3 + count];
                let tags: BTreeSet<_> = keys.iter().map(|key| hashed(key)).collect();
                assert_eq!(tags.len(), 1, "{channel:?}: {keys:?}");
                let code = &codes[&words[1]];
                for written in
                    code.split("redis.call(").skip(1).filter(|written| !written.starts_with("'TIME')"))
                {
                    let (command, rest) = written.split_once(',').unwrap();
                    let first = rest.trim_start().split([',', ')']).next().unwrap();
                    let is_live = command == "'PUBLISH'" && first.starts_with("ARGV[");
                    assert!(first.starts_with("KEYS[") || is_live, "{command} {first} in {code}");
                }
                called.insert(words[1].clone());
            }
        }
        assert_eq!(called, codes.into_keys().collect::<BTreeSet<_>>(), "each script is looked at");
    }

    #[test]
    fn the_live_channel_of_a_channel_has_the_slot_of_its_stream() {
        let keys = Keys::new("mooring", 0);
        for channel in ["chat", "a}b", "}x", ""] {
            assert_eq!(hashed(&keys.live(channel)), hashed(&keys.stream(channel)), "{channel:?}");
        }
    }
}
