//! A drain that has less time than its pace asks for.

use std::time::Duration;

use e2e::{
    in_namespace,
    load::{SOON, first_pod, spec, under_load},
};
use serde_json::json;

const BUDGET: i32 = 5;
/// Seconds that a pod has to move its clients.
const TIMEOUT: u64 = 15;
/// Seconds after the drain's start by which the first client is moved, on a busy machine.
const LATE: u64 = 4;
const CLIENTS: usize = 300;

#[tokio::test]
async fn a_drain_keeps_its_pace_until_its_time_is_up_and_then_closes_the_rest_at_once_and_loses_nothing() {
    in_namespace("deadline", async |scope| {
        let mut slow = spec(2, BUDGET);
        slow.disruption.drain_timeout = format!("{TIMEOUT}s");
        let load = under_load(&scope, slow, CLIENTS).await;
        let (_, of_a_pod) = first_pod(&load.gateways).await;
        load.gateways.patch(&json!({"spec": {"replicas": 1}})).await;
        load.gateways.until("a pod is drained", SOON, |status| status.draining_replicas == 1).await;
        load.gateways.ready().await;
        let aftermath = load.aftermath("a drain whose time is up").await;
        aftermath.assert_nothing_lost();
        let stats = &aftermath.stats;
        assert_eq!(stats.deliveries.told_not_recovered, 0, "{stats:#?}");
        assert_eq!(stats.reconnects.most_of_one_client(), 1, "{stats:#?}");

        let (paced, rest) = aftermath.moves.split(Duration::from_secs(TIMEOUT - LATE));
        let budget = BUDGET as u64;
        assert!(paced.peak(Duration::from_secs(1)) <= budget, "faster than the budget: {aftermath:#?}");
        assert!(paced.count() >= budget * TIMEOUT / 2, "slower than half the budget: {aftermath:#?}");
        let at_once = rest.peak(Duration::from_secs(1));
        assert!(at_once > 10 * budget, "nobody was left, so nothing is shown: {aftermath:#?}");
        let paced_until_the_end = (LATE + 1) * budget;
        assert!(
            rest.count() <= at_once + paced_until_the_end,
            "the rest was not closed at once: {aftermath:#?}"
        );
        let all = paced.count() + rest.count();
        assert!(
            all.abs_diff(of_a_pod) <= CLIENTS as u64 / 2,
            "{all} of some {of_a_pod} were moved: {aftermath:#?}"
        );
    })
    .await;
}
