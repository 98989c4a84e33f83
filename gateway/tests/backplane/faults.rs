//! What one node's way to Redis does to it, and to nobody else.

use std::time::Duration;

use gateway_core::backplane::Retention;
use mooring_fleet::proxy::{Fault, Proxy};

use crate::{
    redis_server::{self, RedisServer},
    support::{Node, RETENTION, numbers, publish, until},
};

/// A node behind a proxy, and one that is not; both follow "c".
async fn nodes(server: &RedisServer, proxy: &Proxy) -> [Node; 2] {
    let mut nodes = [
        Node::of_cluster(&redis_server::url(proxy.port()), "mooring", 1).await,
        Node::redis(server, 2).await,
    ];
    for node in &mut nodes {
        node.shards[0].subscribe("c", None).await;
    }
    nodes
}

/// Publishes once, whatever happens on the way: whether an unanswered publish was carried out, its key tells.
async fn publish_surely(node: &Node, number: usize) {
    let key = number.to_string();
    let op = || publish("c", &key, Some(RETENTION), Some(&key));
    until("published", async || node.handle.call(op()).await.is_ok()).await;
}

#[tokio::test]
async fn whatever_happens_to_one_node_s_connections_nothing_is_missing_or_repeated_on_any() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await.unwrap();
    let mut nodes = nodes(&server, &proxy).await;
    let faults = [Fault::Garbage, Fault::Unasked, Fault::CutOff, Fault::Slow(Duration::from_millis(100))];
    let mut published = 0;
    for fault in faults {
        proxy.set(fault);
        for _ in 0..5 {
            published += 1;
            publish_surely(&nodes[1], published).await;
        }
        if fault == Fault::CutOff {
            nodes[0].unhealthy().await;
        }
        proxy.set(Fault::None);
        nodes[0].healthy().await;
        published += 1;
        publish_surely(&nodes[0], published).await;
    }
    for node in &mut nodes {
        assert_eq!(node.shards[0].texts(published).await, numbers(1..=published));
    }
}

#[tokio::test]
async fn a_node_that_redis_cut_off_because_it_read_too_slowly_reads_what_it_missed() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"]);
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    nodes[1].shards[0].subscribe("c", None).await;
    let retention = Some(Retention { size: 4_000, ..RETENTION });
    // More than the slow node's queue and all buffers on the way hold.
    let text = |number: usize| format!("{number:08000}");
    let connections = || {
        let clients = server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        redis::from_redis_value::<String>(clients).unwrap().lines().count()
    };
    assert_eq!(connections(), nodes.len());
    let mut published = 0;
    while connections() == nodes.len() {
        for _ in 0..50 {
            published += 1;
            nodes[0].handle.call(publish("c", &text(published), retention, None)).await.unwrap();
        }
    }
    let texts = nodes[1].shards[0].texts(published).await;
    assert_eq!(texts, (1..=published).map(text).collect::<Vec<_>>());
}
