//! Raw clients of a gateway whose Redis goes away: they stay.

use mooring_gateway::settings::Secret;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    gateway::{Server, WebSocket, until},
    redis_server::{PASSWORD, RedisServer},
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
        settings.secrets.redis_password = Some(Secret::new(PASSWORD));
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
        settings.secrets.redis_password = Some(Secret::new(PASSWORD));
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
