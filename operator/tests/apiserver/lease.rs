//! Leader election against the API server's own rules for concurrent writes.

use futures::future::{join, join_all};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use mooring_operator::lease::{Election, Leadership, Lost};
use serde_json::json;

use crate::server::Server;

fn candidate(client: &Client, name: &str, identity: &str) -> (Election, Leadership) {
    let election = Election::new(client.clone(), "default", name, identity);
    let leadership = election.leadership();
    (election, leadership)
}

async fn holder(client: &Client, name: &str) -> Option<String> {
    let lease: Lease = Api::namespaced(client.clone(), "default").get(name).await.unwrap();
    lease.spec.unwrap().holder_identity
}

#[tokio::test]
async fn of_many_candidates_one_leads_at_a_time_and_each_in_turn() {
    let server = Server::start("lease").await;
    let client = server.admin();
    takes_turns(&client).await;
    is_lost_to_whoever_takes_it(&client).await;
    survives_its_deletion(&client).await;
}

/// Five start at once; each that leads gives the lease back, until all have led, never two together.
async fn takes_turns(client: &Client) {
    let candidates: Vec<_> = (0..5).map(|n| candidate(client, "turns", &format!("operator-{n}"))).collect();
    let leaderships: Vec<_> = candidates.iter().map(|(_, leadership)| leadership.clone()).collect();
    let turns = candidates.into_iter().map(|(mut election, _)| {
        let leaderships = leaderships.clone();
        async move {
            election.acquire().await;
            assert_eq!(leaderships.iter().filter(|leadership| leadership.is_held()).count(), 1);
            election.release().await;
        }
    });
    join_all(turns).await;
    assert_eq!(holder(client, "turns").await, None);
}

async fn is_lost_to_whoever_takes_it(client: &Client) {
    let (mut election, leadership) = candidate(client, "taken", "a");
    election.acquire().await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), "default");
    let usurped = Patch::Merge(json!({"spec": {"holderIdentity": "b"}}));
    let params = PatchParams::default();
    let (lost, _) = join(election.hold(), leases.patch("taken", &params, &usurped)).await;
    assert_eq!(lost, Lost::Taken);
    assert!(!leadership.is_held());
}

async fn survives_its_deletion(client: &Client) {
    let (mut election, leadership) = candidate(client, "deleted", "a");
    election.acquire().await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), "default");
    let uid = leases.get("deleted").await.unwrap().uid();
    leases.delete("deleted", &DeleteParams::default()).await.unwrap();
    election.acquire().await;
    assert!(leadership.is_held());
    assert_ne!(leases.get("deleted").await.unwrap().uid(), uid);
}
