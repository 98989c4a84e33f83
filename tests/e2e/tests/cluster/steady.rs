//! A cluster at rest.

use std::{path::Path, time::Duration};

use e2e::{Fleet, Gateways, alone, inventory, measured, node, operator};
use jiff::Timestamp;
use tokio::{process::Command, time::sleep};

use crate::support::{clients, spec, steadily};

const REST: Duration = Duration::from_secs(60);

/// What the operator wrote since then, from the audit log of our kind cluster; its lease is what a standby waits for.
async fn audited(since: Timestamp) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/audit-writes.sh");
    let output = Command::new(script).arg(since.to_string()).output().await.expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the audit log can't be read: {said}");
    let log = String::from_utf8(output.stdout).expect("text");
    let ours = log.lines().filter(|line| line.contains(operator::USER) && !line.ends_with("/leases"));
    ours.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_cluster_at_rest_causes_no_write_to_the_api_server_for_a_minute() {
    alone("steady", async |scope| {
        let gateways = Gateways::deploy(&scope, "chat", spec(2, 200)).await;
        let fleet = Fleet::start(&gateways).await;
        fleet.connect(&clients(200)).await;
        fleet.publish(&steadily()).await;
        let connected = |status: &operator_core::crd::WebSocketClusterStatus| status.connections == 200;
        gateways.until("the status tells the connections", crate::support::SOON, connected).await;

        let before = inventory::without_pods(&scope).await;
        let since = Timestamp::now();
        sleep(REST).await;
        assert_eq!(
            inventory::without_pods(&scope).await,
            before,
            "an object was written to while nothing changed"
        );
        let pods = operator::pods(&scope.client).await;
        if node::is_local(pods.first().expect("the operator has a pod")).await {
            let writes = audited(since).await;
            assert!(writes.is_empty(), "{}", writes.join("\n"));
            measured("writes of the operator within a minute, its lease apart", writes.len());
        }
        assert_eq!(fleet.stats().await.reconnects.closed, 0);
    })
    .await;
}
