//! Names of keys and of pub/sub channels. All begin with the cluster's prefix; all keys of a channel hash to one slot.

use std::sync::Arc;

const LIVE: &str = "}:live";

/// The names of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Arc<str>,
    /// Of pub/sub channels, which all databases share.
    live: Arc<str>,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        let live = if database == 0 { prefix.into() } else { format!("{prefix}@{database}").into() };
        Self { prefix: prefix.into(), live }
    }

    /// Leases of all nodes: a sorted set by the end of the lease in ms.
    pub(super) fn leases(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// The id of this life of Redis's data.
    pub(super) fn store(&self) -> String {
        format!("{}:store", self.prefix)
    }

    /// Hash of a stream's epoch, last offset and last tag, and of the provisional epoch before.
    pub(super) fn meta(&self, channel: &str) -> String {
        self.of(channel, "meta")
    }

    /// The stream itself.
    pub(super) fn stream(&self, channel: &str) -> String {
        self.of(channel, "stream")
    }

    /// Hash of who is present, by client.
    pub(super) fn members(&self, channel: &str) -> String {
        self.of(channel, "members")
    }

    /// Hash of how many clients each user has there.
    pub(super) fn users(&self, channel: &str) -> String {
        self.of(channel, "users")
    }

    /// The result of the publish with an idempotency key.
    pub(super) fn once(&self, channel: &str, key: &str) -> String {
        format!("{}:{{{channel}}}:once:{key}", self.prefix)
    }

    /// The pub/sub channel of a channel's live messages.
    pub(super) fn live(&self, channel: &str) -> String {
        format!("{}:{{{channel}{LIVE}", self.live)
    }

    /// The channel whose live messages a pub/sub channel carries.
    pub(super) fn channel_of<'a>(&self, live: &'a str) -> Option<&'a str> {
        live.strip_prefix(&*self.live)?.strip_prefix(":{")?.strip_suffix(LIVE)
    }

    /// Set of the channels in which a node has members.
    pub(super) fn node_channels(&self, node: &str) -> String {
        format!("{}:{{node:{node}}}:channels", self.prefix)
    }

    /// The pub/sub channel on which a node hears itself.
    pub(super) fn canary(&self, node: &str) -> String {
        format!("{}:{{node:{node}}}:canary", self.live)
    }

    fn of(&self, channel: &str, what: &str) -> String {
        format!("{}:{{{channel}}}:{what}", self.prefix)
    }
}

/// A node in keys and in members.
pub(super) fn node(node: u64) -> String {
    format!("{node:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_its_live_messages_whatever_its_name() {
        for keys in [Keys::new("mooring", 0), Keys::new("mooring", 7)] {
            for channel in ["chat", "", "a}:live", ":raw:x", "mooring:{a}:live"] {
                assert_eq!(keys.channel_of(&keys.live(channel)), Some(channel));
            }
            assert_eq!(keys.channel_of(&keys.canary("0")), None);
        }
    }

    #[test]
    fn clusters_of_another_prefix_or_database_have_other_live_channels() {
        let names = [Keys::new("a", 0), Keys::new("a", 1), Keys::new("b", 0)];
        for keys in &names {
            let known = names.iter().filter(|other| keys.channel_of(&other.live("c")).is_some());
            assert_eq!(known.count(), 1, "{keys:?}");
        }
    }
}
