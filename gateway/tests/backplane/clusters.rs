//! Clusters that share a Redis.

use gateway_core::backplane::Message;

use crate::{
    redis_server::RedisServer,
    support::{Node, enter, text},
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
