//! Who a gateway is to Redis, what it may do there, and passwords that change.

use gateway_core::{
    backplane::BackplaneError,
    control::BackplaneTrouble::{self, AccessDenied},
};
use mooring_gateway::backplane::RedisAccess;

use crate::{
    certificates::Files,
    redis_server::{PASSWORD, RedisServer},
    support::{Node, RETENTION, client, enter, publish, until},
};

/// What docs/operations.md gives a gateway.
const RIGHTS: [&str; 8] =
    ["~mooring:*", "&mooring*", "+@read", "+@write", "+@connection", "+@pubsub", "+@scripting", "+time"];

fn user(server: &RedisServer, rights: &[&str]) {
    let start = ["ACL", "SETUSER", "gateway", "reset", "on", ">secret"];
    server.command(&[&start, rights, &["-@dangerous"]].concat());
}

fn url(server: &RedisServer, database: u32) -> String {
    format!("redis://gateway:secret@127.0.0.1:{}/{database}", server.port())
}

fn cut_off(server: &RedisServer, password: &str) {
    for kind in ["normal", "pubsub"] {
        server.command_as(password, &["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
}

#[tokio::test]
async fn a_user_with_the_documented_rights_and_no_others_does_everything_a_gateway_does() {
    let server = RedisServer::start();
    user(&server, &RIGHTS);
    for database in [0, 1] {
        let mut nodes =
            [1, 2].map(|id| Node::start(&url(&server, database), RedisAccess::default(), "mooring", id));
        for (node, client) in nodes.iter_mut().zip(["goes", "stays"]) {
            node.healthy().await;
            node.shards[0].subscribe("c", None).await;
            node.shards[0].call(enter("p", client)).await.unwrap();
        }
        let [mut dying, mut other] = nodes;
        for (stored, passing) in [(None, None), (Some("a"), Some("b"))] {
            other.handle.call(publish("c", "stored", Some(RETENTION), stored)).await.unwrap();
            other.handle.call(publish("c", "passing", None, passing)).await.unwrap();
        }
        let mut texts = other.shards[0].texts(4).await;
        texts.sort();
        assert_eq!(texts, ["passing", "passing", "stored", "stored"]);
        assert_eq!(other.history("c").await, ["stored", "stored"]);
        dying.shards[1].call(enter("p", "goes too")).await.unwrap();
        until("all are there", async || other.presence("p").await == ["goes", "goes too", "stays"]).await;
        drop(dying);
        until("cleared up after", async || other.presence("p").await == ["stays"]).await;
        other.healthy().await;
        other.stop().await;
    }
    assert_eq!(server.command(&["ACL", "LOG"]), redis::Value::Array(Vec::new()), "nothing was denied");
}

#[tokio::test]
async fn a_user_without_a_right_is_told_of_it_in_redis_s_words_and_with_where_to_look() {
    let server = RedisServer::start();
    let without = |right: &str| RIGHTS.into_iter().filter(|given| *given != right).collect::<Vec<_>>();
    for right in ["~mooring:*", "&mooring*", "+@scripting", "+@connection", "+time"] {
        user(&server, &without(right));
        let node = Node::start(&url(&server, 0), RedisAccess::default(), "mooring", 1);
        let said = node.trouble(AccessDenied, "docs/operations.md").await;
        assert!(said.contains("127.0.0.1") && !said.contains("secret"), "{right}: {said}");
        if right.ends_with('*') {
            user(&server, &RIGHTS);
            node.healthy().await;
        }
        node.stop().await;
    }
}

#[tokio::test]
async fn a_right_that_is_taken_from_a_running_gateway_fails_what_needs_it_alone() {
    let server = RedisServer::start();
    user(&server, &RIGHTS);
    let mut node = Node::start(&url(&server, 0), RedisAccess::default(), "mooring", 1);
    node.healthy().await;
    node.shards[0].subscribe("c", None).await;
    server.command(&["ACL", "SETUSER", "gateway", "-xadd"]);
    assert_eq!(node.publish("c", "kept").await, Err(BackplaneError::Unavailable));
    node.trouble(AccessDenied, "docs/operations.md").await;
    node.handle.call(publish("c", "passed", None, None)).await.unwrap();
    node.shards[1].call(enter("c", "a")).await.unwrap();
    until("present", async || node.presence("c").await == [client("a").client.to_string()]).await;
    server.command(&["ACL", "SETUSER", "gateway", "+xadd"]);
    node.healthy().await;
    node.publish("c", "kept").await.unwrap();
}

#[tokio::test]
async fn a_password_that_changes_breaks_no_connection_and_the_next_one_takes_the_new_one_from_the_file() {
    let (server, files) = (RedisServer::start(), Files::new());
    let access =
        RedisAccess { password_file: Some(files.write("password", PASSWORD)), ..RedisAccess::default() };
    let url = format!("redis://127.0.0.1:{}", server.port());
    let node = Node::start(&url, access, "mooring", 1);
    node.healthy().await;
    server.command(&["CONFIG", "SET", "requirepass", "second"]);
    node.publish("c", "with the first").await.unwrap();
    files.write("password", "second\n");
    cut_off(&server, "second");
    until("published", async || node.publish("c", "with the second").await.is_ok()).await;
    node.healthy().await;
    // The file comes later than the change, as with a kubelet.
    server.command_as("second", &["CONFIG", "SET", "requirepass", "third"]);
    cut_off(&server, "third");
    let said = node.trouble(AccessDenied, "WRONGPASS").await;
    assert!(said.contains("--redis-password-file"), "{said}");
    files.write("password", "third");
    node.healthy().await;
    node.publish("c", "with the third").await.unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_is_told_of_and_read_again_when_it_is_back() {
    let (server, files) = (RedisServer::start(), Files::new());
    let path = files.write("password", PASSWORD);
    let access = RedisAccess { password_file: Some(path.clone()), ..RedisAccess::default() };
    let node = Node::start(&format!("redis://127.0.0.1:{}", server.port()), access, "mooring", 1);
    node.healthy().await;
    std::fs::remove_file(&path).unwrap();
    cut_off(&server, PASSWORD);
    node.trouble(BackplaneTrouble::Unreachable, "--redis-password-file").await;
    files.write("password", PASSWORD);
    node.healthy().await;
}
