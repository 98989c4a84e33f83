//! Moving clients away: on request, and on SIGTERM.

use std::time::{Duration, Instant};

use gateway_core::control::{DrainProgress, DrainTrigger};
use mooring_gateway::settings::Secret;

use crate::support::{Answer, Server, WebSocket, until};

async fn drain(server: &Server, per_second: f64, seconds: u64) -> Answer {
    let body = format!(r#"{{"connectionsPerSecond":{per_second},"deadlineSeconds":{seconds}}}"#);
    server.http(server.control, "POST /drain", &[], body.as_bytes()).await
}

async fn clients(server: &Server, count: u32) -> Vec<WebSocket> {
    let mut clients = Vec::new();
    for n in 0..count {
        clients.push(if n % 2 == 0 { server.centrifuge().await } else { server.web_socket("/raw/a").await });
    }
    server.holds(count).await;
    clients
}

/// Follows every client to its end; the close code of each.
async fn follow(clients: Vec<WebSocket>) -> Vec<u16> {
    futures::future::join_all(clients.into_iter().map(WebSocket::close_code)).await
}

#[tokio::test]
async fn a_requested_drain_moves_every_client_once_and_never_faster_than_asked() {
    let server = Server::start(|_| {});
    let clients = clients(&server, 60).await;
    let start = Instant::now();
    assert_eq!(drain(&server, 40.0, 60).await.status, 200);
    let following = tokio::spawn(follow(clients));
    until("the last client's move", || async {
        let moved = server.report().await.drain.unwrap().moved;
        // A tenth of a second's worth may go at once. Whatever delays this look at it only adds to the time.
        let allowed = 4.0 + 40.0 * start.elapsed().as_secs_f64();
        assert!(moved as f64 <= allowed, "{moved} moved where {allowed} may be");
        moved == 60
    })
    .await;
    let codes = following.await.unwrap();
    assert!(codes.iter().all(|code| [3001, 1012].contains(code)), "{codes:?}");
    server.holds(0).await;
    let progress = server.report().await.drain.unwrap();
    assert_eq!((progress.trigger, progress.moved, progress.remaining), (DrainTrigger::Requested, 60, 0));
}

#[tokio::test]
async fn a_draining_gateway_is_not_ready_refuses_newcomers_and_can_be_taken_back() {
    let server = Server::start(|_| {});
    let _client = server.web_socket("/raw/a").await;
    assert_eq!(drain(&server, 0.0, 60).await.status, 200);
    let ready = server.http(server.control, "GET /readyz", &[], b"").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    let upgrade = "GET /raw/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    until("refusals", || async { server.exchange(server.client, upgrade.as_bytes()).await.status == 503 })
        .await;
    assert_eq!(server.http(server.control, "DELETE /drain", &[], b"").await.status, 200);
    assert_eq!(server.http(server.control, "GET /readyz", &[], b"").await.status, 200);
    let _second = server.web_socket("/raw/a").await;
    server.holds(2).await;
    assert_eq!(server.report().await.drain, None);
}

#[tokio::test]
async fn a_paused_drain_goes_on_when_it_is_steered_and_ends_at_its_deadline() {
    let server = Server::start(|_| {});
    let clients = clients(&server, 10).await;
    drain(&server, 0.0, 3_600).await;
    assert_eq!(server.report().await.connections.total(), 10);
    drain(&server, 0.0, 0).await;
    assert_eq!(follow(clients).await.len(), 10);
    server.holds(0).await;
}

#[tokio::test]
async fn a_report_tells_the_pace_that_was_granted_last_and_the_time_that_is_left() {
    let server = Server::start(|_| {});
    let _following = tokio::spawn(follow(clients(&server, 9).await));
    drain(&server, 0.0, 3_600).await;
    let start = Instant::now();
    drain(&server, 0.001, 90).await;
    until("the first client's end", || async { server.report().await.connections.total() == 8 }).await;
    let progress = server.report().await.drain.unwrap();
    let seconds_left = progress.seconds_left;
    let expected = DrainProgress {
        trigger: DrainTrigger::Requested,
        connections_per_second: 0.001,
        moved: 1,
        remaining: 8,
        seconds_left,
    };
    assert_eq!(progress, expected);
    assert!((89 - start.elapsed().as_secs()..=90).contains(&seconds_left), "{seconds_left}");
}

#[tokio::test]
async fn a_gateway_told_to_terminate_moves_its_clients_and_ends_well() {
    let server = Server::start(|s| s.config.drain.max_reconnects_per_second = 1_000);
    let clients = clients(&server, 20).await;
    server.terminate();
    let codes = follow(clients).await;
    assert!(codes.iter().all(|code| [3001, 1012].contains(code)), "{codes:?}");
    assert_eq!(server.ended().await, Ok(()));
}

#[tokio::test]
async fn a_terminating_gateway_can_be_steered_but_not_taken_back() {
    let server = Server::start(|s| s.settle = Duration::from_secs(3_600));
    let clients = clients(&server, 4).await;
    server.terminate();
    until("the drain", || async { server.report().await.drain.is_some() }).await;
    assert_eq!(server.http(server.control, "DELETE /drain", &[], b"").await.status, 409);
    drain(&server, 1_000.0, 60).await;
    follow(clients).await;
    assert_eq!(server.ended().await, Ok(()));
}

#[tokio::test]
async fn a_deadline_beyond_all_time_is_one_that_never_comes() {
    let server = Server::start(|_| {});
    let clients = clients(&server, 2).await;
    drain(&server, 0.0, u64::MAX).await;
    server.terminate();
    let terminating =
        async || server.report().await.drain.is_some_and(|d| d.trigger == DrainTrigger::Terminated);
    until("the signal", terminating).await;
    drain(&server, 1_000.0, u64::MAX).await;
    follow(clients).await;
    assert_eq!(server.ended().await, Ok(()));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_says_so() {
    let server = Server::start(|s| s.settle = Duration::from_secs(3_600));
    let _clients = clients(&server, 2).await;
    server.terminate();
    server.terminate();
    assert_eq!(server.ended().await, Err("ended by a second signal with 2 connections left".to_owned()));
}

#[tokio::test]
async fn report_and_drain_ask_for_the_control_token_and_health_does_not() {
    let server = Server::start(|s| s.secrets.control_token = Some(Secret::new("t0ken")));
    let get = async |request: &str, headers: &[&str]| {
        server.http(server.control, request, headers, b"").await.status
    };
    assert_eq!(get("GET /report", &[]).await, 401);
    assert_eq!(get("GET /report", &["Authorization: Bearer wrong"]).await, 401);
    assert_eq!(get("DELETE /drain", &[]).await, 401);
    assert_eq!(get("POST /drain", &[]).await, 401);
    assert_eq!(get("GET /report", &["Authorization: Bearer t0ken"]).await, 200);
    assert_eq!(get("GET /livez", &[]).await, 200);
    assert_eq!(get("GET /metrics", &[]).await, 200);
}

#[tokio::test]
async fn a_drain_request_that_makes_no_sense_is_refused_with_its_field() {
    let server = Server::start(|_| {});
    let cases = [
        (r#"{"connectionsPerSecond":"fast","deadlineSeconds":1}"#, "connectionsPerSecond: invalid type"),
        (r#"{"connectionsPerSecond":1}"#, "missing field `deadlineSeconds`"),
        (r#"{"connectionsPerSecond":-1,"deadlineSeconds":1}"#, "connectionsPerSecond is -1"),
        (r#"{"connectionsPerSecond":1,"deadlineSeconds":-1}"#, "deadlineSeconds: invalid"),
    ];
    for (body, message) in cases {
        let answer = server.http(server.control, "POST /drain", &[], body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(message), "{body}: {}", answer.body);
    }
    assert_eq!(server.report().await.drain, None);
}
