//! `mooring-gateway probe` against a gateway.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use mooring_gateway::{
    probe::{ProbeError, probe},
    settings::Secret,
};

use crate::support::{Server, within};

const LIMIT: Duration = Duration::from_secs(15);
/// Room for one attempt.
const ONCE: Duration = Duration::ZERO;

/// How a probe ended, and what it told meanwhile.
async fn probed(url: String, limit: Duration) -> (Result<(), String>, Vec<String>) {
    let probing = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        let ended = probe(&url, limit, |reason| told.push(reason.to_string()));
        (ended.map_err(|error| error.to_string()), told)
    });
    within("the probe's end", probing).await.unwrap()
}

#[tokio::test]
async fn a_message_that_one_client_gets_from_another_shows_that_the_cluster_works() {
    let server = Server::start(|_| {});
    let ended = probed(format!("ws://{}/raw/probe", server.client), ONCE).await;
    assert_eq!(ended, (Ok(()), vec![]));
}

#[tokio::test]
async fn a_gateway_that_starts_late_is_waited_for_and_the_reason_is_told_once() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (told, mut reasons) = tokio::sync::mpsc::channel(8);
    let probing = tokio::task::spawn_blocking(move || {
        probe(&format!("ws://{address}/raw/probe"), LIMIT, |reason| {
            told.blocking_send(reason.to_string()).unwrap();
        })
        .map_err(|error| error.to_string())
    });
    let reason = within("the reason", reasons.recv()).await.unwrap();
    assert!(reason.starts_with(&format!("{address}: no connection")), "{reason}");
    let _server = Server::start(|settings| settings.listen = address);
    assert_eq!(within("the probe's end", probing).await.unwrap(), Ok(()));
    assert_eq!(reasons.recv().await, None);
}

#[tokio::test]
async fn what_is_in_the_way_is_named_with_where_to_look() {
    let private = Server::start(|settings| {
        settings.config.auth.anonymous = false;
        settings.secrets.token_keys.hmac_secrets = vec![Secret::new("secret")];
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, words) in [
        (format!("ws://{}/raw/probe", private.client), ["HTTP error: 401", "without a token?"]),
        (format!("ws://{closed}/raw/probe"), ["Connection refused", "is a pod behind the Service ready"]),
        (
            "ws://nobody.invalid:8000/raw/probe".into(),
            ["nobody.invalid:8000: has no address", "does DNS answer?"],
        ),
    ] {
        let (ended, told) = probed(url, ONCE).await;
        let reason = ended.unwrap_err();
        assert!(words.iter().all(|words| reason.contains(words)) && told.is_empty(), "{reason} {told:?}");
    }
}

#[test]
fn an_address_that_cannot_be_probed_is_refused_at_once() {
    for url in
        ["chat:8000", "wss://chat/raw/probe", "http://chat/raw/probe", "ws://chat/connection/websocket", ""]
    {
        let refusal = probe(url, LIMIT, |reason| panic!("{reason}"));
        assert!(matches!(&refusal, Err(ProbeError::Url(refused)) if refused == url), "{refusal:?}");
    }
}

#[test]
fn a_probe_that_is_told_to_end_ends_by_itself_as_the_first_process_of_a_container_has_to() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut probing = Command::new(env!("CARGO_BIN_EXE_mooring-gateway"))
        .args(["probe", &format!("ws://{nobody}/raw/probe")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reason = String::new();
    BufReader::new(probing.stderr.take().unwrap()).read_line(&mut reason).unwrap();
    assert!(reason.starts_with("not yet: "), "{reason}");
    assert!(Command::new("kill").arg(probing.id().to_string()).status().unwrap().success());
    // A signal that nobody handles leaves no code.
    assert_eq!(probing.wait().unwrap().code(), Some(1));
}
