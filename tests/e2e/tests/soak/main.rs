//! `make soak`: a cluster under faults at random, for hours. Everything that a fault may do is undone before the next one, and
//! after each the books have to balance. In the second half no fault ends a process: all of them have to live, and to stay as small.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a soak says how it goes, and its helpers fail as tests do"
)]

mod faults;
mod vitals;

use std::{
    env,
    time::{Duration, Instant},
};

use e2e::{
    eventually,
    gateways::is_ready,
    in_namespace,
    load::{LATER, Load, SOON, clients, spec, steadily, under_load},
    measured, node,
};
use k8s_openapi::api::core::v1::Pod;
use mooring_fleet::stats::Stats;
use rand::{SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    faults::{ALL, Fault},
    vitals::Vitals,
};

const REPLICAS: i32 = 3;
const BUDGET: u64 = 100;
const CLIENTS: usize = 400;

fn setting(name: &str) -> u64 {
    let value = env::var(name).unwrap_or_else(|_| panic!("{name} is unset; run `make soak`"));
    value.parse().unwrap_or_else(|error| panic!("{name} is {value}: {error}"))
}

/// The same cluster and the same clients as ever, and everything published until then delivered: then the counts of what
/// happened since the last time are final.
async fn settle(load: &Load, fault: Fault) {
    // What a status says may be of before the fault.
    eventually("all gateways are there", LATER, async || {
        let pods = load.gateways.pods().await;
        let whole = pods.len() == REPLICAS as usize && pods.values().all(is_ready);
        if whole { Ok(()) } else { Err(format!("{pods:#?}")) }
    })
    .await;
    load.gateways.ready().await;
    load.fleet.connect(&clients(CLIENTS)).await;
    let delivered = load.fleet.stats().await.deliveries.delivered + CLIENTS as u64;
    let flowing = |stats: &Stats| stats.deliveries.delivered >= delivered;
    load.fleet.until("messages flow again", SOON, flowing).await;
    let aftermath = load.aftermath(fault.name()).await;
    aftermath.assert_nothing_lost();
    let stats = &aftermath.stats;
    assert_eq!(stats.deliveries.told_not_recovered, 0, "{}: {aftermath:#?}", fault.name());
    let most = aftermath.moves.peak(Duration::from_secs(1));
    assert!(most <= BUDGET, "{}: {most} moved in a second: {aftermath:#?}", fault.name());
    // Whose connection just breaks is in no gateway's log: only a kill may do that.
    if fault != Fault::KilledGateway {
        let (told, closed) = (aftermath.moves.count(), stats.reconnects.closed);
        assert_eq!(told, closed, "{}: not all were told to go: {aftermath:#?}", fault.name());
    }
    if fault.keeps_connections() {
        assert_eq!(stats.reconnects.closed, 0, "{}: {aftermath:#?}", fault.name());
    }
}

#[tokio::test]
async fn a_fleet_under_all_faults_at_random_loses_nothing_and_no_process_grows() {
    let (limit, seed) = (Duration::from_secs(setting("MOORING_SOAK_SECONDS")), setting("MOORING_SOAK_SEED"));
    measured("seed, which MOORING_SOAK_SEED repeats", seed);
    let mut random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    in_namespace("soak", async |scope| {
        let first = under_load(&scope, spec(REPLICAS, BUDGET as i32), CLIENTS).await;
        let local = node::is_local(&gateway_of(&first).await).await;
        let (gateways, fleet) = (first.gateways.clone(), first.fleet.clone());
        drop(first);
        let mild: Vec<Fault> = ALL.into_iter().filter(|fault| fault.ends_no_process()).collect();
        let mut vitals = Vitals::default();
        let mut applied = 0;
        while started.elapsed() < limit {
            let is_first_half = started.elapsed() < limit / 2;
            let faults = if is_first_half { &ALL[..] } else { &mild };
            let fault = *faults.choose(&mut random).expect("there are faults");
            eprintln!("soak: {} s: {}", started.elapsed().as_secs(), fault.name());
            fleet.publish(&steadily()).await;
            let load = Load::watch(gateways.clone(), fleet.clone()).await;
            fault.apply(&load, &mut random).await;
            settle(&load, fault).await;
            if local && !is_first_half {
                vitals.sample(&scope).await;
            }
            applied += 1;
        }
        measured("faults survived", applied);
        if local {
            vitals.assert_flat();
        } else {
            e2e::skipped(
                "that memory and open files stay flat",
                "the nodes are not containers of this machine",
            );
        }
    })
    .await;
}

async fn gateway_of(load: &Load) -> Pod {
    load.gateways.pods().await.into_values().next().expect("there are pods")
}
