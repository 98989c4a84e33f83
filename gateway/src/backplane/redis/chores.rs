//! What a node does about presence without being asked, in an order and at a pace that keep nobody waiting: after an outage it makes
//! its own clients present again, and it clears up after nodes that died.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

use super::members::Members;

/// The cursor that begins a scan, and ends it (SCAN in the Redis documentation).
pub(super) const START: &str = "0";

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Chore {
    /// Note that this node has members in a channel.
    Index(Arc<str>),
    /// Make a client of this node present.
    Enter { channel: Arc<str>, client: Arc<str> },
    /// The same of one that could not be made present, with what its channel needs for it.
    EnterAgain { channel: Arc<str>, client: Arc<str> },
    /// Give up a node whose lease is over.
    GiveUp(Arc<str>),
    /// Read the names of some channels in which a dead node had members, from a place in their set.
    Scan { node: Arc<str>, cursor: Arc<str> },
    /// End the presence of some of a dead node's clients in a channel, from a place among its members.
    Sweep { node: Arc<str>, channel: Arc<str>, cursor: Arc<str> },
    /// Forget a dead node.
    Bury(Arc<str>),
}

/// What is left to do. Chores that are under way are not in here: whoever carried one out says how it goes on.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Channels whose members are to be made present.
    channels: VecDeque<Arc<str>>,
    /// The channel whose turn it is, and its client that had the last one.
    entering: Option<(Arc<str>, Option<Arc<str>>)>,
    /// Channels with clients that Redis did not take.
    missed: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Those whose turn it is again.
    again: BTreeSet<(Arc<str>, Arc<str>)>,
    dead: BTreeMap<Arc<str>, Remains>,
    /// About dead nodes, in no order that matters.
    ready: VecDeque<Chore>,
}

/// What is known of a dead node's channels.
#[derive(Debug)]
struct Remains {
    /// Channels that were read and are not swept.
    unswept: usize,
    /// Where to read on, unless all are.
    cursor: Option<Arc<str>>,
}

impl Chores {
    /// A new connection: what was under way may have got lost, and is found anew.
    pub(super) fn begin(&mut self, members: &Members) {
        *self = Self { channels: members.channels().cloned().collect(), ..Self::default() };
    }

    /// A client could not be made present.
    pub(super) fn missed(&mut self, channel: Arc<str>, client: Arc<str>) {
        self.missed.insert((channel, client));
    }

    /// Those that could not be made present are tried again, each as often as the others.
    pub(super) fn try_again(&mut self) {
        if self.again.is_empty() {
            self.again = mem::take(&mut self.missed);
        }
    }

    /// A node's lease is over.
    pub(super) fn clear_up_after(&mut self, node: &Arc<str>) {
        if !self.dead.contains_key(node) {
            self.dead.insert(node.clone(), Remains { unswept: 0, cursor: Some(START.into()) });
            self.ready.push_back(Chore::GiveUp(node.clone()));
        }
    }

    /// A node is dead; nothing is noted under its name any more.
    pub(super) fn given_up(&mut self, node: &Arc<str>) {
        self.go_on(node);
    }

    /// Names were read.
    pub(super) fn scanned(&mut self, node: &Arc<str>, cursor: &str, channels: Vec<String>) {
        let Some(remains) = self.dead.get_mut(node) else { return };
        remains.cursor = (cursor != START).then(|| cursor.into());
        remains.unswept = channels.len();
        let cursor: Arc<str> = START.into();
        self.ready.extend(channels.into_iter().map(|channel| Chore::Sweep {
            node: node.clone(),
            channel: channel.into(),
            cursor: cursor.clone(),
        }));
        self.go_on(node);
    }

    /// Some members were looked at.
    pub(super) fn swept(&mut self, node: &Arc<str>, channel: &Arc<str>, cursor: &str) {
        let Some(remains) = self.dead.get_mut(node) else { return };
        if cursor == START {
            remains.unswept = remains.unswept.saturating_sub(1);
            self.go_on(node);
        } else {
            let (node, channel) = (node.clone(), channel.clone());
            self.ready.push_back(Chore::Sweep { node, channel, cursor: cursor.into() });
        }
    }

    /// A dead node is forgotten, or what was asked about it came to nothing: it is found again if anything is left.
    pub(super) fn forget(&mut self, node: &Arc<str>) {
        self.dead.remove(node);
        self.ready.retain(|chore| chore.dead_node() != Some(node));
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.entering.is_none() && self.channels.is_empty() && self.again.is_empty()
    }

    /// The next thing to do.
    pub(super) fn next(&mut self, members: &Members) -> Option<Chore> {
        if let Some(chore) = self.ready.pop_front() {
            return Some(chore);
        }
        loop {
            let Some((channel, after)) = &mut self.entering else {
                let Some(channel) = self.channels.pop_front() else { return self.next_again(members) };
                if members.after(&channel, None).is_some() {
                    self.entering = Some((channel.clone(), None));
                    return Some(Chore::Index(channel));
                }
                continue;
            };
            if let Some(client) = members.after(channel, after.as_ref()).cloned() {
                *after = Some(client.clone());
                return Some(Chore::Enter { channel: channel.clone(), client });
            }
            self.entering = None;
        }
    }

    fn next_again(&mut self, members: &Members) -> Option<Chore> {
        loop {
            let (channel, client) = self.again.pop_first()?;
            if members.has(&channel, &client) {
                return Some(Chore::EnterAgain { channel, client });
            }
        }
    }

    /// Reads a dead node's next names once those before them are swept, and buries it after the last of them.
    fn go_on(&mut self, node: &Arc<str>) {
        let Some(remains) = self.dead.get_mut(node).filter(|remains| remains.unswept == 0) else { return };
        let node = node.clone();
        self.ready.push_back(match remains.cursor.take() {
            Some(cursor) => Chore::Scan { node, cursor },
            None => Chore::Bury(node),
        });
    }
}

impl Chore {
    fn dead_node(&self) -> Option<&Arc<str>> {
        match self {
            Self::Index(_) | Self::Enter { .. } | Self::EnterAgain { .. } => None,
            Self::GiveUp(node) | Self::Scan { node, .. } | Self::Sweep { node, .. } | Self::Bury(node) => {
                Some(node)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::backplane::ClientInfo;

    use super::*;
    use crate::backplane::redis::members::{Join, Member};

    fn member(name: &str) -> Member {
        let info = ClientInfo { client: name.into(), user: "u".into(), conn_info: None, chan_info: None };
        Member { info, join: Join::Untold }
    }

    fn drain(chores: &mut Chores, members: &Members) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(chore) = chores.next(members) {
            done.push(match chore {
                Chore::Index(channel) => format!("index {channel}"),
                Chore::Enter { channel, client } => format!("enter {channel} {client}"),
                Chore::EnterAgain { channel, client } => format!("enter {channel} {client} again"),
                Chore::GiveUp(node) => format!("give up {node}"),
                Chore::Scan { node, cursor } => format!("scan {node} {cursor}"),
                Chore::Sweep { node, channel, cursor } => format!("sweep {node} {channel} {cursor}"),
                Chore::Bury(node) => format!("bury {node}"),
            });
        }
        done
    }

    #[test]
    fn every_client_of_the_node_is_made_present_again_and_one_that_left_meanwhile_is_not() {
        let mut members = Members::default();
        for (channel, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")] {
            members.insert(&channel.into(), member(name));
        }
        let mut chores = Chores::default();
        chores.begin(&members);
        assert_eq!(chores.next(&members), Some(Chore::Index("a".into())));
        let first = Chore::Enter { channel: "a".into(), client: "1".into() };
        assert_eq!(chores.next(&members), Some(first));
        members.remove(&"a".into(), "2");
        members.remove(&"b".into(), "1");
        assert_eq!(drain(&mut chores, &members), ["enter a 3", "index c", "enter c 1"]);
        assert!(chores.is_empty());
    }

    #[test]
    fn those_that_redis_did_not_take_are_tried_again_and_nobody_else_and_none_before_the_others() {
        let mut members = Members::default();
        for (channel, name) in [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")] {
            members.insert(&channel.into(), member(name));
        }
        let mut chores = Chores::default();
        chores.begin(&members);
        assert_eq!(chores.next(&members), Some(Chore::Index("a".into())));
        for client in ["1", "2"] {
            chores.missed("a".into(), client.into());
        }
        chores.try_again();
        let rest = ["enter a 1", "enter a 2", "index b", "enter b 1", "index c", "enter c 1"];
        assert_eq!(
            drain(&mut chores, &members),
            [&rest[..], &["enter a 1 again", "enter a 2 again"]].concat()
        );
        for client in ["1", "2"] {
            chores.missed("a".into(), client.into());
        }
        chores.try_again();
        let first = Chore::EnterAgain { channel: "a".into(), client: "1".into() };
        assert_eq!(chores.next(&members), Some(first));
        chores.missed("a".into(), "1".into());
        chores.try_again();
        assert_eq!(drain(&mut chores, &members), ["enter a 2 again"], "who waits longer comes first");
        chores.missed("a".into(), "2".into());
        members.remove(&"a".into(), "1");
        chores.try_again();
        assert_eq!(drain(&mut chores, &members), ["enter a 2 again"], "the other one has left");
        assert!(chores.is_empty());
    }

    #[test]
    fn a_dead_node_is_cleared_up_after_page_by_page_and_then_forgotten() {
        let (mut chores, members, node) = (Chores::default(), Members::default(), Arc::from("n"));
        chores.clear_up_after(&node);
        assert_eq!(drain(&mut chores, &members), ["give up n"]);
        chores.clear_up_after(&node);
        assert_eq!(drain(&mut chores, &members), Vec::<String>::new(), "it is under way");
        chores.given_up(&node);
        assert_eq!(drain(&mut chores, &members), ["scan n 0"]);
        chores.scanned(&node, "7", vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(drain(&mut chores, &members), ["sweep n a 0", "sweep n b 0"]);
        chores.swept(&node, &"a".into(), "5");
        chores.swept(&node, &"b".into(), "0");
        assert_eq!(drain(&mut chores, &members), ["sweep n a 5"]);
        chores.swept(&node, &"a".into(), "0");
        assert_eq!(drain(&mut chores, &members), ["scan n 7"]);
        chores.scanned(&node, "0", vec![]);
        assert_eq!(drain(&mut chores, &members), ["bury n"]);
        chores.forget(&node);
        chores.clear_up_after(&node);
        assert_eq!(drain(&mut chores, &members), ["give up n"], "its lease is over again");
    }
}
