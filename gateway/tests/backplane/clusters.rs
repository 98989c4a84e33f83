//! Clusters that share a Redis.

use gateway_core::backplane::{Message, Outcome, PresenceOp};

use crate::{
    redis_server::RedisServer,
    support::{Node, RETENTION, enter, leave, publish, text, until},
};

#[tokio::test]
async fn clusters_of_another_prefix_or_database_share_no_message_no_stream_and_no_presence() {
    let server = RedisServer::start();
    let url = server.url();
    let mut nodes = [
        Node::of_cluster(&url, "a", 1).await,
        Node::of_cluster(&url, "b", 2).await,
        Node::of_cluster(&format!("{url}/1"), "a", 3).await,
    ];
    for node in &mut nodes {
        node.shards[0].subscribe("c", None).await;
    }
    for (number, node) in nodes.iter().enumerate() {
        let position = node.publish("c", &number.to_string()).await.unwrap();
        assert_eq!(position.offset, 1);
        node.shards[0].tell(enter("c", &number.to_string())).await;
    }
    for (number, node) in nodes.iter_mut().enumerate() {
        let own = [number.to_string()];
        assert_eq!(node.history("c").await, own);
        assert_eq!(node.presence("c").await, own);
        // What came of the others would have come before this.
        node.publish("c", "last").await.unwrap();
        let (mut texts, mut joined) = (Vec::new(), Vec::new());
        while texts.last().is_none_or(|last| last != "last") {
            match node.shards[0].message().await {
                Message::Publication(publication) => texts.push(text(&publication)),
                Message::Join(info) => joined.push(info.client.to_string()),
                message => panic!("{message:?}"),
            }
        }
        assert_eq!((texts, joined), (vec![number.to_string(), "last".to_owned()], own.to_vec()));
    }
}

#[tokio::test]
async fn on_a_redis_cluster_no_command_crosses_slots_whatever_the_channels_are_called() {
    let server = RedisServer::start_cluster();
    let mut nodes = [Node::redis(&server, 1).await, Node::redis(&server, 2).await];
    for channel in ["chat", "{a}b", "a}b", "}", "}x", "\\}x", "node:0000000000000001"] {
        for node in &mut nodes {
            node.shards[0].subscribe(channel, None).await;
        }
        for (retention, key) in [(Some(RETENTION), None), (Some(RETENTION), Some("key")), (None, Some("}{"))]
        {
            nodes[0].handle.call(publish(channel, "text", retention, key)).await.unwrap();
        }
        for node in &mut nodes {
            assert_eq!(node.shards[0].texts(3).await, ["text"; 3], "{channel}");
        }
        assert_eq!(nodes[1].history(channel).await, ["text"; 2]);
        for name in ["leaves", "dies"] {
            nodes[0].shards[1].call(enter(channel, name)).await.unwrap();
        }
        until("two", async || nodes[1].presence(channel).await == ["dies", "leaves"]).await;
        nodes[0].shards[1].call(leave(channel, "leaves", std::time::Duration::ZERO)).await.unwrap();
        until("one", async || nodes[1].presence(channel).await == ["dies"]).await;
        let stats = nodes[1].handle.call(PresenceOp::Count { channel: channel.into() }).await;
        assert_eq!(stats, Ok(Outcome::Counted { clients: 1, users: 1 }));
        for node in &mut nodes {
            for _ in ["it joins", "so does the other", "it leaves"] {
                node.shards[0].message().await;
            }
        }
    }
    let [dying, other] = nodes;
    drop(dying);
    until("nothing is left of it", async || {
        server.keys().iter().all(|key| !key.contains("members") && !key.contains("channels"))
    })
    .await;
    assert_eq!(other.presence("}x").await, Vec::<String>::new());
}
