//! Clients that ask for what is dear, and what it may cost the others.

use futures::future::join_all;
use gateway_core::backplane::{BackplaneError, BusOp, LogOp, Outcome, PresenceOp, StreamPosition};

use crate::{
    gateway::Server,
    redis_server::RedisServer,
    support::{Node, RETENTION, enter, publish, until},
};

/// What one answer brings at most (`RedisConfig::with_page_bytes`).
const PAGE: usize = 1024 * 1024;

fn history(channel: &str, since: Option<StreamPosition>) -> LogOp {
    LogOp::Read {
        channel: channel.into(),
        retention: RETENTION,
        since,
        limit: 300,
        bytes: u32::MAX,
        reverse: false,
    }
}

/// A channel of more than a page.
async fn fill(node: &Node, channel: &str) {
    let text = "x".repeat(60 * 1024);
    let publishes = (0..50).map(|_| node.handle.call(publish(channel, &text, Some(RETENTION), None)));
    assert!(join_all(publishes).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_message_full_of_equal_reads_costs_redis_a_few_and_each_answer_fits_a_page() {
    let server = RedisServer::start();
    let node = Node::redis(&server, 1).await;
    fill(&node, "c").await;
    let before = server.calls("evalsha");
    let reads = join_all((0..250).map(|_| node.handle.call(history("c", None)))).await;
    for outcome in reads {
        let Ok(Outcome::Read { position, publications }) = outcome else { panic!("{outcome:?}") };
        let bytes: usize = publications.iter().map(|publication| publication.bytes()).sum();
        assert!((PAGE / 2..=PAGE).contains(&bytes), "{bytes} bytes");
        assert_eq!((position.offset, publications[0].offset), (50, 1));
    }
    let reads = server.calls("evalsha") - before;
    assert!(reads < 20, "{reads} scripts for 250 equal questions");
}

#[tokio::test]
async fn a_stream_larger_than_a_page_is_read_page_by_page_from_either_end() {
    let server = RedisServer::start();
    let node = Node::redis(&server, 1).await;
    fill(&node, "c").await;
    for reverse in [false, true] {
        let (mut since, mut offsets) = (None, Vec::new());
        while offsets.len() < 50 {
            let op = LogOp::Read {
                channel: "c".into(),
                retention: RETENTION,
                since,
                limit: 300,
                bytes: u32::MAX,
                reverse,
            };
            let Ok(Outcome::Read { position, publications }) = node.handle.call(op).await else { panic!() };
            offsets.extend(publications.iter().map(|publication| publication.offset));
            since = Some(StreamPosition { offset: *offsets.last().unwrap(), ..position });
        }
        let mut expected: Vec<_> = (1..=50).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(offsets, expected);
    }
}

#[tokio::test]
async fn others_publish_as_before_while_one_connection_reads_without_end() {
    let server = RedisServer::start();
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    fill(&nodes[0], "c").await;
    let Ok(Outcome::Read { position, .. }) = nodes[0].handle.call(history("c", None)).await else { panic!() };
    // No two of them equal.
    for offset in 0..30 {
        let since = StreamPosition { offset, ..position.clone() };
        nodes[0].shards[0].submit(history("c", Some(since)));
    }
    let asked = std::time::Instant::now();
    nodes[1].publish("d", "not held up").await.unwrap();
    let waited = asked.elapsed();
    for _ in 0..30 {
        nodes[0].shards[0].next().await;
    }
    assert!(waited < asked.elapsed() / 2, "{waited:?} of {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_position_that_no_stream_has_fails_whoever_claims_it_alone() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    node.publish("c", "1").await.unwrap();
    for epoch in ["any", "", "pffffffffffffffff"] {
        let poisoned = StreamPosition { epoch: epoch.into(), offset: u64::MAX };
        let subscribe = |since| LogOp::Follow { channel: "c".into(), since, limit: 300 };
        node.shards[0].submit(subscribe(Some(poisoned.clone())));
        node.shards[0].submit(subscribe(None));
        for _ in 0..2 {
            let item = node.shards[0].next().await;
            let expected = "Ok(Followed(Followed { position: StreamPosition";
            assert!(format!("{item:?}").contains(expected), "{item:?}");
        }
        node.shards[0].call(BusOp::Release { channel: "c".into() }).await.unwrap();
        let read = node.handle.call(history("c", Some(poisoned))).await;
        assert_eq!(read, Err(BackplaneError::UnrecoverablePosition));
    }
}

#[tokio::test]
async fn names_without_end_that_nothing_is_published_to_leave_nothing_in_redis() {
    let server = RedisServer::start();
    let mut node = Node::redis(&server, 1).await;
    let before = server.keys();
    for number in 0..500 {
        let channel = format!("name-{number}");
        node.shards[0].subscribe(&channel, None).await;
        node.shards[0].call(BusOp::Release { channel: channel.as_str().into() }).await.unwrap();
        node.handle.call(history(&channel, None)).await.unwrap();
    }
    assert_eq!(server.keys(), before);
}

#[tokio::test]
async fn counting_a_full_room_reads_no_member_and_listing_it_is_refused_beyond_what_the_asker_takes() {
    let server = RedisServer::start();
    let node = Node::redis(&server, 1).await;
    for number in 0..2_000 {
        node.shards[0].tell(enter("c", &number.to_string())).await;
    }
    let count = PresenceOp::Count { channel: "c".into() };
    let all = Ok(Outcome::Counted { clients: 2_000, users: 1 });
    assert_eq!(node.handle.call(count.clone()).await, all);
    let before = (server.calls("evalsha"), server.calls("hscan"));
    assert!(
        join_all((0..200).map(|_| node.handle.call(count.clone()))).await.iter().all(|count| *count == all)
    );
    let after = (server.calls("evalsha"), server.calls("hscan"));
    assert!(after.0 - before.0 < 20 && after.1 == before.1, "{before:?} {after:?}");
    let list = |limit| node.handle.call(PresenceOp::List { channel: "c".into(), limit });
    assert_eq!(list(100_000).await, Err(BackplaneError::TooLarge));
    let Ok(Outcome::Listed { clients }) = list(10_000_000).await else { panic!() };
    assert_eq!(clients.len(), 2_000);
    assert!(server.calls("hscan") > 3, "in pages");
}

#[tokio::test]
async fn who_asks_without_end_and_reads_nothing_is_answered_as_much_as_may_wait_for_it_and_asks_redis_no_more()
 {
    const ASKED: usize = 800;
    let redis = RedisServer::start();
    let filler = Node::redis(&redis, 1).await;
    fill(&filler, "room").await;
    let server = Server::start(|settings| settings.redis_url = Some(redis.url()));
    let mut client = server.centrifuge().await;
    client.command(r#"{"id":1,"subscribe":{"channel":"room"}}"#).await;
    let before = redis.calls("evalsha");
    let ask = |id: usize| format!(r#"{{"id":{id},"history":{{"channel":"room","limit":300}}}}"#);
    client.text(&(2..2 + ASKED).map(ask).collect::<Vec<_>>().join("\n")).await;
    let held = async || {
        let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
        let held = metrics.lines().find_map(|line| line.strip_prefix("mooring_memory_held_bytes "));
        held.unwrap().parse::<usize>().unwrap()
    };
    // All is answered once nothing waits for Redis any more; until then it is held to its bounds.
    let (mut most, mut asked) = (0, 0);
    until("it asks Redis no more", async || {
        most = most.max(held().await);
        let calls = redis.calls("evalsha");
        std::mem::replace(&mut asked, calls) == calls && calls > before + 1
    })
    .await;
    // What waits for the client, two answers on their way, and the next question's.
    assert!(most < 4 * 1024 * 1024, "{most} bytes held");
    let (mut answered, mut refused) = (0, 0);
    while answered + refused < ASKED {
        let reply = client.json().await;
        match reply["error"]["code"].as_u64() {
            None => answered += usize::from(reply["history"].is_object()),
            Some(111) => refused += 1,
            Some(code) => panic!("{code}"),
        }
    }
    let calls = redis.calls("evalsha") - before;
    assert!(answered > 0 && refused > ASKED / 2 && calls < 200, "{answered} answers for {calls} scripts");
}
