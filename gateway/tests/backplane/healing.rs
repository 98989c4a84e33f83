//! What many do at once after an outage, or in one channel, is no burst for Redis or for those who are told of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gateway_core::backplane::{BusOp, Message, Outcome};

use crate::{
    redis_server::RedisServer,
    support::{Node, enter, leave, presence, publish, until},
};

/// What a node may tell Redis of its clients at once, and per second then.
const AT_ONCE: f64 = 128.0;
const PER_SECOND: f64 = 4_000.0;
/// Of what a node does by itself, a second: leases and canaries.
const OTHERS: f64 = 10.0;

fn channel(number: usize) -> String {
    format!("room-{}", number % 40)
}

/// Follows a channel of which nothing is kept.
async fn follow(node: &mut Node, channel: &str) {
    let op = BusOp::Subscribe { channel: channel.into() };
    node.shards[0].call(op).await.unwrap();
}

/// What was said in a channel before a message that is published now.
async fn said(node: &mut Node, channel: &str) -> Vec<Message> {
    node.handle.call(publish(channel, "marker", None, None)).await.unwrap();
    let mut said = Vec::new();
    loop {
        match node.shards[0].message().await {
            Message::Publication(_) => return said,
            message => said.push(message),
        }
    }
}

#[tokio::test]
async fn clients_that_redis_forgot_are_made_present_again_at_a_pace_and_nobody_is_told_that_they_came_again()
{
    const CLIENTS: usize = 4_000;
    let mut server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    follow(&mut node, &channel(0)).await;
    for number in 0..CLIENTS {
        node.shards[0].tell(enter(&channel(number), &number.to_string())).await;
    }
    let all = CLIENTS / 40;
    // The last one that is gone through.
    let members = |server: &RedisServer| server.command(&["HLEN", "mooring:{room-9}:members"]);
    let present = redis::Value::Int(all as i64);
    for _ in 0..all {
        assert!(matches!(node.shards[0].message().await, Message::Join(_)));
    }
    until("all are present", async || members(&server) == present).await;
    server.kill();
    server.lose_everything();
    server.start_again();
    let (mut last, mut windows) = ((Instant::now(), server.calls("evalsha") as f64), Vec::new());
    until("all are present again", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = (Instant::now(), server.calls("evalsha") as f64);
        windows.push(((now.0 - last.0).as_secs_f64(), now.1 - last.1));
        last = now;
        members(&server) == present
    })
    .await;
    println!("seconds and scripts: {windows:.2?}");
    for (seconds, calls) in &windows {
        let most = AT_ONCE + (PER_SECOND + OTHERS) * (seconds + 0.05);
        assert!(*calls <= most, "{calls} scripts in {seconds} s: {windows:?}");
    }
    node.healthy().await;
    assert_eq!(node.shards[0].message().await, Message::Discontinued);
    follow(&mut node, &channel(0)).await;
    assert_eq!(said(&mut node, &channel(0)).await, vec![], "they never left");
    node.shards[0].tell(leave(&channel(0), "0", Duration::ZERO)).await;
    until("it left", async || node.presence(&channel(0)).await.len() == all - 1).await;
    assert!(
        matches!(&said(&mut node, &channel(0)).await[..], [Message::Leave(info)] if *info.client == *"0")
    );
}

/// So many enter a channel that nobody is in, and two leave it at once: the first and the last of them.
async fn enter_together(node: &mut Node, clients: usize) {
    follow(node, "c").await;
    for number in 0..clients {
        node.shards[0].tell(enter("c", &number.to_string())).await;
    }
    for number in [0, clients - 1] {
        node.shards[0].tell(leave("c", &number.to_string(), Duration::ZERO)).await;
    }
}

/// How they are announced to those who are in it.
async fn hear_of_them(node: &mut Node, clients: usize) {
    let (start, mut early) = (Instant::now(), 0);
    let (mut joined, mut left) = (BTreeSet::new(), Vec::new());
    while joined.len() < clients - 1 {
        match node.shards[0].message().await {
            Message::Join(info) => assert!(joined.insert(info.client.to_string()), "each once"),
            Message::Leave(info) => left.push(info.client.to_string()),
            message => panic!("{message:?}"),
        }
        early += usize::from(start.elapsed() < Duration::from_millis(500));
    }
    println!("{early} of {clients} in half a second, all after {:?}", start.elapsed());
    // 64 at once, 64 a second, and one that leaves; some may have been waiting.
    assert!(early <= 64 + 32 + 1 + 64 / 4, "{early} in half a second");
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    let last = (clients - 1).to_string();
    assert_eq!(
        (joined.contains(&last), left),
        (false, vec!["0".to_owned()]),
        "who was not announced did not leave"
    );
}

#[tokio::test]
async fn many_who_enter_a_channel_at_once_are_present_at_once_and_announced_one_after_the_other() {
    const CLIENTS: usize = 160;
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    enter_together(&mut node, CLIENTS).await;
    let present = redis::Value::Int(CLIENTS as i64 - 2);
    let members = || server.command(&["HLEN", "mooring:{c}:members"]);
    until("all but two are present", async || members() == present).await;
    hear_of_them(&mut node, CLIENTS).await;
}

#[tokio::test]
async fn without_redis_many_who_enter_a_channel_at_once_are_announced_one_after_the_other_as_well() {
    let mut node = Node::memory();
    enter_together(&mut node, 160).await;
    hear_of_them(&mut node, 160).await;
}

#[tokio::test]
async fn who_comes_back_before_its_departure_costs_redis_nothing() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    follow(&mut node, "c").await;
    node.shards[0].call(enter("c", "a")).await.unwrap();
    assert!(matches!(node.shards[0].message().await, Message::Join(_)));
    let members = || server.command(&["HGETALL", "mooring:{c}:members"]);
    let before = (members(), server.calls("hset"));
    for _ in 0..100 {
        node.shards[0].call(leave("c", "a", Duration::from_secs(10))).await.unwrap();
        node.shards[0].call(enter("c", "a")).await.unwrap();
    }
    assert_eq!(said(&mut node, "c").await, vec![]);
    assert_eq!((members(), server.calls("hset")), before);
    assert!(
        matches!(node.handle.call(presence("c")).await, Ok(Outcome::Listed { clients }) if clients.len() == 1)
    );
}

#[tokio::test]
async fn channels_are_subscribed_to_again_many_at_a_time() {
    const CHANNELS: usize = 3_000;
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    for number in 0..CHANNELS {
        follow(&mut node, &format!("c{number}")).await;
    }
    let before = server.calls("subscribe");
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for _ in 0..CHANNELS {
        assert_eq!(node.shards[0].message().await, Message::Discontinued);
    }
    let commands = server.calls("subscribe") - before;
    assert!(commands <= 2 + CHANNELS as u64 / 512 + 1, "{commands} commands for {CHANNELS} channels");
}
