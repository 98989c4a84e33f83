//! A Redis that speaks TLS, and each way in which it does not come to that.

use gateway_core::control::BackplaneTrouble::{
    self, CertificateExpired, ClientCertificateRefused, UnknownAuthority, Unreachable, WrongName,
};
use mooring_gateway::backplane::RedisAccess;

use crate::{
    certificates::{Authority, Files, Identity},
    redis_server::{self, PASSWORD, RedisServer},
    support::{Node, enter, numbers, until},
};

fn url(server: &RedisServer) -> String {
    format!("rediss://:{PASSWORD}@localhost:{}", server.tls_port())
}

/// A Redis of this name; `clients` is whether clients have to show a certificate.
fn redis(files: &Files, authority: &Authority, identity: &Identity, clients: &str) -> RedisServer {
    let ca = authority.write(files, "redis-ca.crt");
    RedisServer::start_with_tls([&ca, &identity.certificate, &identity.key], clients)
}

fn trusting(files: &Files, authority: &Authority) -> RedisAccess {
    RedisAccess { ca_file: Some(authority.write(files, "ca.crt")), ..RedisAccess::default() }
}

fn showing(identity: &Identity, access: RedisAccess) -> RedisAccess {
    RedisAccess {
        client_certificate_file: Some(identity.certificate.clone()),
        client_key_file: Some(identity.key.clone()),
        ..access
    }
}

fn cut_off(server: &RedisServer) {
    for kind in ["normal", "pubsub"] {
        server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
}

#[tokio::test]
async fn nothing_is_missing_over_tls_however_much_it_is_and_whatever_breaks() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let server = redis(&files, &authority, &authority.sign(&files, "redis", &["localhost"]), "no");
    let mut nodes = [1, 2].map(|id| Node::start(&url(&server), trusting(&files, &authority), "mooring", id));
    for node in &mut nodes {
        node.healthy().await;
        node.shards[0].subscribe("c", None).await;
    }
    let text = |number: usize| format!("{number:020000}");
    for number in 0..40 {
        if number % 20 == 10 {
            cut_off(&server);
        }
        until("published", async || nodes[number % 2].publish("c", &text(number)).await.is_ok()).await;
    }
    for node in &mut nodes {
        // A publish that was not answered is done again, whether it was carried out or not.
        let mut texts = node.shards[0].texts(40).await;
        while texts.last().is_some_and(|last| *last != text(39)) {
            texts.extend(node.shards[0].texts(1).await);
        }
        texts.dedup();
        assert_eq!(texts, (0..40).map(text).collect::<Vec<_>>());
        let mut history = node.history("c").await;
        history.dedup();
        assert_eq!(history, texts, "one answer of 800 kB");
    }
    nodes[0].shards[0].call(enter("d", "a")).await.unwrap();
    until("it is present", async || nodes[1].presence("d").await == ["a"]).await;
}

#[tokio::test]
async fn each_way_in_which_tls_fails_is_told_by_its_name_and_with_its_remedy() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let (other, made_anew) = (Authority::new("another"), Authority::new("ours"));
    let sign = |name: &str, names: &[&str]| authority.sign(&files, name, names);
    let good = redis(&files, &authority, &sign("good", &["localhost"]), "no");
    let elsewhere = redis(&files, &authority, &sign("elsewhere", &["redis.example"]), "no");
    let expired = redis(&files, &authority, &authority.sign_expired(&files, "expired", &["localhost"]), "no");
    let strict = redis(&files, &authority, &sign("strict", &["localhost"]), "yes");
    let stranger = other.sign(&files, "stranger", &["gateway"]);
    let trust = || trusting(&files, &authority);
    let only = |ca| RedisAccess { ca_file: Some(ca), ..RedisAccess::default() };
    let (another, namesake) = (other.write(&files, "another.crt"), made_anew.write(&files, "made-anew.crt"));
    let without_tls = url(&good).replace(&good.tls_port().to_string(), &good.port().to_string());
    let cases: [(&str, String, RedisAccess, BackplaneTrouble, &str); 9] = [
        ("another CA", url(&good), only(another), UnknownAuthority, "of a CA that is unknown here"),
        ("a CA of that name", url(&good), only(namesake), UnknownAuthority, "of a CA that is unknown here"),
        ("no CA", url(&good), RedisAccess::default(), UnknownAuthority, "--redis-ca-file"),
        (
            "another name",
            url(&elsewhere),
            trust(),
            WrongName,
            "not for localhost, but for DnsName(\"redis.example\")",
        ),
        ("expired", url(&expired), trust(), CertificateExpired, "has expired"),
        ("no certificate", url(&strict), trust(), ClientCertificateRefused, "demands a client certificate"),
        (
            "a certificate of another CA",
            url(&strict),
            showing(&stranger, trust()),
            ClientCertificateRefused,
            "refuses this gateway's certificate (unknown CA)",
        ),
        ("no TLS there", without_tls, trust(), Unreachable, "TLS"),
        (
            "TLS there",
            redis_server::url(good.tls_port()),
            RedisAccess::default(),
            Unreachable,
            "write rediss://",
        ),
    ];
    for (case, url, access, kind, words) in cases {
        let node = Node::start(&url, access, "mooring", 1);
        let said = node.trouble(kind, words).await;
        assert!(said.contains(":") && !said.contains(PASSWORD), "{case}: {said}");
        node.stop().await;
    }
}

#[tokio::test]
async fn certificates_are_exchanged_on_both_sides_without_a_restart() {
    let (files, authorities) = (Files::new(), ["old", "new"].map(Authority::new));
    // Files of the same names: what one signs takes the place of what the other did.
    let names = |authority: &Authority| {
        (
            authority.sign(&files, "redis", &["localhost"]),
            showing(&authority.sign(&files, "gateway", &["gateway"]), trusting(&files, authority)),
        )
    };
    let (identity, access) = names(&authorities[0]);
    let server = redis(&files, &authorities[0], &identity, "yes");
    let mut node = Node::start(&url(&server), access, "mooring", 1);
    node.healthy().await;
    node.shards[0].subscribe("c", None).await;
    names(&authorities[1]);
    let ca = authorities[1].write(&files, "redis-ca.crt");
    let path = |path: &std::path::Path| path.display().to_string();
    // Redis reads its files when it is told their names.
    server.command(&[
        "CONFIG",
        "SET",
        "tls-ca-cert-file",
        &path(&ca),
        "tls-cert-file",
        &path(&identity.certificate),
        "tls-key-file",
        &path(&identity.key),
    ]);
    node.publish("c", "1").await.unwrap();
    cut_off(&server);
    until("published", async || node.publish("c", "2").await.is_ok()).await;
    node.healthy().await;
    let mut texts = node.shards[0].texts(2).await;
    texts.dedup();
    assert_eq!(texts, numbers(1..=2));
}
