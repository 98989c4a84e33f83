use std::net::{SocketAddr, TcpListener};

use gateway_core::config::Limits;
use mio::Poll;

use super::*;
use crate::admission::Admission;

/// Sockets of a shard, and who is at their other ends.
struct Ends {
    sockets: Sockets,
    poll: Poll,
    clients: Vec<std::net::TcpStream>,
    listener: TcpListener,
}

impl Ends {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let sockets = Sockets::new(registry, 1 << 20, Metrics::new().unwrap());
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { sockets, poll, clients: Vec::new(), listener }
    }

    fn connect(&mut self) -> ConnectionKey {
        let key = ConnectionKey { slot: self.clients.len() as u32, generation: 7 };
        let client = std::net::TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        self.poll
            .registry()
            .register(&mut stream, poll_token::of_connection(key), Interest::READABLE)
            .unwrap();
        let permit = Admission::new(&Limits::default(), 100).admit(peer.ip(), Duration::ZERO).unwrap();
        self.sockets.insert(key, stream, permit).unwrap();
        self.clients.push(client);
        key
    }

    fn flush(&mut self) {
        let mut faults = Vec::new();
        self.sockets.flush(Duration::ZERO, &mut faults);
        assert_eq!(faults, []);
    }
}

#[test]
fn each_socket_gets_its_frames_of_a_turn_in_order() {
    let mut ends = Ends::new();
    let [one, two, three] = [(); 3].map(|()| ends.connect());
    for turn in ["first", "second"] {
        for (number, key) in (0..).zip([one, two, one, one, two]) {
            ends.sockets.send(key, &format!("{turn}{number} ").into());
        }
        ends.sockets.close(three);
        ends.flush();
    }
    drop(ends.sockets);
    let got = ends.clients.iter_mut().map(|client| io::read_to_string(client).unwrap());
    assert_eq!(
        got.collect::<Vec<_>>(),
        ["first0 first2 first3 second0 second2 second3 ", "first1 first4 second1 second4 ", ""]
    );
}

#[test]
fn what_a_client_is_sent_in_a_turn_is_known_without_a_look_at_each_frame_of_it() {
    let mut ends = Ends::new();
    let [busy, other] = [(); 2].map(|()| ends.connect());
    let frame = Bytes::from_static(b"refused");
    // To go through them all each time would take hours.
    for count in 1..=1_000_000 {
        ends.sockets.send(busy, &frame);
        assert_eq!((ends.sockets.waiting(busy), ends.sockets.waiting(other)), (count * frame.len(), 0));
    }
}
