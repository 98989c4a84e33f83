//! The scripts, each one atomic in Redis.

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
    pub(super) sweep: Script,
    pub(super) bury: Script,
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
            sweep: Script::new(include_str!("scripts/sweep.lua")),
            bury: Script::new(include_str!("scripts/bury.lua")),
        }
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
            sweep,
            bury,
            ..
        } = self;
        [publish, publish_once, read, rotate, enter, leave, presence_stats, lease, sweep, bury]
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
