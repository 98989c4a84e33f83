//! Redis goes away in every way it can.

use std::time::Duration;

use gateway_core::backplane::{
    BackplaneError, BusOp, ClientInfo, Message, Outcome, PresenceOp, StreamPosition,
};

use crate::{
    redis_server::RedisServer,
    support::{Node, RETENTION, client, enter, is_present, leave, numbers, presence, publish, until},
};

/// More than may wait for Redis to come back.
const DEPARTURES: usize = 262_144 + 64;

/// Milliseconds, as leases have them.
fn now() -> String {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().to_string()
}

#[tokio::test]
async fn messages_published_while_live_messages_are_cut_off_arrive_in_order_once() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    node.shards[0].subscribe("c", None).await;
    for number in 1..=60 {
        if number % 20 == 0 {
            server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        node.publish("c", &number.to_string()).await.unwrap();
    }
    assert_eq!(node.shards[0].texts(60).await, numbers(1..=60));
}

#[tokio::test]
async fn subscribers_without_history_are_told_when_live_messages_were_cut_off() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    let subscribe = || BusOp::Subscribe { channel: "live".into() };
    node.shards[0].call(subscribe()).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(node.shards[0].message().await, Message::Discontinued);
    node.shards[0].call(subscribe()).await.unwrap();
    node.handle.call(publish("live", "heard", None, None)).await.unwrap();
    assert_eq!(node.shards[0].texts(1).await, ["heard"]);
}

#[tokio::test]
async fn a_killed_redis_that_kept_its_file_loses_nothing() {
    let mut server = RedisServer::start();
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    for node in &mut nodes {
        node.shards[0].subscribe("c", None).await;
    }
    let mut published = 0;
    for round in 0..3 {
        for _ in 0..20 {
            published += 1;
            // Whether an unanswered publish was carried out, its key tells.
            let key = published.to_string();
            let op = || publish("c", &key, Some(RETENTION), Some(&key));
            until("published", async || nodes[published % 2].handle.call(op()).await.is_ok()).await;
        }
        if round < 2 {
            server.kill();
            server.start_again();
        }
    }
    for node in &mut nodes {
        assert_eq!(node.shards[0].texts(published).await, numbers(1..=published));
        node.healthy().await;
    }
}

#[tokio::test]
async fn a_redis_that_lost_everything_discontinues_its_channels() {
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    let (start, ..) = node.shards[0].subscribe("c", None).await;
    node.publish("c", "1").await.unwrap();
    assert_eq!(node.shards[0].texts(1).await, ["1"]);
    server.kill();
    server.lose_everything();
    server.start_again();
    assert_eq!(node.shards[0].message().await, Message::Discontinued);
    let since = StreamPosition { offset: 1, ..start.clone() };
    let (position, recovered, was_recovered) = node.shards[0].subscribe("c", Some(since)).await;
    assert_eq!((position.offset, recovered, was_recovered), (0, vec![], false));
    assert_ne!(position.epoch, start.epoch);
}

#[tokio::test]
async fn who_followed_a_channel_from_before_its_first_message_is_told_when_redis_was_emptied_under_its_gateways()
 {
    let server = RedisServer::start();
    let mut follower = Node::redis(&server, 1).await;
    let publisher = Node::redis(&server, 2).await;
    let (start, ..) = follower.shards[0].subscribe("c", None).await;
    publisher.publish("c", "before").await.unwrap();
    assert_eq!(follower.shards[0].texts(1).await, ["before"]);
    server.command(&["FLUSHALL"]);
    publisher.publish("c", "after").await.unwrap();
    assert_eq!(follower.shards[0].message().await, Message::Discontinued);
    let since = StreamPosition { offset: 1, ..start };
    let (_, recovered, was_recovered) = follower.shards[0].subscribe("c", Some(since.clone())).await;
    assert_eq!((recovered, was_recovered), (vec![], false), "by the node that saw it, at once");
    let mut newcomer = Node::redis(&server, 3).await;
    let (_, recovered, was_recovered) = newcomer.shards[0].subscribe("c", Some(since.clone())).await;
    assert_eq!((recovered, was_recovered), (vec![], false), "by one that saw nothing of it");
}

#[tokio::test]
async fn who_knew_a_channel_before_its_first_message_is_told_that_redis_was_emptied_though_nobody_followed_it()
 {
    let server = RedisServer::start();
    let [mut before, mut publisher] = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    let (start, ..) = before.shards[0].subscribe("c", None).await;
    publisher.publish("c", "before").await.unwrap();
    assert_eq!(before.shards[0].texts(1).await, ["before"]);
    assert_eq!(before.shards[0].call(BusOp::Release { channel: "c".into() }).await, Ok(Outcome::Done));
    server.command(&["FLUSHALL"]);
    publisher.publish("c", "after").await.unwrap();
    let since = StreamPosition { offset: 1, ..start };
    for node in [&mut before, &mut publisher] {
        until("told", async || {
            let (_, _, was_recovered) = node.shards[0].subscribe("c", Some(since.clone())).await;
            // One that was told wrongly, since its node did not know of it yet, is told again.
            if was_recovered {
                assert_eq!(node.shards[0].message().await, Message::Discontinued);
            }
            !was_recovered
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_is_lost_of_what_is_published_to_a_redis_that_was_emptied_under_its_gateways() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    node.shards[0].subscribe("c", None).await;
    node.publish("c", "before").await.unwrap();
    server.command(&["FLUSHALL"]);
    let first = node.publish("c", "first").await.unwrap();
    until("the stream says that it is of another life", async || {
        let epoch = server.command(&["HGET", "mooring:{c}:meta", "epoch"]);
        epoch != redis::Value::BulkString(first.epoch.as_bytes().to_vec())
    })
    .await;
    let second = node.publish("c", "second").await.unwrap();
    assert_eq!((node.history("c").await, second.offset), (vec!["first".to_owned(), "second".to_owned()], 2));
}

#[tokio::test]
async fn a_redis_that_lost_the_end_of_a_stream_gets_a_new_epoch_instead_of_the_same_offsets() {
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    let (start, ..) = node.shards[0].subscribe("c", None).await;
    node.publish("c", "kept").await.unwrap();
    let snapshot = server.snapshot();
    node.publish("c", "lost").await.unwrap();
    assert_eq!(node.shards[0].texts(2).await, ["kept", "lost"]);
    server.kill();
    server.restore(&snapshot);
    server.start_again();
    assert_eq!(node.shards[0].message().await, Message::Discontinued);
    let since = StreamPosition { offset: 2, ..start.clone() };
    let (position, _, was_recovered) = node.shards[0].subscribe("c", Some(since)).await;
    assert!(!was_recovered);
    assert_ne!(position.epoch, start.epoch);
}

#[tokio::test]
async fn operations_without_redis_fail_in_bounded_time_and_work_again_after_it() {
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    server.kill();
    node.unhealthy().await;
    // Which of the two connections was missed first decides whether it went on its way.
    let refused = node.publish("c", "refused").await;
    assert!(matches!(refused, Err(BackplaneError::Unavailable | BackplaneError::Unanswered)), "{refused:?}");
    let op = BusOp::Subscribe { channel: "c".into() };
    assert_eq!(node.shards[0].call(op).await, Err(BackplaneError::Unavailable));
    server.start_again();
    node.healthy().await;
    node.shards[0].subscribe("c", None).await;
    node.publish("c", "accepted").await.unwrap();
    assert_eq!(node.shards[0].texts(1).await, ["accepted"]);
}

#[tokio::test]
async fn a_redis_that_forgot_the_scripts_gets_them_again() {
    let server = RedisServer::start();
    let node = Node::redis(&server, 1).await;
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(node.publish("c", "refused").await, Err(BackplaneError::Unavailable));
    until("published", async || node.publish("c", "accepted").await.is_ok()).await;
}

#[tokio::test]
async fn clients_stay_present_when_redis_forgets_them() {
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    node.shards[0].call(enter("c", "a")).await.unwrap();
    assert_eq!(node.presence("c").await, ["a"]);
    server.kill();
    server.lose_everything();
    server.start_again();
    until("present again", async || {
        node.handle.call(presence("c")).await.is_ok_and(|outcome| is_present(&outcome, "a"))
    })
    .await;
}

#[tokio::test]
async fn the_clients_of_a_dead_node_leave_once() {
    let server = RedisServer::start();
    let mut survivors = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    let mut dying = Node::redis(&server, 3).await;
    survivors[0].shards[0].subscribe("c", None).await;
    survivors[1].shards[0].call(enter("c", "stays")).await.unwrap();
    assert_eq!(survivors[0].shards[0].message().await, Message::Join(client("stays").into()));
    dying.shards[0].call(enter("c", "gone")).await.unwrap();
    assert_eq!(survivors[0].shards[0].message().await, Message::Join(client("gone").into()));
    // It ends without a Leave, and with its lease left to run out.
    drop(dying);
    assert_eq!(survivors[0].shards[0].message().await, Message::Leave(client("gone").into()));
    let buried = ["ZSCORE", "mooring:nodes", "0000000000000003"];
    until("buried", async || server.command(&buried) == redis::Value::Nil).await;
    until("who stays is present", async || survivors[0].presence("c").await == ["stays"]).await;
    survivors[0].publish("c", "next").await.unwrap();
    assert_eq!(survivors[0].shards[0].texts(1).await, ["next"], "nobody leaves twice");
}

#[tokio::test]
async fn a_redis_that_hangs_is_reported_and_nothing_is_missing_when_it_goes_on() {
    let server = RedisServer::start();
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    nodes[0].shards[0].subscribe("c", None).await;
    nodes[1].publish("c", "before").await.unwrap();
    server.signal("STOP");
    assert_eq!(nodes[1].publish("c", "unanswered").await, Err(BackplaneError::Unanswered));
    nodes[0].unhealthy().await;
    server.signal("CONT");
    nodes[0].healthy().await;
    nodes[1].healthy().await;
    nodes[1].publish("c", "after").await.unwrap();
    let texts = nodes[0].shards[0].texts(3).await;
    assert_eq!(
        texts,
        ["before", "unanswered", "after"],
        "what was sent before the hang is carried out after it"
    );
}

#[tokio::test]
async fn a_node_that_is_slow_to_read_slows_nobody_down_and_misses_nothing() {
    let server = RedisServer::start();
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    for node in &mut nodes {
        node.shards[0].subscribe("c", None).await;
    }
    // More than the slow node's queue holds.
    for number in 1..=90 {
        nodes[0].publish("c", &number.to_string()).await.unwrap();
        assert_eq!(nodes[0].shards[0].texts(1).await, [number.to_string()]);
    }
    assert_eq!(nodes[1].shards[0].texts(90).await, numbers(1..=90));
    assert_eq!(nodes[1].publish("c", "91").await.map(|position| position.offset), Ok(91));
}

#[tokio::test]
async fn every_reply_meets_its_own_question_after_an_outage_in_which_more_clients_left_than_can_wait() {
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    for channel in ["a", "b"] {
        node.publish(channel, channel).await.unwrap();
    }
    for number in 0..64 {
        node.shards[0].call(enter("c", &number.to_string())).await.unwrap();
    }
    server.kill();
    until("out of reach", async || node.publish("a", "lost").await == Err(BackplaneError::Unavailable)).await;
    for number in 0..DEPARTURES {
        node.shards[0].tell(leave("c", &number.to_string(), Duration::from_secs(3600))).await;
    }
    server.start_again();
    node.healthy().await;
    for channel in ["a", "b"] {
        assert_eq!(node.history(channel).await, [channel]);
    }
}

#[tokio::test]
async fn clients_that_left_in_an_outage_are_not_present_after_it_however_many_and_large_they_were() {
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    let large = |number: usize| {
        let conn_info = Some(vec![b' '; 64 * 1024].into());
        ClientInfo { client: number.to_string().into(), user: "user".into(), conn_info, chan_info: None }
    };
    for number in 0..1_100 {
        let info = large(number);
        node.shards[0].call(PresenceOp::Enter { channel: "c".into(), info, announce: false }).await.unwrap();
    }
    node.shards[0].call(enter("c", "stays")).await.unwrap();
    server.kill();
    until("out of reach", async || node.publish("a", "lost").await == Err(BackplaneError::Unavailable)).await;
    for number in 0..1_100 {
        let (info, grace) = (large(number), Duration::ZERO);
        node.shards[0].tell(PresenceOp::Leave { channel: "c".into(), info, announce: false, grace }).await;
    }
    server.start_again();
    node.healthy().await;
    let left = Ok(Outcome::Listed { clients: vec![client("stays")] });
    until("only one is left", async || node.handle.call(presence("c")).await == left).await;
}

#[tokio::test]
async fn a_client_on_its_way_to_another_node_stays_present_beyond_its_node_s_end_and_until_its_lease_is_over()
{
    let server = RedisServer::start();
    let (mut ending, mut other) = (Node::redis(&server, 1).await, Node::redis(&server, 2).await);
    other.shards[0].subscribe("c", None).await;
    ending.shards[0].call(enter("c", "a")).await.unwrap();
    assert_eq!(other.shards[0].message().await, Message::Join(client("a").into()));
    ending.shards[0].call(leave("c", "a", Duration::from_secs(3600))).await.unwrap();
    ending.stop().await;
    assert_eq!(other.presence("c").await, ["a"]);
    assert_eq!(other.shards[0].message().await, Message::Leave(client("a").into()));
    assert_eq!(other.presence("c").await, Vec::<String>::new());
}

#[tokio::test]
async fn publishes_that_a_redis_that_hangs_does_not_take_are_bounded_in_bytes_and_refused_beyond() {
    let server = RedisServer::start();
    let node = Node::redis(&server, 1).await;
    server.signal("STOP");
    let text = "x".repeat(64 * 1024);
    let submit = || node.shards[0].try_tell(publish("c", &text, Some(RETENTION), None));
    let accepted = (0..4_000).take_while(|_| submit().is_ok()).count();
    assert!((700..=768).contains(&accepted), "{accepted} of 64 KiB each, where they may have 48 MiB of 64");
    assert_eq!(submit(), Err(BackplaneError::Busy));
    assert!(node.shards[0].try_tell(publish("c", "small", Some(RETENTION), None)).is_ok());
    server.signal("CONT");
    until("room again", async || submit().is_ok()).await;
    node.healthy().await;
}

#[tokio::test]
async fn a_redis_that_is_full_refuses_publishes_and_serves_all_that_needs_no_memory_also_on_new_connections()
{
    let server = RedisServer::start();
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    nodes[0].publish("c", "before").await.unwrap();
    nodes[0].shards[0].call(enter("c", "early")).await.unwrap();
    assert_eq!(nodes[0].presence("c").await, ["early"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    // New channels are no way around it.
    for channel in ["c", "new"] {
        until("refused", async || nodes[1].publish(channel, "no").await == Err(BackplaneError::Unavailable))
            .await;
    }
    for node in &mut nodes {
        until("read again", async || node.handle.call(presence("c")).await.is_ok()).await;
        assert_eq!(node.history("c").await, ["before"]);
        node.shards[0].subscribe("c", None).await;
        node.shards[0].subscribe("new", None).await;
    }
    nodes[1].shards[1].call(enter("c", "late")).await.unwrap();
    // Longer than a lease, which nobody can renew.
    until("the lease is over", async || {
        server.command(&["ZCOUNT", "mooring:nodes", "-inf", &now()]) == redis::Value::Int(2)
    })
    .await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    until("both are present", async || {
        let outcome = nodes[0].handle.call(presence("c")).await;
        outcome.is_ok_and(|outcome| is_present(&outcome, "early") && is_present(&outcome, "late"))
    })
    .await;
    nodes[1].publish("c", "after").await.unwrap();
    let mut messages = Vec::new();
    while !matches!(messages.last(), Some(Message::Publication(_))) {
        messages.push(nodes[0].shards[0].message().await);
    }
    assert!(
        !messages.iter().any(|message| matches!(message, Message::Leave(_))),
        "nobody left: {messages:?}"
    );
}

#[tokio::test]
async fn a_redis_that_forgot_a_node_without_a_word_is_told_of_its_clients_again() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    node.shards[0].call(enter("c", "a")).await.unwrap();
    assert_eq!(node.presence("c").await, ["a"]);
    server.command(&["FLUSHALL"]);
    until("present again", async || {
        node.handle.call(presence("c")).await.is_ok_and(|outcome| is_present(&outcome, "a"))
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_given_up_for_dead_lives_on_under_another_name_with_all_its_clients() {
    let server = RedisServer::start();
    let (mut paused, other) = (Node::redis(&server, 1).await, Node::redis(&server, 2).await);
    for name in ["a", "b"] {
        paused.shards[0].call(enter("c", name)).await.unwrap();
    }
    until("both are present", async || other.presence("c").await == ["a", "b"]).await;
    server.command(&["ZADD", "mooring:nodes", "0", "0000000000000001"]);
    let old = "mooring:{node:0000000000000001}:channels".to_owned();
    until("nothing has the old name", async || !server.keys().contains(&old)).await;
    until("both are present again", async || other.presence("c").await == ["a", "b"]).await;
    paused.shards[0].call(leave("c", "a", Duration::ZERO)).await.unwrap();
    until("one left", async || other.presence("c").await == ["b"]).await;
}

#[tokio::test]
async fn who_enters_by_a_node_that_is_dead_before_it_knows_that_it_was_given_up_does_not_stay_present() {
    let server = RedisServer::start();
    let (mut held_up, other) = (Node::redis(&server, 1).await, Node::redis(&server, 2).await);
    held_up.shards[0].call(enter("c", "before")).await.unwrap();
    until("present", async || other.presence("c").await == ["before"]).await;
    // A shard that takes nothing holds its node up.
    held_up.shards[1].subscribe("busy", None).await;
    let text = "x".repeat(512 * 1024);
    let forgotten = "mooring:{node:0000000000000001}:channels".to_owned();
    until("given up", async || {
        let _ = other.publish("busy", &text).await;
        !server.keys().contains(&forgotten) && other.presence("c").await.is_empty()
    })
    .await;
    let Node { mut shards, .. } = held_up;
    let mut busy = shards.remove(1);
    let reads = tokio::spawn(async move { while let Message::Publication(_) = busy.message().await {} });
    shards[0].call(enter("c", "after")).await.unwrap();
    drop(shards);
    reads.abort();
    until("absent", async || other.presence("c").await.is_empty()).await;
}
