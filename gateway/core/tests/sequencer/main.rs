//! The sequencer against a model of Redis whose pub/sub loses, repeats and delays what it likes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model;

use std::sync::Arc;

use gateway_core::{
    backplane::{Payload, Publication, StreamPosition},
    sequencer::{Effect, Entry, Follow, Page, Sequencer, Subscribe},
};
use model::{Model, RETAINED, SHARDS, Step};
use proptest::prelude::*;

fn follow(ticket: u64, shard: u16, since: Option<StreamPosition>) -> Subscribe {
    Subscribe { ticket, shard, follow: Some(Follow { since, limit: 10 }) }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Publish),
        8 => Just(Step::Live),
        2 => Just(Step::DropLive),
        2 => Just(Step::RepeatLive),
        2 => Just(Step::DelayLive),
        6 => Just(Step::Execute),
        6 => Just(Step::Answer),
        1 => Just(Step::FailAnswer),
        1 => Just(Step::Retry),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Connect),
        3 => Just(Step::Acknowledge),
        5 => (0..SHARDS, 0..4u8).prop_map(|(shard, back)| Step::Subscribe { shard, back }),
        1 => (0..SHARDS).prop_map(|shard| Step::Release { shard }),
        1 => (1..4u8).prop_map(|lost| Step::RollBack { lost }),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    /// After any interleaving of faults, every shard that was not told otherwise has each publication once, in order, up to the last.
    #[test]
    fn every_subscriber_gets_each_message_once_in_order_or_is_told_that_it_may_not(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.settle();
        model.check();
    }
}

#[test]
fn a_gap_is_filled_from_the_stream_before_what_follows_is_delivered() {
    let mut model = Model::subscribed(&[0, 1]);
    model.steps(&[Step::Publish, Step::DropLive, Step::Publish, Step::Live]);
    assert_eq!(model.delivered(0), Vec::<u64>::new(), "the second waits for the first");
    model.steps(&[Step::Execute, Step::Answer]);
    assert_eq!((model.delivered(0), model.delivered(1)), (vec![1, 2], vec![1, 2]));
}

#[test]
fn a_gap_that_the_stream_no_longer_holds_discontinues_the_channel() {
    let mut model = Model::subscribed(&[0]);
    for _ in 0..=RETAINED {
        model.steps(&[Step::Publish, Step::DropLive]);
    }
    model.steps(&[Step::Publish, Step::Live, Step::Execute, Step::Answer]);
    assert!(model.is_discontinued(0));
    assert_eq!(model.delivered(0), Vec::<u64>::new());
}

#[test]
fn a_repeated_message_is_delivered_once() {
    let mut model = Model::subscribed(&[0]);
    model.steps(&[Step::Publish, Step::Live]);
    model.settle();
    model.steps(&[Step::Publish, Step::RepeatLive, Step::Live, Step::Live]);
    assert_eq!(model.delivered(0), [1, 2]);
}

#[test]
fn subscribers_that_come_together_share_one_read() {
    let mut model = Model::subscribed(&[0]);
    model.steps(&[Step::Publish, Step::Live, Step::Publish, Step::Live]);
    let since = |offset| Some(model.position(offset));
    let subscribes: Vec<_> = (0..100).map(|n| follow(1000 + n, 1, since(n % 2))).collect();
    for subscribe in subscribes {
        model.subscribe(subscribe);
    }
    assert_eq!(model.reads(), 1 + 1, "the first subscriber's and this one");
    model.steps(&[Step::Execute, Step::Answer]);
    // The first one came alone, and its read starts where it left off; the others need no other.
    assert_eq!(model.completed(), 1 + 100);
    assert_eq!(model.reads(), 2);
}

#[test]
fn a_store_that_lost_the_end_of_its_stream_gets_a_new_epoch_before_its_offsets_are_used_again() {
    let mut model = Model::subscribed(&[0]);
    for _ in 0..3 {
        model.steps(&[Step::Publish, Step::Live]);
    }
    model.settle();
    let epoch = model.epoch();
    model.steps(&[Step::RollBack { lost: 2 }, Step::Publish, Step::Publish]);
    model.settle();
    assert!(model.is_discontinued(0), "offsets 2 and 3 were other publications before");
    assert_ne!(model.epoch(), epoch);
}

#[test]
fn a_channel_without_a_stream_is_discontinued_once_live_messages_arrive_again() {
    let mut model = Model::new();
    model.subscribe(Subscribe { ticket: 1, shard: 0, follow: None });
    model.settle();
    model.step(&Step::Disconnect);
    assert!(!model.is_discontinued(0), "nobody could subscribe again yet");
    model.settle();
    assert!(model.is_discontinued(0));
    assert_eq!(model.reads(), 0);
}

#[test]
fn a_position_past_the_end_of_the_stream_is_not_recovered() {
    let mut model = Model::subscribed(&[]);
    let since = Some(model.position(7));
    model.subscribe(follow(9, 0, since));
    model.settle();
    assert_eq!(model.recovered(9), Some(false));
}

#[test]
fn a_client_that_left_before_the_first_publication_gets_it_when_it_comes_back() {
    let mut model = Model::subscribed(&[0]);
    let before = model.position(0);
    model.steps(&[Step::Publish, Step::Live]);
    model.settle();
    assert_eq!(
        (model.delivered(0), model.is_discontinued(0)),
        (vec![1], false),
        "the stream that begins is the channel's"
    );
    assert_ne!(model.epoch(), before.epoch);
    model.subscribe(follow(9, 1, Some(before)));
    model.settle();
    assert_eq!(model.recovered(9), Some(true));
}

#[test]
fn a_client_that_knows_of_a_stream_before_its_node_does_is_recovered_all_the_same() {
    let mut model = Model::subscribed(&[0]);
    // Neither has arrived here.
    model.steps(&[Step::Publish, Step::Publish]);
    let since = Some(model.position(1));
    model.subscribe(follow(9, 1, since));
    model.settle();
    assert_eq!(model.recovered(9), Some(true));
    assert_eq!((model.delivered(0), model.delivered(1)), (vec![1, 2], vec![]));
}

#[test]
fn a_position_before_the_first_publication_is_worth_nothing_in_a_store_that_lost_its_data() {
    let mut model = Model::subscribed(&[0]);
    let before = model.position(0);
    model.steps(&[Step::Publish, Step::Live, Step::Flush, Step::Publish]);
    model.settle();
    model.subscribe(follow(9, 1, Some(before)));
    model.settle();
    assert_eq!(model.recovered(9), Some(false));
}

#[test]
fn a_client_s_mistaken_position_does_not_widen_or_move_what_is_read_for_others() {
    let mut model = Model::subscribed(&[0]);
    for _ in 0..3 {
        model.steps(&[Step::Publish, Step::Live]);
        model.settle();
    }
    let right = model.position(2);
    let beyond = model.position(u64::MAX);
    let other = StreamPosition { epoch: "other".into(), offset: 0 };
    for (ticket, since) in [(7, beyond), (8, other), (9, right)] {
        model.subscribe(follow(ticket, 1, Some(since)));
    }
    model.settle();
    assert_eq!([7, 8, 9].map(|ticket| model.recovered(ticket)), [Some(false), Some(false), Some(true)]);
    assert!(model.ranges().iter().all(|range| (1..=3).contains(&range.from)), "{:?}", model.ranges());
}

#[test]
fn more_than_a_client_can_be_sent_at_once_is_not_recovered_and_nothing_of_it_is_lost_for_those_who_stayed() {
    let mut model = Model::subscribed(&[0]);
    let start = model.position(0);
    for _ in 0..4 {
        model.steps(&[Step::Publish, Step::DropLive]);
    }
    model.steps(&[Step::Publish, Step::Live]);
    model.settle();
    assert!(model.is_discontinued(0), "the store no longer has the first");
    for back in [4, 1] {
        let since = StreamPosition { epoch: model.epoch(), offset: 5 - back };
        model.subscribe(follow(back, 1, Some(since)));
        model.settle();
    }
    assert_eq!((model.recovered(4), model.recovered(1)), (Some(false), Some(true)), "{start:?}");
}

#[test]
fn what_is_held_for_channels_with_gaps_is_bounded_in_bytes_for_each_and_for_all_together() {
    const MIB: usize = 1024 * 1024;
    let mut sequencer = Sequencer::new(MIB);
    sequencer.connected();
    let epoch: Arc<str> = "epoch".into();
    let live = |sequencer: &mut Sequencer, channel: &str, offset: u64| {
        let payload = Payload::Binary(vec![0; 60_000].into());
        let publication = Arc::new(Publication { offset, payload, info: None, sender: None });
        sequencer.live(channel, &epoch, Entry { tag: offset, publication });
    };
    let begin = |sequencer: &mut Sequencer, channel: &Arc<str>| {
        let follow = Some(Follow { since: None, limit: 0 });
        sequencer.subscribe(channel, Subscribe { ticket: 1, shard: 0, follow });
        let generation = sequencer.take_effects().iter().find_map(|effect| match effect {
            Effect::Register { generation, .. } => Some(*generation),
            _ => None,
        });
        sequencer.registered(channel, generation.unwrap());
        let top = StreamPosition { epoch: epoch.clone(), offset: 1 };
        sequencer.page(channel, generation.unwrap(), Page { top, began: None, tag: 1, entries: vec![] });
        let _ = sequencer.take_effects();
    };
    let channels: Vec<Arc<str>> = (0..100).map(|n: u32| n.to_string().into()).collect();
    for channel in &channels {
        begin(&mut sequencer, channel);
        let before = sequencer.held_bytes();
        // The second is missing.
        (3..100).for_each(|offset| live(&mut sequencer, channel, offset));
        assert!(sequencer.held_bytes() - before <= MIB);
    }
    assert!((63 * MIB..=64 * MIB).contains(&sequencer.held_bytes()), "{}", sequencer.held_bytes());
    channels.iter().for_each(|channel| sequencer.release(channel, 0));
    assert_eq!(sequencer.held_bytes(), 0);
}
