//! The channel index of one shard: which of its connections get what a channel delivers.
//!
//! Names are interned, so that a subscription costs its connection four bytes. Both indexes are B-trees: deterministic, without a
//! worst case for crafted names, and a broadcast walks the shard's slab of connections forwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use slab::Slab;

/// An interned channel name. Valid while the channel has a subscriber or a subscription under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelId(u32);

/// The channels of one shard that someone is subscribed to, or about to be.
#[derive(Debug, Default)]
pub struct Hub {
    ids: BTreeMap<Arc<str>, ChannelId>,
    channels: Slab<Channel>,
}

#[derive(Debug)]
struct Channel {
    name: Arc<str>,
    /// Slots of the connections that deliveries go to.
    subscribers: BTreeSet<u32>,
    /// Subscriptions that the backplane has not confirmed yet.
    joining: u32,
    /// The backplane has confirmed that what happens in the channel reaches this shard.
    delivered: bool,
}

/// What the caller has to tell the backplane after a connection left a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a channel that nobody needs any more has to be released"]
pub enum Left {
    /// Others remain.
    Occupied,
    /// Nobody is subscribed or about to be; its id is free again. Release the channel of this name.
    Vacated(Arc<str>),
}

impl Hub {
    /// Registers that a connection is about to subscribe; ends with [`Hub::joined`] or [`Hub::abandon`].
    pub fn join(&mut self, name: &str) -> ChannelId {
        let id = self.ids.get(name).copied().unwrap_or_else(|| self.intern(name));
        if let Some(channel) = self.channels.get_mut(id.index()) {
            channel.joining += 1;
        }
        id
    }

    /// The backplane confirmed: deliveries go to the connection in `slot` from here on.
    pub fn joined(&mut self, id: ChannelId, slot: u32) {
        if let Some(channel) = self.channels.get_mut(id.index()) {
            channel.joining = channel.joining.saturating_sub(1);
            channel.subscribers.insert(slot);
            channel.delivered = true;
        }
    }

    /// Lets the connection in `slot` have whatever is delivered, from whenever it is; [`Hub::leave`] ends it.
    pub fn follow(&mut self, name: &str, slot: u32) -> ChannelId {
        let id = self.ids.get(name).copied().unwrap_or_else(|| self.intern(name));
        if let Some(channel) = self.channels.get_mut(id.index()) {
            channel.subscribers.insert(slot);
        }
        id
    }

    /// What happens in the channel reaches this shard, or no longer does.
    pub fn set_delivered(&mut self, id: ChannelId, delivered: bool) {
        if let Some(channel) = self.channels.get_mut(id.index()) {
            channel.delivered = delivered;
        }
    }

    /// Whether what happens in the channel reaches this shard, so that another subscriber needs nothing from the backplane to get it
    /// too.
    #[must_use]
    pub fn is_delivered(&self, id: ChannelId) -> bool {
        self.channels.get(id.index()).is_some_and(|channel| channel.delivered)
    }

    /// Whether deliveries go to anyone.
    #[must_use]
    pub fn has_subscribers(&self, id: ChannelId) -> bool {
        self.channels.get(id.index()).is_some_and(|channel| !channel.subscribers.is_empty())
    }

    /// The subscription failed, or its connection no longer waits for it.
    pub fn abandon(&mut self, id: ChannelId) -> Left {
        self.leave_with(id, |channel| channel.joining = channel.joining.saturating_sub(1))
    }

    /// The connection in `slot` is no longer subscribed.
    pub fn leave(&mut self, id: ChannelId, slot: u32) -> Left {
        self.leave_with(id, |channel| {
            channel.subscribers.remove(&slot);
        })
    }

    /// The id of a channel that someone is subscribed to, or about to be.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ChannelId> {
        self.ids.get(name).copied()
    }

    /// The name behind an id; empty for an id that is no longer valid.
    #[must_use]
    pub fn name(&self, id: ChannelId) -> Arc<str> {
        self.channels.get(id.index()).map_or_else(|| Arc::from(""), |channel| channel.name.clone())
    }

    /// Slots of a channel's subscribers, ascending.
    pub fn subscribers(&self, id: ChannelId) -> impl Iterator<Item = u32> + '_ {
        self.channels.get(id.index()).into_iter().flat_map(|channel| channel.subscribers.iter().copied())
    }

    /// Channels that someone is subscribed to, or about to be.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there is no such channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    fn intern(&mut self, name: &str) -> ChannelId {
        let name: Arc<str> = Arc::from(name);
        let channel =
            Channel { name: name.clone(), subscribers: BTreeSet::new(), joining: 0, delivered: false };
        // A shard's connections and their subscriptions are bounded far below 2^32.
        let id = ChannelId(u32::try_from(self.channels.insert(channel)).unwrap_or(u32::MAX));
        self.ids.insert(name, id);
        id
    }

    fn leave_with(&mut self, id: ChannelId, change: impl FnOnce(&mut Channel)) -> Left {
        let Some(channel) = self.channels.get_mut(id.index()) else { return Left::Occupied };
        change(channel);
        channel.delivered &= !channel.subscribers.is_empty();
        if channel.joining > 0 || !channel.subscribers.is_empty() {
            return Left::Occupied;
        }
        let name = self.channels.remove(id.index()).name;
        self.ids.remove(&name);
        Left::Vacated(name)
    }
}

impl ChannelId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(hub: &Hub, name: &str) -> Vec<u32> {
        hub.find(name).map(|id| hub.subscribers(id).collect()).unwrap_or_default()
    }

    #[test]
    fn a_connection_gets_deliveries_only_once_the_backplane_confirmed() {
        let mut hub = Hub::default();
        let id = hub.join("a");
        assert_eq!(members(&hub, "a"), Vec::<u32>::new());
        hub.joined(id, 7);
        assert_eq!(members(&hub, "a"), vec![7]);
    }

    #[test]
    fn a_channel_is_delivered_from_its_first_confirmed_subscriber_to_its_last() {
        let mut hub = Hub::default();
        let id = hub.join("a");
        assert!(!hub.is_delivered(id));
        hub.joined(id, 1);
        hub.join("a");
        assert!(hub.is_delivered(id));
        assert_eq!(hub.leave(id, 1), Left::Occupied);
        assert!(!hub.is_delivered(id));
    }

    #[test]
    fn a_follower_gets_deliveries_from_whenever_they_come() {
        let mut hub = Hub::default();
        let id = hub.follow("a", 7);
        assert_eq!(
            (members(&hub, "a"), hub.is_delivered(id), hub.has_subscribers(id)),
            (vec![7], false, true)
        );
        hub.set_delivered(id, true);
        assert!(hub.is_delivered(id));
        hub.set_delivered(id, false);
        assert_eq!((hub.is_delivered(id), hub.leave(id, 7)), (false, Left::Vacated(Arc::from("a"))));
    }

    #[test]
    fn a_channel_is_vacated_by_its_last_subscriber_and_then_forgotten() {
        let mut hub = Hub::default();
        let id = hub.join("a");
        hub.joined(id, 1);
        assert_eq!(hub.join("a"), id);
        hub.joined(id, 2);
        assert_eq!(hub.leave(id, 1), Left::Occupied);
        assert_eq!(hub.leave(id, 2), Left::Vacated(Arc::from("a")));
        assert!(hub.is_empty());
        assert_eq!(hub.find("a"), None);
    }

    #[test]
    fn a_channel_with_a_subscription_under_way_is_not_vacated() {
        let mut hub = Hub::default();
        let id = hub.join("a");
        hub.joined(id, 1);
        hub.join("a");
        assert_eq!(hub.leave(id, 1), Left::Occupied);
        assert_eq!(hub.abandon(id), Left::Vacated(Arc::from("a")));
    }

    #[test]
    fn an_id_that_is_no_longer_valid_changes_nothing() {
        let mut hub = Hub::default();
        let id = hub.join("a");
        assert_eq!(hub.abandon(id), Left::Vacated(Arc::from("a")));
        assert_eq!(hub.leave(id, 1), Left::Occupied);
        assert_eq!(&*hub.name(id), "");
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_a_plain_list_of_pairs(steps in proptest::collection::vec((0u8..4, 0u32..6, any::<bool>()), 0..200)) {
            let mut hub = Hub::default();
            let mut model: BTreeSet<(u8, u32)> = BTreeSet::new();
            for (channel, slot, join) in steps {
                let name = format!("c{channel}");
                if join && !model.contains(&(channel, slot)) {
                    let id = hub.join(&name);
                    hub.joined(id, slot);
                    model.insert((channel, slot));
                } else if !join && model.remove(&(channel, slot)) {
                    let id = hub.find(&name).expect("somebody was subscribed");
                    let vacated = hub.leave(id, slot) != Left::Occupied;
                    prop_assert_eq!(vacated, !model.iter().any(|(c, _)| *c == channel));
                }
                let expected: Vec<u32> = model.iter().filter(|(c, _)| *c == channel).map(|(_, s)| *s).collect();
                prop_assert_eq!(members(&hub, &name), expected);
            }
        }
    }
}
