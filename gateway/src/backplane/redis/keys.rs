//! Names of keys and of pub/sub channels. All keys of a channel hash to one slot.

const LIVE: &str = "}:live";
const CHANNEL: &str = "mooring:{";

/// Leases of all nodes: a sorted set by the end of the lease in ms.
pub(super) const LEASES: &str = "mooring:nodes";

/// Hash of a stream's epoch, last offset and last tag.
pub(super) fn meta(channel: &str) -> String {
    format!("{CHANNEL}{channel}}}:meta")
}

/// The stream itself.
pub(super) fn stream(channel: &str) -> String {
    format!("{CHANNEL}{channel}}}:stream")
}

/// Hash of who is present, by client.
pub(super) fn members(channel: &str) -> String {
    format!("{CHANNEL}{channel}}}:members")
}

/// The result of the publish with an idempotency key.
pub(super) fn once(channel: &str, key: &str) -> String {
    format!("{CHANNEL}{channel}}}:once:{key}")
}

/// The pub/sub channel of a channel's live messages.
pub(super) fn live(channel: &str) -> String {
    format!("{CHANNEL}{channel}{LIVE}")
}

/// The channel whose live messages a pub/sub channel carries.
pub(super) fn channel_of(live: &str) -> Option<&str> {
    live.strip_prefix(CHANNEL)?.strip_suffix(LIVE)
}

/// A node in keys and in members.
pub(super) fn node(node: u64) -> String {
    format!("{node:016x}")
}

/// Set of the channels in which a node has members.
pub(super) fn node_channels(node: &str) -> String {
    format!("mooring:{{node:{node}}}:channels")
}

/// The pub/sub channel on which a node hears itself.
pub(super) fn canary(node: &str) -> String {
    format!("mooring:{{node:{node}}}:canary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_its_live_messages_whatever_its_name() {
        for channel in ["chat", "", "a}:live", ":raw:x", "mooring:{a}:live"] {
            assert_eq!(channel_of(&live(channel)), Some(channel));
        }
        assert_eq!(channel_of(&canary("0")), None);
    }
}
