//! The client of the gateways' control port against real HTTP on loopback.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gateway_core::control::{Connections, DrainRequest, Report};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mooring_operator::gateways::{Gateway, GatewayError, Gateways};
use tokio::net::TcpListener;

/// What a gateway was asked: method, path, authorization, body.
type Asked = (String, String, String, String);

/// A control port that gives `status` and `body` to everyone, and the log of what it was asked.
async fn control_port(status: StatusCode, body: impl Into<Bytes>) -> (SocketAddr, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, body) = (asked.clone(), body.into());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (log, body) = (log.clone(), body.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (log, body) = (log.clone(), body.clone());
                async move {
                    let (head, sent) = request.into_parts();
                    let authorization = head.headers[AUTHORIZATION].to_str().unwrap().to_owned();
                    let sent = String::from_utf8(sent.collect().await.unwrap().to_bytes().into()).unwrap();
                    let question = (head.method.to_string(), head.uri.path().to_owned(), authorization, sent);
                    log.lock().unwrap().push(question);
                    let mut response = Response::new(Full::new(body));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    (address, asked)
}

fn gateway(address: SocketAddr) -> Gateway {
    Gateway { name: "chat-1".into(), address, token: "secret".into() }
}

fn report_of(node: &str) -> Report {
    Report { node: node.into(), connections: Connections { centrifuge: 3, raw: 2 }, ..Report::default() }
}

#[tokio::test]
async fn a_report_is_asked_for_with_the_token_and_read() {
    let report = report_of("chat-1");
    let (address, asked) = control_port(StatusCode::OK, serde_json::to_vec(&report).unwrap()).await;
    assert_eq!(Gateways::default().report(&gateway(address)).await.unwrap(), report);
    let question = ("GET".into(), "/report".into(), "Bearer secret".into(), String::new());
    assert_eq!(*asked.lock().unwrap(), [question]);
}

#[tokio::test]
async fn a_drain_is_started_with_its_pace_and_deadline_and_taken_back() {
    let (address, asked) = control_port(StatusCode::OK, "").await;
    let gateways = Gateways::default();
    let request = DrainRequest { connections_per_second: 12.5, deadline_seconds: 90 };
    gateways.drain(&gateway(address), &request).await.unwrap();
    gateways.cancel_drain(&gateway(address)).await.unwrap();
    let body = r#"{"connectionsPerSecond":12.5,"deadlineSeconds":90}"#;
    let questions = [
        ("POST".into(), "/drain".into(), "Bearer secret".into(), body.into()),
        ("DELETE".into(), "/drain".into(), "Bearer secret".into(), String::new()),
    ];
    assert_eq!(*asked.lock().unwrap(), questions);
}

#[tokio::test]
async fn a_refusal_tells_the_address_and_the_status() {
    let (address, _) = control_port(StatusCode::UNAUTHORIZED, "").await;
    let error = Gateways::default().report(&gateway(address)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address} answered 401 Unauthorized"));
}

#[tokio::test]
async fn the_report_of_a_gateway_that_took_over_the_address_is_not_mistaken_for_another_s() {
    let (address, _) = control_port(StatusCode::OK, serde_json::to_vec(&report_of("chat-2")).unwrap()).await;
    let error = Gateways::default().report(&gateway(address)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address} is chat-2, not chat-1"));
}

#[tokio::test]
async fn an_answer_that_is_no_report_is_malformed() {
    let (address, _) = control_port(StatusCode::OK, "<html>").await;
    let error = Gateways::default().report(&gateway(address)).await.unwrap_err();
    assert!(matches!(error, GatewayError::Malformed(..)), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (address, _) = control_port(StatusCode::OK, vec![b' '; 1 << 20]).await;
    let error = Gateways::default().report(&gateway(address)).await.unwrap_err();
    assert!(matches!(error, GatewayError::Incomplete(..)), "{error}");
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Gateways::default().report(&gateway(address)).await.unwrap_err();
    assert!(matches!(error, GatewayError::Unreachable(..)), "{error}");
}

#[tokio::test]
async fn a_gateway_that_never_answers_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let _accepted = listener.accept().await.unwrap();
        pending::<()>().await;
    });
    let error = Gateways::default().report(&gateway(address)).await.unwrap_err();
    assert!(matches!(error, GatewayError::Timeout(..)), "{error}");
}
