//! What every backplane does. On Redis the two nodes are two; in memory they are one node's two shards.

use std::time::Duration;

use futures::future::join_all;
use gateway_core::{
    backplane::{
        BackplaneError, BusOp, ClientInfo, LogOp, Message, Outcome, PresenceOp, Retention, StreamPosition,
    },
    control::BackplaneHealth,
};

use crate::{
    redis_server::RedisServer,
    support::{Node, RETENTION, client, enter, leave, numbers, presence, publish, text},
};

/// Two shards that share nothing but the backplane.
struct Pair {
    nodes: Vec<Node>,
    _server: Option<RedisServer>,
}

impl Pair {
    fn memory() -> Self {
        Self { nodes: vec![Node::memory()], _server: None }
    }

    async fn redis() -> Self {
        let server = RedisServer::start();
        let nodes = vec![Node::redis(&server, 1).await, Node::redis(&server, 2).await];
        Self { nodes, _server: Some(server) }
    }

    fn first(&mut self) -> &mut crate::support::Shard {
        &mut self.nodes[0].shards[0]
    }

    fn second(&mut self) -> &mut crate::support::Shard {
        &mut self.nodes.last_mut().unwrap().shards[1]
    }
}

/// Each body runs on both backplanes.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Pair::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::Pair::redis().await).await; })*
        }
    };
}

on_both! {
    messages_arrive_everywhere_once_in_order
    publishes_that_come_together_get_a_place_each_and_arrive_in_order
    a_subscriber_that_comes_back_gets_what_it_missed_and_then_what_follows
    a_subscriber_whose_position_is_trimmed_is_told_that_it_missed_something
    a_position_of_another_epoch_is_not_recovered
    a_publish_repeated_with_its_key_delivers_nothing_and_names_the_first_one
    a_channel_without_history_delivers_without_positions
    history_is_read_from_either_end
    a_client_that_left_before_the_first_publication_gets_it_when_it_comes_back
    a_released_channel_delivers_no_more
    clients_and_users_are_counted_as_they_come_and_go
    clients_are_present_from_enter_to_leave_and_the_others_are_told
    a_stopped_backplane_refuses_operations
}

async fn messages_arrive_everywhere_once_in_order(mut pair: Pair) {
    let (start, _, _) = pair.first().subscribe("c", None).await;
    pair.second().subscribe("c", None).await;
    assert_eq!(start.offset, 0);
    let first = pair.nodes[0].publish("c", "1").await.unwrap();
    assert_eq!(first.offset, 1);
    for number in 2..=50 {
        let position = pair.nodes[0].publish("c", &number.to_string()).await.unwrap();
        assert_eq!(position, StreamPosition { offset: number, ..first.clone() });
    }
    assert_eq!(pair.first().texts(50).await, numbers(1..=50));
    assert_eq!(pair.second().texts(50).await, numbers(1..=50));
}

async fn publishes_that_come_together_get_a_place_each_and_arrive_in_order(mut pair: Pair) {
    pair.first().subscribe("c", None).await;
    pair.second().subscribe("d", None).await;
    let handle = pair.nodes[0].handle.clone();
    let together = (1..=30).flat_map(|number| {
        // One with a key goes by itself, but not out of turn.
        let key = (number % 10 == 0).then(|| number.to_string());
        ["c", "d"].map(|channel| {
            handle.call(publish(channel, &number.to_string(), Some(RETENTION), key.as_deref()))
        })
    });
    let outcomes = join_all(together);
    let (outcomes, c) = tokio::join!(outcomes, pair.first().texts(30));
    assert_eq!((c, pair.second().texts(30).await), (numbers(1..=30), numbers(1..=30)));
    let positions: Vec<_> = outcomes
        .into_iter()
        .step_by(2)
        .map(|outcome| match outcome {
            Ok(Outcome::Appended { position }) => position,
            outcome => panic!("{outcome:?}"),
        })
        .collect();
    let expected = (1..=30).map(|offset| StreamPosition { offset, ..positions[0].clone() });
    assert_eq!(positions, expected.collect::<Vec<_>>());
}

async fn a_subscriber_that_comes_back_gets_what_it_missed_and_then_what_follows(mut pair: Pair) {
    let (start, recovered, was_recovered) = pair.first().subscribe("c", None).await;
    assert_eq!((recovered, was_recovered), (vec![], false));
    for number in 1..=9 {
        pair.nodes[0].publish("c", &number.to_string()).await.unwrap();
    }
    let since = StreamPosition { offset: 4, ..start };
    let (position, recovered, was_recovered) = pair.second().subscribe("c", Some(since)).await;
    assert_eq!(position.offset, 9);
    assert_eq!((recovered, was_recovered), (numbers(5..=9), true));
    pair.nodes[0].publish("c", "10").await.unwrap();
    assert_eq!(pair.second().texts(1).await, ["10"]);
    let (_, recovered, was_recovered) = pair.second().subscribe("c", Some(position)).await;
    assert_eq!((recovered, was_recovered), (vec!["10".to_owned()], true));
}

async fn a_subscriber_whose_position_is_trimmed_is_told_that_it_missed_something(mut pair: Pair) {
    let (start, ..) = pair.first().subscribe("c", None).await;
    let small = Retention { size: 3, ..RETENTION };
    for number in 1..=9 {
        pair.nodes[0].handle.call(publish("c", &number.to_string(), Some(small), None)).await.unwrap();
    }
    let (position, recovered, was_recovered) = pair.second().subscribe("c", Some(start)).await;
    assert_eq!((position.offset, recovered, was_recovered), (9, vec![], false));
}

async fn a_position_of_another_epoch_is_not_recovered(mut pair: Pair) {
    let other = StreamPosition { epoch: "other".into(), offset: 0 };
    let (_, recovered, was_recovered) = pair.first().subscribe("c", Some(other.clone())).await;
    assert_eq!((recovered, was_recovered), (vec![], false));
    let op = LogOp::Read {
        channel: "c".into(),
        retention: RETENTION,
        since: Some(other),
        limit: 1,
        bytes: u32::MAX,
        reverse: false,
    };
    assert_eq!(pair.nodes[0].handle.call(op).await, Err(BackplaneError::UnrecoverablePosition));
}

async fn a_publish_repeated_with_its_key_delivers_nothing_and_names_the_first_one(mut pair: Pair) {
    pair.second().subscribe("c", None).await;
    let first = pair.nodes[0].handle.call(publish("c", "once", Some(RETENTION), Some("key"))).await.unwrap();
    let again = pair.nodes[0].handle.call(publish("c", "twice", Some(RETENTION), Some("key"))).await.unwrap();
    assert_eq!(again, first);
    pair.nodes[0].publish("c", "last").await.unwrap();
    assert_eq!(pair.second().texts(2).await, ["once", "last"]);
}

async fn a_channel_without_history_delivers_without_positions(mut pair: Pair) {
    let subscribe = BusOp::Subscribe { channel: "live".into() };
    let outcome = pair.second().call(subscribe).await;
    assert_eq!(outcome, Ok(Outcome::Done));
    for (message, key) in [("a", None), ("b", Some("key")), ("c", Some("key")), ("d", None)] {
        let outcome = pair.nodes[0].handle.call(publish("live", message, None, key)).await;
        assert_eq!(outcome, Ok(Outcome::Done));
    }
    assert_eq!(pair.second().texts(3).await, ["a", "b", "d"]);
}

async fn history_is_read_from_either_end(pair: Pair) {
    for number in 1..=5 {
        let op = publish("c", &number.to_string(), Some(Retention { size: 4, ..RETENTION }), None);
        pair.nodes[0].handle.call(op).await.unwrap();
    }
    let retention = Retention { size: 4, ..RETENTION };
    let read = async |since, limit, reverse| {
        let op = LogOp::Read { channel: "c".into(), retention, since, limit, bytes: u32::MAX, reverse };
        pair.nodes[0].handle.call(op).await.map(|outcome| match outcome {
            Outcome::Read { position, publications } => {
                (position, publications.iter().map(|publication| text(publication)).collect::<Vec<_>>())
            }
            outcome => panic!("{outcome:?}"),
        })
    };
    let (top, none) = read(None, 0, false).await.unwrap();
    assert_eq!((top.offset, none), (5, vec![]));
    let three = Some(StreamPosition { offset: 3, ..top.clone() });
    let trimmed = Some(StreamPosition { offset: 0, ..top });
    assert_eq!(read(None, 9, false).await.unwrap().1, numbers(2..=5));
    assert_eq!(read(None, 2, true).await.unwrap().1, ["5", "4"]);
    assert_eq!(read(three.clone(), 9, false).await.unwrap().1, ["4", "5"]);
    assert_eq!(read(three, 9, true).await.unwrap().1, ["2"]);
    assert_eq!(read(trimmed, 9, false).await, Err(BackplaneError::UnrecoverablePosition));
}

async fn a_client_that_left_before_the_first_publication_gets_it_when_it_comes_back(mut pair: Pair) {
    let (start, ..) = pair.first().subscribe("c", None).await;
    pair.first().call(BusOp::Release { channel: "c".into() }).await.unwrap();
    pair.second().subscribe("c", None).await;
    let (again, _, was_recovered) = pair.first().subscribe("c", Some(start.clone())).await;
    assert_eq!((again.offset, was_recovered), (0, true), "nothing was published, and so nothing missed");
    pair.first().call(BusOp::Release { channel: "c".into() }).await.unwrap();
    for number in 1..=3 {
        pair.nodes[0].publish("c", &number.to_string()).await.unwrap();
    }
    assert_eq!(pair.second().texts(3).await, numbers(1..=3), "who stayed goes on");
    let (position, recovered, was_recovered) = pair.first().subscribe("c", Some(start.clone())).await;
    assert_eq!((position.offset, recovered, was_recovered), (3, numbers(1..=3), true));
    // What came live has offsets only: they count in the epoch that the client was told.
    let two = StreamPosition { offset: 2, ..start };
    let (_, recovered, was_recovered) = pair.first().subscribe("c", Some(two)).await;
    assert_eq!((recovered, was_recovered), (numbers(3..=3), true));
}

async fn a_released_channel_delivers_no_more(mut pair: Pair) {
    pair.second().subscribe("c", None).await;
    assert_eq!(pair.second().call(BusOp::Release { channel: "c".into() }).await, Ok(Outcome::Done));
    pair.nodes[0].publish("c", "unheard").await.unwrap();
    let (position, ..) = pair.second().subscribe("c", None).await;
    assert_eq!(position.offset, 1);
    pair.nodes[0].publish("c", "heard").await.unwrap();
    assert_eq!(pair.second().texts(1).await, ["heard"]);
}

async fn clients_and_users_are_counted_as_they_come_and_go(mut pair: Pair) {
    let enter_as = |name: &str, user: &str| PresenceOp::Enter {
        channel: "c".into(),
        info: ClientInfo { user: user.into(), ..client(name) },
        announce: false,
    };
    let counted = async |pair: &Pair| {
        let node = pair.nodes.last().unwrap();
        node.handle.call(PresenceOp::Count { channel: "c".into() }).await
    };
    for (name, user) in [("1", "a"), ("2", "a"), ("3", "b"), ("3", "b"), ("4", "")] {
        pair.first().call(enter_as(name, user)).await.unwrap();
    }
    // Only what is asked on the same node comes after what was told there.
    pair.nodes[0].presence("c").await;
    assert_eq!(counted(&pair).await, Ok(Outcome::Counted { clients: 4, users: 3 }));
    for (name, user) in [("1", "a"), ("3", "b"), ("3", "b")] {
        let info = ClientInfo { user: user.into(), ..client(name) };
        let op = PresenceOp::Leave { channel: "c".into(), info, announce: false, grace: Duration::ZERO };
        pair.first().call(op).await.unwrap();
    }
    pair.nodes[0].presence("c").await;
    assert_eq!(counted(&pair).await, Ok(Outcome::Counted { clients: 2, users: 2 }));
}

async fn clients_are_present_from_enter_to_leave_and_the_others_are_told(mut pair: Pair) {
    pair.second().subscribe("c", None).await;
    for name in ["b", "a", "a"] {
        assert_eq!(pair.first().call(enter("c", name)).await, Ok(Outcome::Done));
    }
    assert_eq!(pair.second().message().await, Message::Join(client("b").into()));
    assert_eq!(pair.second().message().await, Message::Join(client("a").into()));
    assert_eq!(pair.nodes[0].presence("c").await, ["a", "b"]);
    pair.first().call(leave("c", "b", Duration::ZERO)).await.unwrap();
    assert_eq!(
        pair.second().message().await,
        Message::Leave(client("b").into()),
        "entering twice is told once"
    );
    assert_eq!(pair.nodes[0].presence("c").await, ["a"]);
}

async fn a_stopped_backplane_refuses_operations(mut pair: Pair) {
    assert_eq!(pair.nodes[0].handle.health(), BackplaneHealth::Healthy);
    let node = pair.nodes.remove(0);
    let handle = node.handle.clone();
    node.stop().await;
    assert_eq!(handle.call(presence("c")).await, Err(BackplaneError::Unavailable));
}
