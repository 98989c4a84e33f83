//! Whole stories, in virtual time.

use crate::fixtures::cluster;
use crate::world::World;
use operator_core::observed::DrainCause;
use operator_core::observed::{Report, Traffic};
use operator_core::plan::Action;
use serde_json::{Value, json};

const BUDGET: usize = 50;

fn scaled() -> Value {
    json!({
        "scaling": {
            "minReplicas": 1, "maxReplicas": 8, "connectionsPerPod": 100, "headroom": "0%",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 20}},
        },
        "disruption": {"maxReconnectsPerSecond": BUDGET},
    })
}

fn fixed(replicas: u32) -> Value {
    json!({"replicas": replicas, "disruption": {"maxReconnectsPerSecond": BUDGET}})
}

fn settled(spec: &Value, clients: usize) -> World {
    let mut world = World::new(cluster(spec));
    world.connect(clients);
    world.run_until("settling", World::is_settled);
    world
}

fn most_moved(world: &World) -> usize {
    world.moved.iter().copied().max().unwrap_or(0)
}

fn most_moves(world: &World) -> u32 {
    world.clients.iter().map(|client| client.moves).max().unwrap_or(0)
}

#[test]
fn pods_are_added_as_connections_come() {
    let mut world = settled(&scaled(), 100);
    assert_eq!(world.pods.len(), 1);
    world.connect(500);
    world.run_until("growing", |world| world.pods.len() == 6);
    assert_eq!((most_moved(&world), world.is_settled()), (0, false));
    world.run_until("settling", World::is_settled);
    assert_eq!(world.status.as_ref().unwrap().ready, "6/6");
}

#[test]
fn pods_are_drained_within_the_budget_as_connections_go_and_each_client_is_moved_once() {
    let mut spec = scaled();
    spec["scaling"]["minReplicas"] = json!(6);
    let mut world = settled(&spec, 600);
    world.edit(|cluster| cluster.spec.scaling.as_mut().unwrap().min_replicas = 1);
    // Those that stay are spread over every pod.
    let mut index = 0;
    world.clients.retain(|_| {
        index += 1;
        index % 7 < 2
    });
    world.run_until("shrinking", |world| world.pods.len() == 2 && world.is_settled());
    assert_eq!(world.clients.iter().filter(|client| client.pod.is_none()).count(), 0);
    assert!(most_moved(&world) <= BUDGET, "{}", most_moved(&world));
    assert_eq!(most_moves(&world), 1);
}

#[test]
fn a_rollout_moves_each_client_once_and_within_the_budget() {
    for (replicas, surge) in [(1, json!(1)), (3, json!("25%")), (8, json!("25%")), (4, json!("100%"))] {
        let mut spec = fixed(replicas);
        spec["rollout"] = json!({"maxSurge": surge});
        let mut world = settled(&spec, 800);
        let old = world.desired().revision;
        world.edit(|cluster| cluster.spec.image = Some("other:1".into()));
        let most =
            replicas as usize + if surge == json!("100%") { 4 } else { (replicas as usize).div_ceil(4) };
        world.run_until("the rollout", |world| {
            let active = world.pods.values().filter(|pod| pod.deletion.is_none()).count();
            assert!(active <= most, "{active} pods of {most}");
            world.is_settled() && world.pods.values().all(|pod| pod.revision != old)
        });
        assert_eq!(world.pods.len(), replicas as usize);
        assert!(most_moved(&world) <= BUDGET, "{}", most_moved(&world));
        assert_eq!(world.clients.iter().map(|client| client.moves).collect::<Vec<_>>(), vec![1; 800]);
    }
}

#[test]
fn a_rollout_together_with_a_smaller_size_moves_each_client_once() {
    for limit in [10_000, 200] {
        let mut world = settled(&fixed(6), 600);
        world.edit(|cluster| {
            cluster.spec.replicas = Some(3);
            cluster.spec.image = Some("other:1".into());
            cluster.spec.limits.max_connections = limit;
        });
        let revision = world.desired().revision;
        let mut most_pods = 0;
        for _ in 0..600 {
            world.run(1);
            most_pods = most_pods.max(world.pods.len());
        }
        assert!(world.is_settled(), "{limit}: {:#?}", world.status);
        assert_eq!(world.pods.values().filter(|pod| pod.revision == revision).count(), 3);
        assert_eq!((world.pods.len(), most_moves(&world)), (3, 1), "{limit}");
        assert!(most_moved(&world) <= BUDGET, "{limit}: {}", most_moved(&world));
        assert!(most_pods <= 7, "{limit}: {most_pods}");
    }
}

#[test]
fn a_rollout_goes_on_where_the_new_pod_has_no_room_for_any_old_one() {
    let mut spec = fixed(3);
    spec["limits"] = json!({"maxConnections": 130});
    let mut world = settled(&spec, 200);
    world.edit(|cluster| cluster.spec.image = Some("other:1".into()));
    world.run(6);
    world.edit(|cluster| {
        cluster.spec.replicas = Some(2);
        cluster.spec.image = Some("other:2".into());
    });
    world.run_until("the rollout", World::is_settled);
    let revision = world.desired().revision;
    assert!(world.pods.values().all(|pod| pod.revision == revision));
    assert!(most_moved(&world) <= BUDGET, "{}", most_moved(&world));
}

#[test]
fn a_rollout_taken_back_in_its_middle_leaves_nothing_behind() {
    let mut world = settled(&fixed(4), 800);
    let first = world.desired().revision;
    world.edit(|cluster| cluster.spec.image = Some("other:1".into()));
    world.run_until("the first move", |world| most_moved(world) > 0);
    world.run(4);
    world.edit(|cluster| cluster.spec.image = None);
    world.run_until("the way back", World::is_settled);
    assert!(world.pods.values().all(|pod| pod.revision == first));
    assert_eq!(world.pods.len(), 4);
    assert!(most_moved(&world) <= BUDGET, "{}", most_moved(&world));
}

#[test]
fn a_rollout_that_cannot_start_leaves_the_old_pods_serving() {
    let mut world = settled(&fixed(3), 300);
    world.edit(|cluster| cluster.spec.image = Some("missing:1".into()));
    for _ in 0..100 {
        world.run(1);
        let now = world.now;
        let old = world.desired().revision;
        world.pods.values_mut().filter(|pod| pod.revision == old).for_each(|pod| pod.never_ready(now));
    }
    assert_eq!(most_moved(&world), 0);
    let serving =
        world.pods.values().filter(|pod| world.is_ready(pod) && pod.traffic == Traffic::Serving).count();
    assert_eq!(serving, 3);
}

#[test]
fn deleted_pods_are_replaced_at_once_and_share_the_budget_with_a_drain() {
    let mut world = settled(&fixed(4), 1600);
    world.edit(|cluster| cluster.spec.replicas = Some(3));
    world.run_until("the drain", |world| most_moved(world) > 0);
    let victim = world.pods.iter().find(|(_, pod)| pod.traffic == Traffic::Serving).unwrap().0.clone();
    let before = world.moved.len();
    world.delete(&victim);
    world.run_until("the replacement", |world| {
        world.pods.values().filter(|pod| pod.deletion.is_none() && pod.traffic == Traffic::Serving).count()
            == 3
    });
    world.run_until("settling", World::is_settled);
    // A gateway that is told to terminate starts at its own pace, until the next report tells the operator.
    let steered = world.moved[before + 4..].iter().copied().max().unwrap();
    assert!(steered <= BUDGET, "{steered}");
}

#[test]
fn a_successor_finishes_the_drain_and_picks_no_second_victim() {
    for seconds in 0..60 {
        let mut world = settled(&fixed(3), 600);
        world.edit(|cluster| cluster.spec.replicas = Some(2));
        world.run(seconds);
        world.restart_operator();
        world.run_until("settling", |world| world.is_settled() && world.pods.len() == 2);
        let victims: std::collections::BTreeSet<_> = world
            .log
            .iter()
            .filter_map(|(_, action)| match action {
                Action::MarkDraining { pod, .. } => Some(pod.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(victims.len(), 1, "restart after {seconds} s");
        assert!(most_moved(&world) <= BUDGET, "restart after {seconds} s: {}", most_moved(&world));
        assert!(most_moves(&world) <= 1);
    }
}

#[test]
fn a_drain_goes_on_while_no_operator_runs() {
    let mut world = settled(&fixed(2), 400);
    world.edit(|cluster| cluster.spec.replicas = Some(1));
    world.run_until("the drain", |world| most_moved(world) > 0);
    world.down = true;
    world.run(30);
    world.down = false;
    world.restart_operator();
    world.run_until("settling", |world| world.is_settled() && world.pods.len() == 1);
    assert!(most_moved(&world) <= BUDGET);
}

#[test]
fn a_spike_in_mid_drain_takes_the_pod_back_instead_of_starting_one() {
    let mut world = settled(&scaled(), 200);
    world.clients.truncate(120);
    world.edit(|cluster| cluster.spec.scaling.as_mut().unwrap().connections_per_pod = 150);
    world.run_until("the drain", |world| {
        most_moved(world) > 0 || world.pods.values().any(|p| p.traffic != Traffic::Serving)
    });
    let names: Vec<_> = world.pods.keys().cloned().collect();
    world.connect(150);
    world.run_until("the way back", World::is_settled);
    assert_eq!(world.pods.keys().cloned().collect::<Vec<_>>(), names);
}

#[test]
fn an_ill_gateway_holds_back_a_scale_down() {
    let mut world = settled(&scaled(), 300);
    let name = world.pods.keys().next().unwrap().clone();
    world.pods.get_mut(&name).unwrap().silent = true;
    world.run(8);
    world.clients.retain(|client| client.pod.as_ref() == Some(&name));
    world.run(120);
    assert_eq!(world.pods.len(), 3);
    assert!(matches!(world.observe().pods[&name].report, Report::Stale { .. }));
    world.pods.get_mut(&name).unwrap().silent = false;
    world.run_until("shrinking", |world| world.pods.len() == 1 && world.is_settled());
}

#[test]
fn a_gateway_that_never_answers_is_gone_after_its_deadline() {
    let mut spec = fixed(2);
    spec["disruption"]["drainTimeout"] = json!("30s");
    let mut world = settled(&spec, 100);
    world.edit(|cluster| cluster.spec.replicas = Some(1));
    world.run_until("the turn", |world| {
        world.pods.values().any(|pod| matches!(pod.traffic, Traffic::Draining { deadline: Some(_), .. }))
    });
    for pod in world.pods.values_mut().filter(|pod| pod.traffic != Traffic::Serving) {
        pod.silent = true;
    }
    world.run_until("shrinking", |world| world.pods.len() == 1);
}

#[test]
fn nothing_is_done_once_nothing_is_left_to_do() {
    for spec in [scaled(), fixed(3), json!({"backplane": {"memory": {}}})] {
        let mut world = settled(&spec, 250);
        world.run(10);
        let (done, status) = (world.log.len(), world.status.clone());
        world.run(60);
        assert_eq!((world.log.len(), &world.status), (done, &status));
    }
}

#[test]
fn a_managed_redis_goes_only_when_no_pod_uses_it_any_more() {
    let mut world = settled(&fixed(2), 100);
    let old = world.desired().revision;
    let other = json!({"redis": {"url": "redis://other:6379"}});
    world.edit(|cluster| cluster.spec.backplane = serde_json::from_value(other).unwrap());
    let removed =
        |world: &World| world.log.iter().filter(|(_, a)| matches!(a, Action::Remove { .. })).count();
    while world.pods.values().any(|pod| pod.revision == old) {
        assert_eq!(removed(&world), 0);
        world.run(1);
    }
    world.run_until("settling", World::is_settled);
    assert_eq!(removed(&world), 3);
}

#[test]
fn a_paused_cluster_is_left_as_it_is() {
    let mut world = settled(&fixed(2), 10);
    let done = world.log.len();
    world.edit(|cluster| {
        cluster.spec.paused = true;
        cluster.spec.replicas = Some(4);
    });
    world.run(30);
    assert_eq!((world.log.len(), world.status.as_ref().unwrap().reason.as_str()), (done, "Paused"));
}

#[test]
fn a_rollout_takes_every_old_pod_out_of_the_endpoints_before_the_first_client_is_moved() {
    let mut world = settled(&fixed(8), 400);
    world.edit(|cluster| cluster.spec.image = Some("other:1".into()));
    world.run_until("the first move", |world| most_moved(world) > 0);
    let marks = world.log.iter().filter(|(_, action)| {
        matches!(action, Action::MarkDraining { cause: DrainCause::Rollout, deadline: None, .. })
    });
    let first = world.log.iter().position(|(_, action)| matches!(action, Action::Drain { .. })).unwrap();
    assert_eq!(marks.count(), 8);
    let last_mark =
        world.log[..first].iter().filter(|(_, a)| matches!(a, Action::MarkDraining { deadline: None, .. }));
    assert_eq!(last_mark.count(), 8);
}
