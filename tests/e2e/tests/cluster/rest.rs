//! A cluster at rest.

use std::{path::Path, time::Duration};

use e2e::{
    Scope, in_lane, inventory,
    load::{SOON, spec, under_load},
    measured, node, operator, skipped,
};
use jiff::Timestamp;
use operator_core::crd::WebSocketClusterStatus;
use tokio::{process::Command, time::sleep};

use crate::delivery::PODS;

/// One cluster for what disturbs nobody.
pub const LANE: &str = "rest";
const CLIENTS: usize = 150;
const REST: Duration = Duration::from_secs(60);

/// What the operator wrote into the namespace since then, from the audit log of our kind cluster.
async fn audited(scope: &Scope, since: Timestamp) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/audit-writes.sh");
    let output = Command::new(script).arg(since.to_string()).output().await.expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the audit log can't be read: {said}");
    let log = String::from_utf8(output.stdout).expect("text");
    let ours = || log.lines().filter(|line| line.contains(operator::USER));
    assert!(
        ours().any(|line| line.contains("/leases\t")),
        "the operator renews its lease at least, so these are not its writes: {log}"
    );
    let namespace = format!("\t{}", scope.namespace);
    ours().filter(|line| line.ends_with(&namespace)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_cluster_at_rest_causes_no_write_to_the_api_server_for_a_minute() {
    in_lane(LANE, async |scope| {
        let load = under_load(&scope, spec(PODS as i32, 200), CLIENTS).await;
        let told = |status: &WebSocketClusterStatus| status.connections == CLIENTS as i64;
        load.gateways.until("the status tells the connections", SOON, told).await;

        let before = inventory::without_pods(&scope).await;
        let since = Timestamp::now();
        sleep(REST).await;
        let after = inventory::without_pods(&scope).await;
        assert_eq!(after, before, "an object was written to while nothing changed");
        let pods = operator::pods(&scope.client).await;
        if node::is_local(pods.first().expect("the operator has a pod")).await {
            let writes = audited(&scope, since).await;
            assert!(writes.is_empty(), "{}", writes.join("\n"));
            measured("writes of the operator within a minute, its lease apart", writes.len());
        } else {
            skipped(
                "that nothing is written that changes nothing",
                "only our kind cluster's audit log can be read",
            );
        }
        let aftermath = load.aftermath("a minute at rest").await;
        aftermath.assert_nothing_lost();
        assert_eq!(aftermath.stats.reconnects.closed, 0, "{aftermath:#?}");
    })
    .await;
}
