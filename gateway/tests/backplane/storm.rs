//! Everything that is bounded, attacked at once: one gateway process with little memory, while its Redis hangs now and then.

mod attackers;
mod neighbour;
mod process;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;

use self::{attackers::Target, neighbour::Neighbour, process::Process};
use crate::redis_server::RedisServer;

/// `limits.memoryBytes` of the gateway.
const BUDGET: usize = 32 * 1024 * 1024;
/// What a debug build with some hundred connections has besides: itself, its idle connections and HTTP tasks, and what its allocator has
/// not given back.
const OVERHEAD: usize = 64 * 1024 * 1024;
const ATTACK: Duration = Duration::from_secs(20);
const NEIGHBOURS: usize = 8;
/// More than all their messages: a debug build on a busy machine may be as far behind as the attack is long.
const KEPT: usize = 4_000;

#[tokio::test]
async fn whatever_attackers_do_at_once_memory_stays_within_its_limit_and_neighbours_lose_nothing() {
    let redis = RedisServer::start();
    let gateway = Process::start(&redis, BUDGET, KEPT);
    let over = Arc::new(AtomicBool::new(false));
    let neighbours = (0..NEIGHBOURS).map(|number| Neighbour::connect(gateway.client, number));
    let neighbours = join_all(neighbours).await;
    let living: Vec<_> =
        neighbours.into_iter().map(|neighbour| tokio::spawn(neighbour.live(over.clone()))).collect();
    let idle = gateway.resident();

    let target = Target { client: gateway.client, until: Instant::now() + ATTACK };
    let attackers = std::thread::spawn(move || attackers::attack(target));
    let hangs = async {
        for _ in 0..3 {
            tokio::time::sleep(ATTACK / 9).await;
            redis.signal("STOP");
            tokio::time::sleep(ATTACK / 9).await;
            redis.signal("CONT");
            tokio::time::sleep(ATTACK / 9).await;
            // As Redis does to whoever is too far behind. What was on its way is lost with the connection.
            redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
    };
    let watch = async {
        let (mut most, mut held) = (0, 0);
        while Instant::now() < target.until {
            most = most.max(gateway.resident());
            held = held.max(gateway.metric("mooring_memory_held_bytes").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (most, held)
    };
    let ((), (most, held)) = tokio::join!(hangs, watch);
    attackers.join().expect("attackers get what they deserve");

    over.store(true, Relaxed);
    let neighbours = join_all(living).await.into_iter();
    let mut neighbours: Vec<_> = neighbours.map(|neighbour| neighbour.expect("it stays connected")).collect();
    let acknowledged: Vec<_> =
        neighbours.iter().flat_map(|one| one.log.acknowledged.iter().copied()).collect();
    join_all(neighbours.iter_mut().map(|neighbour| neighbour.hear(&acknowledged))).await;
    let mut latencies: Vec<_> = neighbours.iter().flat_map(|one| one.log.latencies.iter().copied()).collect();
    latencies.sort();
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    let mebibytes = |bytes: usize| bytes / 1024 / 1024;
    println!(
        "resident: {} MiB before, {} MiB at most; counted: {} MiB at most of {} MiB; shed {}, refused {}, paused {}",
        mebibytes(idle),
        mebibytes(most),
        mebibytes(held),
        mebibytes(BUDGET),
        gateway.metric("mooring_shed_total").await,
        gateway.metric("mooring_backplane_refused_total").await,
        gateway.metric("mooring_reading_paused_total").await,
    );
    println!(
        "{} messages of neighbours, from their first try to their return: p50 {:?}, p99 {:?}, at most {:?}",
        acknowledged.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
    );
    assert!(acknowledged.len() > NEIGHBOURS * 10, "they got on with it");
    assert!(most < BUDGET + OVERHEAD, "{} MiB", mebibytes(most));
    assert!(held > BUDGET / 2, "it was an attack: {} MiB", mebibytes(held));
}
