use std::future;

use mio::{Poll, net::TcpListener};

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

/// Connections of a shard, and who makes them.
struct Arrivals {
    places: Places,
    listener: TcpListener,
    poll: Poll,
    clients: Vec<std::net::TcpStream>,
}

impl Arrivals {
    fn new(limit: usize) -> Self {
        let places = Places::new(limit, IntGauge::new("g", "g").unwrap());
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { places, listener, poll: Poll::new().unwrap(), clients: Vec::new() }
    }

    fn arrive(&mut self, deadline: Duration) {
        self.clients.push(std::net::TcpStream::connect(self.listener.local_addr().unwrap()).unwrap());
        let (stream, peer) = self.listener.accept().unwrap();
        self.places.arrive(stream, peer, deadline, self.poll.registry()).unwrap();
    }

    /// A connection speaks, and what becomes of it is up to `serve`.
    fn speak<F: Future<Output = ()> + 'static>(&self, id: u64, serve: impl FnOnce(Rc<Place>) -> F) {
        let Silent { peer, .. } = self.places.speak(id).unwrap();
        self.places.spawn(id, peer.ip(), serve);
    }

    /// Ids of the silent ones, of the talking ones, and what the gauge says.
    fn waiting(&self) -> (Vec<u64>, Vec<u64>, i64) {
        let inner = self.places.0.borrow();
        (inner.silent.keys().copied().collect(), inner.served.keys().copied().collect(), inner.gauge.get())
    }
}

#[tokio::test(flavor = "local")]
async fn the_one_that_has_waited_longest_makes_room_whether_it_said_something_or_not() {
    let mut arrivals = Arrivals::new(2);
    let served: Rc<RefCell<Vec<Rc<Place>>>> = Rc::default();
    arrivals.arrive(DEADLINE);
    arrivals.arrive(DEADLINE);
    let places = served.clone();
    arrivals.speak(0, |place| async move {
        places.borrow_mut().push(place);
        future::pending().await
    });
    tokio::task::yield_now().await;
    assert_eq!(arrivals.waiting(), (vec![1], vec![0], 2));
    arrivals.arrive(DEADLINE);
    assert_eq!(arrivals.waiting(), (vec![1, 2], vec![], 2));
    arrivals.arrive(DEADLINE);
    assert_eq!(arrivals.waiting(), (vec![2, 3], vec![], 2));
    assert!(arrivals.places.speak(1).is_none());
}

#[test]
fn one_that_says_nothing_in_time_is_ended() {
    let mut arrivals = Arrivals::new(9);
    arrivals.arrive(DEADLINE);
    arrivals.arrive(DEADLINE * 2);
    assert_eq!(arrivals.places.next_timeout(), Some(DEADLINE));
    arrivals.places.expire(DEADLINE);
    assert_eq!(arrivals.waiting(), (vec![1], vec![], 1));
    assert_eq!(arrivals.places.next_timeout(), Some(DEADLINE * 2));
    let end = io::Read::read(&mut arrivals.clients[0], &mut [0]).unwrap();
    assert_eq!(end, 0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_whose_request_is_being_answered_is_not_ended_for_others() {
    let mut arrivals = Arrivals::new(2);
    for id in 0..2 {
        arrivals.arrive(DEADLINE);
        arrivals.speak(id, |place| async move {
            assert!(place.has_arrived(), "of so few places none is kept between requests");
            let _busy = place.work();
            future::pending().await
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(arrivals.waiting(), (vec![], vec![0, 1], 2));
    arrivals.arrive(DEADLINE);
    assert_eq!(arrivals.waiting(), (vec![], vec![0, 1], 2), "who comes when all are busy goes");
}

#[tokio::test(flavor = "local")]
async fn those_in_a_queue_make_room_only_where_nobody_waits_for_a_client() {
    let mut arrivals = Arrivals::new(3);
    for id in 0..2 {
        arrivals.arrive(DEADLINE);
        arrivals.speak(id, |place| async move {
            let _busy = place.queue();
            future::pending().await
        });
        tokio::task::yield_now().await;
    }
    for id in 2..5 {
        arrivals.arrive(DEADLINE);
        assert_eq!(arrivals.waiting(), (vec![id], vec![0, 1], 3));
    }
    arrivals.speak(4, |place| async move {
        let _busy = place.work();
        future::pending().await
    });
    tokio::task::yield_now().await;
    arrivals.arrive(DEADLINE);
    assert_eq!(arrivals.waiting(), (vec![5], vec![1, 4], 3), "the newcomer is the only one beside them");
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_does_not_go_on_with_its_request_makes_room_like_others() {
    let mut arrivals = Arrivals::new(2);
    for id in 0..3 {
        arrivals.arrive(DEADLINE);
        arrivals.speak(id, |place| async move {
            let _ = place.has_arrived();
            drop(place.work());
            future::pending().await
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(arrivals.waiting(), (vec![], vec![1, 2], 2));
    // The task that was ended has given its place back, and nothing else.
    tokio::task::yield_now().await;
    assert_eq!(arrivals.places.0.borrow().kept, 2);
}

#[test]
fn those_go_of_whose_address_there_are_most_and_of_these_the_oldest() {
    let address = |last: u8| Site::of([10, 0, 0, last].into());
    let waiting = |addresses: &[u8]| (0..).zip(addresses.iter().map(|last| address(*last))).collect();
    let cases: [(&[u8], usize, &[u64]); 7] = [
        (&[1, 2, 1, 3, 1], 1, &[0]),
        (&[1, 2, 1, 3, 1], 2, &[0, 2]),
        (&[1, 2, 2, 1, 2, 2], 2, &[1, 2]),
        (&[1, 2, 2, 1, 2, 2], 3, &[0, 1, 2]),
        (&[1, 2, 3], 2, &[0, 1]),
        (&[1], 2, &[0]),
        (&[], 2, &[]),
    ];
    for (addresses, count, expected) in cases {
        let going: Vec<u64> = those_who_go(&waiting(addresses), count).into_iter().collect();
        assert_eq!(going, expected, "{count} of {addresses:?}");
    }
}
