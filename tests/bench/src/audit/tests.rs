use super::*;
use crate::stats::Protocol;

const NO_TIME: Duration = Duration::ZERO;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn channel(number: usize) -> Channel {
    Channel { protocol: Protocol::Centrifuge, number }
}

fn at(offset: u64) -> Option<Position> {
    Some(Position { offset, epoch: "a".into() })
}

/// A fleet of one, subscribed at the start of its channel.
fn fleet() -> (Auditor, ClientId) {
    let mut auditor = Auditor::new(seconds(1_000_000));
    let client = auditor.entered(channel(0));
    auditor.connected(client, Some("gateway-1"), NO_TIME);
    auditor.subscribed(client, Start::Fresh(at(0)));
    (auditor, client)
}

fn deliver(auditor: &mut Auditor, client: ClientId, messages: impl IntoIterator<Item = u64>) {
    for message in messages {
        auditor.delivered(client, message, Some(message), NO_TIME, NO_TIME);
    }
}

#[test]
fn a_client_that_is_moved_and_recovers_has_lost_nothing() {
    let (mut auditor, client) = fleet();
    deliver(&mut auditor, client, 1..=3);
    auditor.closed(client, 3001, false, seconds(5));
    auditor.connected(client, Some("gateway-2"), seconds(6));
    auditor.subscribed(client, Start::Recovered);
    deliver(&mut auditor, client, 4..=6);
    let stats = auditor.stats(1, seconds(7));
    assert_eq!(stats.deliveries, Deliveries { delivered: 6, recovered: 1, ..Deliveries::default() });
    assert_eq!(stats.reconnects.clients_by_closes, [(1, 1)].into());
    assert_eq!(stats.reconnects.close_codes, [(3001, 1)].into());
    assert_eq!(stats.reconnects.without_connection.max_micros, 1_000_000);
    assert_eq!(stats.reconnects.reconnected_per_second, [0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(stats.nodes["gateway-1"].connected, 0);
    let second = Node { connected: 1, delivered: 3, first_connection_millis: 1_000_006_000 };
    assert_eq!(stats.nodes["gateway-2"], second);
}

#[test]
fn a_recovery_that_skips_a_message_has_lost_it() {
    let (mut auditor, client) = fleet();
    deliver(&mut auditor, client, [1]);
    auditor.closed(client, 1006, false, seconds(1));
    auditor.connected(client, None, seconds(2));
    auditor.subscribed(client, Start::Recovered);
    deliver(&mut auditor, client, [3]);
    assert_eq!(auditor.stats(1, seconds(3)).deliveries.lost, 1);
    auditor.left(client);
    assert_eq!(auditor.stats(0, seconds(3)).deliveries.lost, 1, "a client that leaves takes no loss with it");
}

#[test]
fn a_client_that_is_told_has_lost_nothing_unknowingly() {
    let (mut auditor, client) = fleet();
    deliver(&mut auditor, client, [1]);
    auditor.unsubscribed(client, NO_TIME);
    let position = Position { offset: 0, epoch: "b".into() };
    auditor.subscribed(client, Start::NotRecovered(Some(position)));
    auditor.delivered(client, 9, Some(1), NO_TIME, NO_TIME);
    let expected = Deliveries {
        delivered: 2,
        told_not_recovered: 1,
        unsubscribed: 1,
        peak_unsubscribed_per_second: 1,
        ..Deliveries::default()
    };
    assert_eq!(auditor.stats(1, NO_TIME).deliveries, expected);
}

#[test]
fn duplicates_and_late_messages_are_told_apart() {
    let (mut auditor, client) = fleet();
    deliver(&mut auditor, client, [1, 3, 2, 2]);
    let expected = Deliveries { delivered: 3, out_of_order: 1, duplicated: 1, ..Deliveries::default() };
    assert_eq!(auditor.stats(1, NO_TIME).deliveries, expected);
}

#[test]
fn what_was_accepted_and_did_not_arrive_is_behind() {
    let (mut auditor, client) = fleet();
    auditor.acknowledged(channel(0), 2, at(2));
    auditor.acknowledged(channel(1), 7, at(7));
    assert_eq!(auditor.stats(1, NO_TIME).deliveries.behind, 2);
    deliver(&mut auditor, client, 1..=2);
    assert_eq!(auditor.stats(1, NO_TIME).deliveries.behind, 0);
}

#[test]
fn what_was_sent_once_and_not_accepted_is_owed_to_nobody() {
    let (mut auditor, client) = fleet();
    deliver(&mut auditor, client, [1, 3]);
    auditor.acknowledged(channel(0), 6, at(6));
    for message in [2, 5] {
        auditor.unaccepted(channel(0), message);
    }
    let Deliveries { lost, behind, .. } = auditor.stats(1, NO_TIME).deliveries;
    assert_eq!((lost, behind, auditor.losers(Protocol::Centrifuge)), (0, 2, 1), "4 and 6 are");
    deliver(&mut auditor, client, [4, 6]);
    assert_eq!((auditor.losers(Protocol::Centrifuge), auditor.losers(Protocol::Raw)), (0, 0));
}

#[test]
fn all_have_heard_once_the_last_subscriber_has_got_something_new() {
    let (mut auditor, client) = fleet();
    let other = auditor.entered(channel(1));
    auditor.connected(other, None, NO_TIME);
    auditor.subscribed(other, Start::Fresh(None));
    auditor.delivered(client, 1, Some(1), seconds(5), seconds(6));
    auditor.delivered(other, 1, None, seconds(4), seconds(6));
    assert!(!auditor.all_heard_since(seconds(5)));
    auditor.delivered(other, 2, None, seconds(5), seconds(7));
    assert!(auditor.all_heard_since(seconds(5)));
    auditor.unsubscribed(client, seconds(8));
    assert!(!auditor.all_heard_since(seconds(5)));
}

#[test]
fn a_phase_starts_from_nothing_and_keeps_every_place() {
    let (mut auditor, client) = fleet();
    deliver(&mut auditor, client, [1, 3]);
    auditor.closed(client, 1006, false, seconds(1));
    auditor.connected(client, Some("gateway-1"), seconds(2));
    auditor.subscribed(client, Start::Recovered);
    auditor.reset(seconds(3));
    deliver(&mut auditor, client, [4, 6]);
    let stats = auditor.stats(1, seconds(4));
    assert_eq!(stats.deliveries, Deliveries { delivered: 2, lost: 1, ..Deliveries::default() });
    assert_eq!((stats.reconnects.most_of_one_client(), stats.reconnects.closed), (0, 0));
    assert_eq!(stats.clients, Clients { wanted: 1, connected: 1, subscribed: 1, terminated: 0 });
}

#[test]
fn a_client_turned_away_for_good_is_neither_connected_nor_expected_back() {
    let (mut auditor, client) = fleet();
    auditor.closed(client, 3500, true, seconds(1));
    let expected = Clients { wanted: 1, terminated: 1, ..Clients::default() };
    assert_eq!(auditor.stats(1, seconds(2)).clients, expected);
}
