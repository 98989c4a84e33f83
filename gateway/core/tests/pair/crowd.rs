//! What clients keep and lose under any sequence of policies, and how fast.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use gateway_core::{
    backplane::{Op, PresenceOp},
    config::{Auth, ChannelOptions, Channels, GatewayConfig, Namespace, ProtocolName, Protocols},
    key::ConnectionKey,
    shard::Opening,
};
use proptest::prelude::*;

use crate::{
    exchange::{keys, raw_with_token, subscribe, with_token},
    node::{Frame, Node, PONG, masked},
};

/// What a policy says.
#[derive(Clone, Debug)]
struct Rules {
    anonymous: bool,
    served: BTreeSet<&'static str>,
    namespaces: BTreeSet<&'static str>,
    seen: BTreeSet<&'static str>,
}

/// A client: what it speaks, whether a token let it in, where it is.
#[derive(Clone, Debug)]
struct Client {
    protocol: &'static str,
    token: bool,
    channels: BTreeSet<&'static str>,
}

const CHANNELS: [&str; 3] = ["room", "a:x", "b:x"];
const RATE: u32 = 4;

impl Rules {
    fn config(&self) -> GatewayConfig {
        let options =
            |name: &str| ChannelOptions { presence: self.seen.contains(name), ..ChannelOptions::default() };
        let namespaces = self.namespaces.iter();
        let namespaces =
            namespaces.map(|name| Namespace { name: (*name).to_owned(), options: options(name) });
        let protocol =
            |name: &&str| if *name == "raw" { ProtocolName::Raw } else { ProtocolName::Centrifuge };
        let mut config = GatewayConfig {
            protocols: Protocols(self.served.iter().map(protocol).collect()),
            auth: Auth { anonymous: self.anonymous, ..Auth::default() },
            channels: Channels { default: options("room"), namespaces: namespaces.collect() },
            ..GatewayConfig::default()
        };
        config.drain.max_reconnects_per_second = RATE;
        config
    }

    fn keeps(&self, client: &Client) -> bool {
        self.served.contains(client.protocol) && (self.anonymous || client.token)
    }

    fn has(&self, channel: &str) -> bool {
        channel == "room" || self.namespaces.contains(&channel[..1])
    }

    fn shows(&self, channel: &str) -> bool {
        self.seen.contains(channel.split(':').next().expect("a part"))
    }
}

fn subset(of: &'static [&'static str], least: usize) -> impl Strategy<Value = BTreeSet<&'static str>> {
    prop::collection::btree_set(prop::sample::select(of), least..=of.len())
}

fn rules() -> impl Strategy<Value = Rules> {
    let served = subset(&["centrifuge", "raw"], 1);
    (any::<bool>(), served, subset(&["a", "b"], 0), subset(&["room", "a", "b"], 0))
        .prop_map(|(anonymous, served, namespaces, seen)| Rules { anonymous, served, namespaces, seen })
}

fn client() -> impl Strategy<Value = Client> {
    let protocol = prop::sample::select(&["centrifuge", "centrifuge", "raw"][..]);
    (protocol, any::<bool>(), subset(&CHANNELS, 0)).prop_map(|(protocol, token, channels)| Client {
        protocol,
        token,
        channels: if protocol == "raw" { BTreeSet::new() } else { channels },
    })
}

/// Connections under a sequence of policies, and what they have of late.
struct Crowd {
    node: Node,
    clients: Vec<(ConnectionKey, Client, bool)>,
    /// How often each is present, by client and channel.
    present: BTreeMap<(Arc<str>, Arc<str>), i32>,
    /// Monotonic times at which a client lost something.
    losses: Vec<Duration>,
}

impl Crowd {
    fn new(first: &Rules, clients: Vec<Client>) -> Self {
        let mut node = Node::with_keys(first.config(), 1, keys());
        let open = |client: Client| {
            let key = match (client.protocol, client.token) {
                ("raw", true) => raw_with_token(&mut node, "room"),
                ("raw", false) => node.open(Opening::raw("room")),
                (_, true) => with_token(&mut node),
                (_, false) => node.connect(),
            };
            client.channels.iter().for_each(|channel| subscribe(&mut node, key, channel));
            node.confirm_subscriptions();
            (key, client, true)
        };
        let clients = clients.into_iter().map(open).collect();
        let mut crowd = Self { node, clients, present: BTreeMap::new(), losses: vec![] };
        crowd.note_presence();
        crowd
    }

    fn note_presence(&mut self) {
        for op in self.node.ops() {
            match op {
                Op::Presence(PresenceOp::Enter { channel, info, .. }) => {
                    *self.present.entry((info.client, channel)).or_default() += 1
                }
                Op::Presence(PresenceOp::Leave { channel, info, .. }) => {
                    *self.present.entry((info.client, channel)).or_default() -= 1
                }
                _ => {}
            }
        }
    }

    /// Lets time pass in small steps, in which clients answer pings and learn what they have lost.
    fn live(&mut self, tenths: u32) {
        for _ in 0..tenths {
            self.node.pass(Duration::from_millis(100));
            let now = self.node.now.monotonic;
            for (key, client, is_open) in &mut self.clients {
                let mut has_lost = false;
                for frame in self.node.frames(*key) {
                    match frame {
                        Frame::Close(..) => (*is_open, has_lost) = (false, true),
                        Frame::Ping => self.node.receive(*key, masked(PONG, b"")),
                        Frame::Text(text) if text == "{}" => self.node.say(*key, "{}"),
                        frame => {
                            let line = &frame.lines()[0]["push"];
                            assert_eq!(line["unsubscribe"]["code"], 2000, "{frame:?}");
                            let channel = line["channel"].as_str().expect("a channel");
                            assert!(client.channels.remove(channel), "told twice of {channel}");
                            has_lost = true;
                        }
                    }
                }
                if has_lost {
                    self.losses.push(now);
                }
            }
            self.note_presence();
        }
    }
}

proptest! {
    #[test]
    fn clients_keep_what_every_policy_gives_them_lose_what_the_last_one_does_not_and_only_so_many_in_a_second(
        clients in prop::collection::vec(client(), 1..30),
        exchanges in prop::collection::vec((rules(), 0..30_u32), 1..5),
    ) {
        let all = || ["centrifuge", "raw", "a", "b", "room"].into_iter().collect::<BTreeSet<_>>();
        let first = Rules { anonymous: true, served: all(), namespaces: ["a", "b"].into(), seen: ["a"].into() };
        let mut crowd = Crowd::new(&first, clients.clone());
        for (rules, tenths) in &exchanges {
            crowd.node.exchange(rules.config(), keys());
            crowd.live(*tenths);
        }
        crowd.live(30 * 10 / RATE + 20);
        let policies: Vec<&Rules> = exchanges.iter().map(|(rules, _)| rules).collect();
        let last = policies[policies.len() - 1];
        for ((key, client, is_open), before) in crowd.clients.iter().zip(&clients) {
            prop_assert!(!is_open || last.keeps(before), "{before:?} is still there");
            prop_assert!(*is_open || policies.iter().any(|rules| !rules.keeps(before)), "{before:?} had to go");
            for channel in before.channels.iter().filter(|_| *is_open) {
                let kept = client.channels.contains(channel);
                prop_assert!(!kept || last.has(channel), "{before:?} is still in {channel}");
                prop_assert!(kept || policies.iter().any(|rules| !rules.has(channel)), "{before:?} lost {channel}");
                let expected = i32::from(kept && last.shows(channel));
                let id = format!("{:016x}-{:04x}-{:08x}-{:08x}", 1, 0, key.slot, key.generation);
                let present = crowd.present.get(&(Arc::from(id), Arc::from(*channel)));
                prop_assert_eq!(present.copied().unwrap_or_default(), expected, "{:?} in {}", before, channel);
            }
        }
        for start in &crowd.losses {
            let second = *start..*start + Duration::from_secs(1);
            let within = crowd.losses.iter().filter(|at| second.contains(*at));
            // The clock of this test is a tenth of a second behind.
            prop_assert!(within.count() <= RATE as usize + 1, "{:?}", crowd.losses);
        }
        for (key, ..) in crowd.clients.clone() {
            crowd.node.hang_up(key);
        }
        crowd.note_presence();
        prop_assert!(crowd.present.values().all(|present| *present == 0), "{:?}", crowd.present);
        prop_assert_eq!(crowd.node.shard.channels(), 0);
    }
}
