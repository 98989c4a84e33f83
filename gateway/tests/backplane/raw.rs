//! Raw clients of a gateway whose Redis goes away: they stay.

use gateway_core::{backplane::Retention, raw::backplane_channel};
use mooring_fleet::proxy::{Fault, Proxy};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    gateway::{Server, WebSocket, until},
    redis_server::{self, RedisServer},
    support::{Node, RETENTION, publish},
};

/// The next message that is not of the subscribing.
async fn heard(socket: &mut WebSocket) -> Message {
    loop {
        match socket.message().await {
            message if message == Message::text("ready?") => {}
            message => return message,
        }
    }
}

async fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn clients_stay_when_redis_is_restarted_and_only_where_nothing_is_kept_a_gap_is_counted() {
    let mut redis = RedisServer::start();
    let server = Server::start(|settings| {
        settings.redis_url = Some(redis.url());
    });
    let mut kept = server.raw("room").await;
    let mut unkept = server.raw("live:room").await;
    for round in 1..=3 {
        redis.kill();
        redis.start_again();
        until("the gap that is counted", || async {
            metric(&server, "mooring_raw_gaps_total").await >= round
        })
        .await;
        // They hear when their subscriptions are in force again.
        let newcomers = [server.raw("room").await, server.raw("live:room").await];
        for (path, listener) in [("room", &mut kept), ("live:room", &mut unkept)] {
            let post = format!("POST /raw/{path}");
            let text = format!("after {round}");
            let headers = ["Content-Type: text/plain"];
            assert_eq!(server.http(server.client, &post, &headers, text.as_bytes()).await.status, 200);
            assert_eq!(heard(listener).await, Message::text(text));
        }
        drop(newcomers);
        server.holds(2).await;
    }
    assert_eq!(metric(&server, "mooring_raw_gaps_total").await, 3, "of the channel that keeps nothing alone");
}

#[tokio::test]
async fn what_is_published_while_a_raw_client_is_cut_off_from_live_messages_reaches_it_in_order_once() {
    let redis = RedisServer::start();
    let server = Server::start(|settings| {
        settings.redis_url = Some(redis.url());
    });
    let mut listener = server.raw("room").await;
    let mut speaker = server.raw("room").await;
    for number in 0..60 {
        if number % 20 == 10 {
            redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        speaker.text(&number.to_string()).await;
    }
    for number in 0..60 {
        assert_eq!(heard(&mut listener).await, Message::text(number.to_string()));
    }
    assert_eq!(metric(&server, "mooring_raw_gaps_total").await, 0);
}

#[tokio::test]
async fn a_gap_of_more_than_one_read_holds_reaches_a_raw_client_whole_in_order_and_once() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port()).await.unwrap();
    let server = Server::start(|settings| settings.redis_url = Some(redis_server::url(proxy.port())));
    let mut listener = server.raw("room").await;
    let elsewhere = Node::redis(&redis, 1).await;
    proxy.set(Fault::CutOff);
    let kept = Retention { size: 5_000, ..RETENTION };
    let channel = backplane_channel("room");
    for number in 0..2_000 {
        let op = publish(&channel, &number.to_string(), Some(kept), None);
        elsewhere.handle.call(op).await.unwrap();
    }
    proxy.set(Fault::None);
    for number in 0..2_000 {
        assert_eq!(heard(&mut listener).await, Message::text(number.to_string()));
    }
    assert_eq!(metric(&server, "mooring_raw_gaps_total").await, 0);
}

#[tokio::test]
async fn of_a_gap_that_redis_holds_no_more_a_raw_client_is_not_told_but_it_is_counted_and_what_follows_arrives()
 {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port()).await.unwrap();
    let server = Server::start(|settings| settings.redis_url = Some(redis_server::url(proxy.port())));
    let mut listener = server.raw("room").await;
    let elsewhere = Node::redis(&redis, 1).await;
    proxy.set(Fault::CutOff);
    let channel = backplane_channel("room");
    for number in 0..200 {
        let op = publish(&channel, &number.to_string(), Some(RETENTION), None);
        elsewhere.handle.call(op).await.unwrap();
    }
    proxy.set(Fault::None);
    until("the gap is counted", || async { metric(&server, "mooring_raw_gaps_total").await == 1 }).await;
    listener.text("ready?").await;
    let mut speaker = server.raw("room").await;
    speaker.text("after").await;
    assert_eq!(heard(&mut listener).await, Message::text("after"));
}
