use std::sync::Arc;

use gateway_core::{config::GatewayConfig, policy::Policy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    task::LocalSet,
    time::Instant,
};

use super::*;
use crate::{checks::Checks, settings::Settings, shard::Order};

/// A set of keys by these names; which they are does not matter here.
fn set(names: &[&str]) -> String {
    let x = "Hvn7xUoVx3T6R911UbaO25b1BDWjkEwUBS_hMb2pOgA";
    let key = |name: &&str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}"#);
    format!(r#"{{"keys":[{}]}}"#, names.iter().map(key).collect::<Vec<_>>().join(","))
}

/// Somebody who publishes keys, or lets everybody wait who asks for them.
struct Issuer {
    url: String,
    published: Rc<RefCell<Option<String>>>,
    asked: watch::Receiver<usize>,
}

impl Issuer {
    async fn start(published: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let published = Rc::new(RefCell::new(published));
        let (counter, asked) = watch::channel(0);
        let current = published.clone();
        spawn_local(async move {
            let mut unanswered = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                let text = current.borrow().clone();
                counter.send_modify(|asked| *asked += 1);
                match text {
                    Some(text) => {
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                        stream.write_all((head + &text).as_bytes()).await.unwrap();
                    }
                    None => unanswered.push(stream),
                }
            }
        });
        Self { url, published, asked }
    }

    fn publish(&self, names: &[&str]) {
        *self.published.borrow_mut() = Some(set(names));
    }

    async fn is_asked(&mut self, times: usize) {
        self.asked.wait_for(|asked| *asked >= times).await.unwrap();
    }

    fn config(&self) -> GatewayConfig {
        let mut config = GatewayConfig::default();
        config.auth.jwks = Some(Jwks { url: self.url.clone(), allow_http: false });
        config
    }
}

/// What of a gateway has to do with fetched keys, and its one shard's orders.
struct Gateway {
    policies: Rc<Policies>,
    status: KeySetStatus,
    queue: mpsc::Sender<Order>,
    orders: mpsc::Receiver<Order>,
}

impl Gateway {
    fn start(issuer: &Issuer) -> Self {
        let policy = Policy::compile(issuer.config(), vec![]).unwrap();
        let settings = Settings { shards: 1, ..Settings::default() };
        let node = Arc::new(Node::new(settings, &policy, Checks::start(1).unwrap(), 100).unwrap());
        let (queue, orders) = mpsc::channel(1);
        let policies = Policies::new(node.clone(), vec![queue.clone()], Arc::new(policy), vec![]);
        let status = KeySetStatus::new(true);
        spawn_local({
            let (policies, status) = (policies.clone(), status.clone());
            async move { follow(&node, &policies, &status).await }
        });
        Self { policies, status, queue, orders }
    }

    /// Carries out what the shard is told; how many policies that were.
    fn carry_out(mut orders: mpsc::Receiver<Order>) -> watch::Receiver<usize> {
        let (counter, exchanges) = watch::channel(0);
        spawn_local(async move {
            while let Some(order) = orders.recv().await {
                if let Order::Exchange(..) = order {
                    counter.send_modify(|exchanges| *exchanges += 1);
                }
            }
        });
        exchanges
    }
}

async fn has_keys(status: &KeySetStatus, count: usize) {
    while status.health(Duration::ZERO).is_none_or(|health| health.keys != count) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_after_five_minutes_and_exchanged_when_they_are_others() {
    LocalSet::new()
        .run_until(async {
            let mut issuer = Issuer::start(Some(set(&["a", "b"]))).await;
            let Gateway { status, orders, .. } = Gateway::start(&issuer);
            let mut exchanges = Gateway::carry_out(orders);
            exchanges.wait_for(|exchanges| *exchanges == 1).await.unwrap();
            let begin = Instant::now();
            issuer.publish(&["b", "a"]);
            issuer.is_asked(2).await;
            let waited = begin.elapsed().as_secs();
            assert!((239..=300).contains(&waited), "{waited} s");
            issuer.publish(&["c"]);
            exchanges.wait_for(|exchanges| *exchanges > 1).await.unwrap();
            has_keys(&status, 1).await;
            assert_eq!(*exchanges.borrow(), 2, "another order is no other set");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_under_way_when_another_url_is_named_holds_up_nothing() {
    LocalSet::new()
        .run_until(async {
            let (mut slow, next) = (Issuer::start(None).await, Issuer::start(Some(set(&["a"]))).await);
            let Gateway { policies, status, orders, .. } = Gateway::start(&slow);
            let mut exchanges = Gateway::carry_out(orders);
            slow.is_asked(1).await;
            let begin = Instant::now();
            policies.exchange_config(next.config()).await.unwrap();
            exchanges.wait_for(|exchanges| *exchanges == 2).await.unwrap();
            has_keys(&status, 1).await;
            let health = status.health(Duration::ZERO).unwrap();
            assert_eq!((health.url, health.failure), (next.url, None));
            assert_eq!(begin.elapsed().as_secs(), 0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn shards_that_are_too_busy_for_fetched_keys_get_them_later_and_nobody_is_asked_again_meanwhile() {
    LocalSet::new()
        .run_until(async {
            let mut issuer = Issuer::start(Some(set(&["a"]))).await;
            let Gateway { status, queue, orders, .. } = Gateway::start(&issuer);
            queue.try_send(Order::Stop).unwrap();
            issuer.is_asked(1).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let health = status.health(Duration::ZERO).unwrap();
            assert_eq!((health.keys, health.failure, status.is_awaited()), (0, None, true));
            let exchanges = Gateway::carry_out(orders);
            has_keys(&status, 1).await;
            assert_eq!((*exchanges.borrow(), *issuer.asked.borrow()), (1, 1));
            assert!(!status.is_awaited());
        })
        .await;
}
