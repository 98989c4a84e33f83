//! Whole stories: what the referee can't know, since it was asked for in one of them only.

use crate::history::{Edit, Event, History, Placement};
use crate::play::{Play, honest};
use crate::referee::settled;
use crate::world::{Fact, World};
use operator_core::observed::ObjectKind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

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

/// A story that has begun: its clients are connected, and nothing is left to do.
struct Story(Play);

impl Story {
    fn new(spec: Value, clients: usize) -> Self {
        let placement = Placement::LeastLoaded;
        let history =
            History { seed: 1, placement, clients, spec, foreign: false, webhook: false, steps: Vec::new() };
        let mut story = Self(Play::new(&history, honest()));
        story.settle();
        story
    }

    fn world(&self) -> &World {
        &self.0.world
    }

    fn happens(&mut self, event: Event) {
        self.0.world.happen(&event);
    }

    fn edit(&mut self, edit: Edit) {
        self.happens(Event::Edit(edit));
    }

    fn run(&mut self, seconds: i64) {
        self.0.run(seconds).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        self.0.run_until(what, done).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn settle(&mut self) {
        self.0.settle().unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn names(&self) -> Vec<String> {
        self.world().pods.keys().cloned().collect()
    }

    fn moves(&self) -> Vec<u32> {
        self.world().clients.all.iter().map(|client| client.moves).collect()
    }
}

fn somebody_moved(world: &World) -> bool {
    world.clients.all.iter().any(|client| client.moves > 0)
}

fn revisions(world: &World) -> BTreeSet<String> {
    world.pods.values().map(|pod| pod.object.revision.clone()).collect()
}

#[test]
fn pods_are_added_as_connections_come_and_nobody_is_moved() {
    let mut story = Story::new(scaled(), 100);
    assert_eq!(story.names().len(), 1);
    story.happens(Event::Connect(500));
    story.settle();
    assert_eq!((story.names().len(), somebody_moved(story.world())), (6, false));
    story.run(4);
    assert_eq!(story.world().status.as_ref().unwrap().ready, "6/6");
}

#[test]
fn pods_go_as_connections_go_and_each_client_is_moved_once() {
    let mut spec = scaled();
    spec["scaling"]["minReplicas"] = json!(6);
    let mut story = Story::new(spec, 600);
    story.happens(Event::Disconnect(430));
    story.edit(Edit::Scaling { min: 1, max: 8, per_pod: 100, window: 20 });
    story.settle();
    assert_eq!((story.names().len(), story.moves().into_iter().max()), (2, Some(1)));
}

#[test]
fn a_rollout_moves_each_client_once_within_its_surge() {
    for (replicas, surge, most) in
        [(1, json!(1), 2), (3, json!("25%"), 4), (8, json!("25%"), 10), (4, json!("100%"), 8)]
    {
        let mut spec = fixed(replicas);
        spec["rollout"] = json!({"maxSurge": surge});
        let mut story = Story::new(spec, 800);
        story.edit(Edit::Image(1));
        let within =
            |world: &World| world.pods.values().filter(|pod| pod.object.deletion.is_none()).count() <= most;
        story.run_until("the rollout", |world| {
            assert!(within(world), "{replicas} pods");
            settled(world).is_ok()
        });
        assert_eq!(story.moves(), vec![1; 800], "{replicas} pods");
    }
}

#[test]
fn a_rollout_together_with_a_smaller_size_moves_each_client_once() {
    for limit in [10_000, 200] {
        let mut story = Story::new(fixed(6), 600);
        for edit in [Edit::Replicas(3), Edit::Image(1), Edit::Limit(limit)] {
            story.edit(edit);
        }
        story.run_until("the rollout", |world| {
            assert!(world.pods.len() <= 7, "{limit}: {} pods", world.pods.len());
            settled(world).is_ok()
        });
        assert_eq!((story.names().len(), story.moves()), (3, vec![1; 600]), "{limit}");
    }
}

#[test]
fn a_rollout_goes_on_where_the_new_pod_has_no_room_for_any_old_one() {
    let mut spec = fixed(3);
    spec["limits"] = json!({"maxConnections": 130});
    let mut story = Story::new(spec, 200);
    story.edit(Edit::Image(1));
    story.run(6);
    story.edit(Edit::Replicas(2));
    story.edit(Edit::Image(2));
    story.settle();
    assert_eq!((story.names().len(), revisions(story.world()).len()), (2, 1));
}

#[test]
fn a_rollout_takes_every_old_pod_out_of_the_endpoints_before_the_first_client_is_moved() {
    let mut story = Story::new(fixed(8), 400);
    let old = story.names();
    story.edit(Edit::Image(1));
    story.run_until("the first move", somebody_moved);
    let marked = |name: &&String| story.world().pods[*name].object.mark.is_some();
    assert_eq!(old.iter().filter(marked).count(), 8);
}

#[test]
fn a_pod_that_is_deleted_in_the_middle_of_a_drain_is_replaced_at_once_and_shares_the_budget_with_it() {
    let mut story = Story::new(fixed(4), 1600);
    story.edit(Edit::Replicas(3));
    story.run_until("the drain", somebody_moved);
    let victim = story.world().pods.values().position(|pod| pod.stays()).unwrap();
    story.happens(Event::Delete { pod: victim, grace: None });
    story.run(6);
    assert_eq!(story.world().pods.values().filter(|pod| pod.stays()).count(), 3);
    story.settle();
    assert_eq!(story.names().len(), 3);
}

#[test]
fn a_drain_goes_on_while_no_operator_runs() {
    let mut story = Story::new(fixed(2), 2000);
    story.edit(Edit::Replicas(1));
    story.run_until("the drain", somebody_moved);
    let moved = |story: &Story| story.moves().into_iter().filter(|moves| *moves > 0).count();
    story.run(4);
    let before = moved(&story);
    story.happens(Event::StopOperator { seconds: 10 });
    story.run(10);
    let meanwhile = moved(&story) - before;
    assert!((450..=500).contains(&meanwhile), "{meanwhile} in ten seconds");
    story.happens(Event::RestartOperator);
    story.settle();
    assert_eq!((story.names().len(), story.moves().into_iter().max()), (1, Some(1)));
}

#[test]
fn a_gateway_that_does_not_answer_holds_back_a_scale_down_until_it_does() {
    let mut story = Story::new(scaled(), 300);
    story.happens(Event::Silence { pod: 0, seconds: 130 });
    story.run(8);
    story.happens(Event::Disconnect(250));
    story.run(110);
    assert_eq!(story.names().len(), 3);
    story.settle();
    assert_eq!(story.names().len(), 1);
}

#[test]
fn a_paused_cluster_is_left_as_it_is_and_says_so() {
    let mut story = Story::new(fixed(2), 10);
    let before = story.names();
    story.edit(Edit::Pause(true));
    story.edit(Edit::Replicas(4));
    story.run(30);
    let reason = story.world().status.as_ref().unwrap().reason.clone();
    assert_eq!((story.names(), reason.as_str()), (before, "Paused"));
}

#[test]
fn a_rollout_that_is_taken_back_in_its_middle_leaves_nothing_behind() {
    let mut spec = fixed(4);
    spec["image"] = json!("image:0");
    let mut story = Story::new(spec, 800);
    let before = revisions(story.world());
    story.edit(Edit::Image(1));
    story.run_until("the first move", somebody_moved);
    story.run(4);
    story.edit(Edit::Image(0));
    story.settle();
    assert_eq!((revisions(story.world()), story.names().len()), (before, 4));
}

#[test]
fn a_rollout_that_cannot_start_leaves_the_old_pods_serving() {
    let mut story = Story::new(fixed(3), 300);
    let old = story.names();
    story.edit(Edit::MissingImage);
    story.run(100);
    let serving: Vec<String> = story.world().endpoints(0).map(|(name, _)| name.clone()).collect();
    assert_eq!((serving, somebody_moved(story.world())), (old, false));
}

#[test]
fn a_successor_finishes_the_drain_and_picks_no_second_victim() {
    for seconds in 0..60 {
        let mut story = Story::new(fixed(3), 600);
        let before = story.names();
        story.edit(Edit::Replicas(2));
        story.run(seconds);
        story.happens(Event::RestartOperator);
        story.settle();
        let left = story.names().iter().filter(|name| before.contains(name)).count();
        assert_eq!((left, story.moves().into_iter().max()), (2, Some(1)), "restart after {seconds} s");
    }
}

#[test]
fn a_spike_in_the_middle_of_a_drain_takes_the_pod_back_instead_of_starting_one() {
    let mut story = Story::new(scaled(), 200);
    let before = story.names();
    story.happens(Event::Disconnect(120));
    story.run_until("the drain", |world| world.pods.values().any(|pod| pod.object.mark.is_some()));
    story.happens(Event::Connect(115));
    story.settle();
    assert_eq!(story.names(), before);
}

#[test]
fn a_gateway_that_never_answers_again_is_gone_after_its_deadline() {
    let mut spec = fixed(2);
    spec["disruption"]["drainTimeout"] = json!("30s");
    let mut story = Story::new(spec, 100);
    story.edit(Edit::Replicas(1));
    story.run_until("its turn", |world| world.pods.values().any(|pod| pod.turn_at.is_some()));
    for pod in story.0.world.pods.values_mut().filter(|pod| pod.turn_at.is_some()) {
        pod.gateway.silent_until = 1000;
    }
    story.run_until("its end", |world| world.pods.len() == 1);
}

#[test]
fn nothing_is_done_once_nothing_is_left_to_do() {
    for spec in [scaled(), fixed(3), json!({"backplane": {"memory": {}}})] {
        let mut story = Story::new(spec, 250);
        story.0.rest().unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn a_managed_redis_goes_only_when_no_pod_uses_it_any_more() {
    let mut story = Story::new(fixed(2), 100);
    let old = story.names();
    let has_redis = |world: &World| world.objects.owned.keys().any(|key| key.kind == ObjectKind::StatefulSet);
    story.edit(Edit::ExternalRedis);
    story.run_until("the rollout", |world| {
        let old_ones = world.pods.keys().any(|name| old.contains(name));
        assert!(has_redis(world) || !old_ones);
        !old_ones
    });
    story.settle();
    story.run(10);
    let left = story.world().objects.owned.keys().filter(|key| key.name == "chat-redis");
    assert_eq!(left.map(|key| key.kind).collect::<Vec<_>>(), [ObjectKind::Secret]);
}

#[test]
fn the_same_history_gives_the_same_facts() {
    let facts = || {
        let mut story = Story::new(scaled(), 300);
        story.happens(Event::Trouble { writes: 20, orders: 30, lag: 3 });
        story.happens(Event::Connect(200));
        let mut facts: Vec<Vec<Fact>> = Vec::new();
        for _ in 0..120 {
            story.0.world.tick();
            facts.push(std::mem::take(&mut story.0.world.facts));
        }
        format!("{facts:?}")
    };
    assert_eq!(facts(), facts());
}
