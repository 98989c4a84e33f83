//! Clients that ask a gateway for more than a Redis that hangs will answer.

use std::time::{Duration, Instant};

use mooring_gateway::settings::Secret;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    gateway::{Server, WebSocket, until},
    redis_server::{PASSWORD, RedisServer},
};

/// Several times what may wait, and what one read takes.
const FLOOD: usize = 3_000;

fn gateway(redis: &RedisServer) -> Server {
    Server::start(|settings| {
        settings.redis_url = Some(redis.url());
        settings.secrets.redis_password = Some(Secret::new(PASSWORD));
        // Whatever is published while nothing is heard of it is still there afterwards, so that nobody is told to subscribe again.
        let history = settings.config.channels.default.history.as_mut().unwrap();
        history.size = FLOOD as u32;
    })
}

/// A client that is subscribed to "c", once Redis is there.
async fn subscriber(server: &Server) -> WebSocket {
    let mut socket = server.centrifuge().await;
    loop {
        let reply = socket.command(r#"{"id":2,"subscribe":{"channel":"c"}}"#).await;
        if reply["subscribe"].is_object() {
            return socket;
        }
    }
}

/// A Redis that hangs, and a client that is read no further because of that.
async fn flooded() -> (RedisServer, Server, WebSocket) {
    let redis = RedisServer::start();
    let server = gateway(&redis);
    let mut socket = subscriber(&server).await;
    redis.signal("STOP");
    for id in 3..3 + FLOOD {
        socket.text(&format!(r#"{{"id":{id},"publish":{{"channel":"c","data":{id}}}}}"#)).await;
    }
    held_back(&server).await;
    (redis, server, socket)
}

/// Waits until some client is read no further.
async fn held_back(server: &Server) {
    until("a pause", || async {
        let metrics = server.http(server.control, "GET /metrics", &[], b"").await.body;
        metrics.contains("mooring_reading_paused_total 1\n")
    })
    .await;
}

/// The next line that answers a command.
async fn reply(socket: &mut WebSocket) -> Value {
    loop {
        let line = socket.json().await;
        if line["id"].is_number() {
            break line;
        }
    }
}

/// Whether it is the answer to a publish: carried out, or perhaps carried out if Redis hung for long.
fn is_answer(line: &Value) -> bool {
    line["publish"].is_object() || line["error"]["code"] == 100
}

#[tokio::test]
async fn a_client_that_floods_a_redis_that_hangs_is_held_back_and_gets_every_answer_in_order() {
    let (redis, _server, mut socket) = flooded().await;
    redis.signal("CONT");
    for id in 3..3 + FLOOD {
        let answer = reply(&mut socket).await;
        assert!(answer["id"] == id && is_answer(&answer), "{answer} where {id} is answered");
    }
    socket.text(r#"{"id":9999,"ping":{}}"#).await;
    assert_eq!(reply(&mut socket).await["id"], 9999, "it is served as before");
}

#[tokio::test]
async fn what_a_raw_client_sent_before_it_hung_up_is_delivered_although_it_was_held_back() {
    let redis = RedisServer::start();
    let server = gateway(&redis);
    let mut listener = server.raw("c").await;
    let mut socket = server.web_socket("/raw/c").await;
    redis.signal("STOP");
    for number in 0..FLOOD {
        socket.text(&number.to_string()).await;
    }
    held_back(&server).await;
    drop(socket);
    redis.signal("CONT");
    for number in 0..FLOOD {
        let message = loop {
            match listener.message().await {
                message if message == Message::text("ready?") => {}
                message => break message,
            }
        };
        assert_eq!(message, Message::text(number.to_string()));
    }
    server.holds(1).await;
}

#[tokio::test]
async fn a_client_that_is_held_back_can_be_moved() {
    let (redis, server, mut socket) = flooded().await;
    let drain = br#"{"connectionsPerSecond":1000,"deadlineSeconds":60}"#;
    assert_eq!(server.http(server.control, "POST /drain", &[], drain).await.status, 200);
    until("the move", || async { server.report().await.drain.is_some_and(|drain| drain.moved == 1) }).await;
    redis.signal("CONT");
    let mut answers = 0;
    let code = loop {
        match socket.message().await {
            Message::Close(frame) => break frame.map(|frame| u16::from(frame.code)),
            message => {
                let line: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
                answers += usize::from(is_answer(&line));
            }
        }
    };
    assert_eq!(code, Some(3001));
    assert!((256..FLOOD).contains(&answers), "{answers} answers: those that waited, and no more");
    drop(socket);
    server.holds(0).await;
}

#[tokio::test]
async fn a_client_that_missed_more_than_its_queue_holds_recovers_all_of_it_in_parts_and_then_what_is_live() {
    let redis = RedisServer::start();
    let server = gateway(&redis);
    let mut socket = server.centrifuge().await;
    let position = loop {
        let reply = socket.command(r#"{"id":2,"subscribe":{"channel":"c","recover":true}}"#).await;
        if reply["subscribe"].is_object() {
            break reply["subscribe"].clone();
        }
    };
    drop(socket);
    let data = "x".repeat(20 * 1024);
    for _ in 0..60 {
        let reply = server.api("publish", &format!(r#"{{"channel":"c","data":"{data}"}}"#)).await;
        assert!(reply["result"].is_object(), "{reply}");
    }
    let mut socket = server.centrifuge().await;
    let epoch = &position["epoch"];
    let (mut last, mut parts) = (0, 0);
    loop {
        let since = format!(r#""recover":true,"offset":{last},"epoch":{epoch}"#);
        socket.text(&format!(r#"{{"id":2,"subscribe":{{"channel":"c",{since}}}}}"#)).await;
        let answer = reply(&mut socket).await;
        let subscribe = &answer["subscribe"];
        assert_eq!(subscribe["recovered"], true, "{answer}");
        let publications = subscribe["publications"].as_array().unwrap();
        assert!((1..=26).contains(&publications.len()), "{} of 20 KiB in half of 1 MiB", publications.len());
        let offsets: Vec<_> = publications.iter().map(|publication| publication["offset"].clone()).collect();
        assert_eq!(offsets, (last + 1..=last + publications.len()).collect::<Vec<_>>());
        last += publications.len();
        parts += 1;
        assert_eq!(subscribe["offset"], last, "the client is where its publications end");
        if last == 60 && parts == 3 {
            break;
        }
        assert_eq!(socket.json().await["push"]["unsubscribe"]["code"], 2500, "it comes again for the rest");
    }
    let reply = server.api("publish", r#"{"channel":"c","data":61}"#).await;
    assert!(reply["result"].is_object(), "{reply}");
    let live = loop {
        let line = socket.json().await;
        if line["push"]["pub"].is_object() {
            break line;
        }
    };
    assert_eq!(live["push"]["pub"]["offset"], 61, "{live}");
}

#[tokio::test]
async fn clients_that_wait_for_a_redis_that_hangs_leave_no_faster_than_asked_when_its_time_is_over() {
    const CLIENTS: usize = 20;
    const RATE: usize = 5;
    let redis = RedisServer::start();
    let server = gateway(&redis);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(subscriber(&server).await);
    }
    redis.signal("STOP");
    for client in &mut clients {
        client.text(r#"{"id":3,"publish":{"channel":"c","data":0}}"#).await;
    }
    let drain = format!(r#"{{"connectionsPerSecond":{RATE},"deadlineSeconds":60}}"#);
    assert_eq!(server.http(server.control, "POST /drain", &[], drain.as_bytes()).await.status, 200);
    let closed = futures::future::join_all(clients.into_iter().map(async |client| {
        assert_eq!(client.close_code().await, 3001);
        Instant::now()
    }));
    let closed = closed.await;
    // Shorter than a second, so that what delays a look at a close makes no rate of its own.
    let within = |start: Instant| {
        closed.iter().filter(|at| (start..start + Duration::from_millis(800)).contains(*at)).count()
    };
    let busiest = closed.iter().map(|start| within(*start)).max();
    assert!(busiest.is_some_and(|count| count <= RATE), "{busiest:?} closes in 0.8 s: {closed:?}");
}
