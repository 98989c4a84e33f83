//! One connection to Redis and the questions that are on their way over it.
//!
//! A question is noted here only together with its command, and all of them come back when the connection goes down, so that no
//! reply ever meets another question than its own.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gateway_core::resp::Resp;
use redis::{Cmd, ConnectionInfo};

use super::wire::{self, Wire};

/// How long an operation waits for a connection, and a command for its reply.
pub(super) const OP_WITHIN: Duration = Duration::from_secs(3);
/// Commands on their way at most; what is asked beyond that waits.
const MAX_IN_FLIGHT: usize = 8192;
/// Bytes to be written at most, likewise.
const MAX_BACKLOG: usize = 8 * 1024 * 1024;

/// A connection and what `Q` says of each command on it.
pub(super) struct Pipeline<Q> {
    wire: Wire,
    /// In the order of their replies.
    in_flight: VecDeque<(Instant, Q)>,
    /// Until when they wait for a connection.
    parked: VecDeque<(Instant, Cmd, Q)>,
}

/// What happens on a connection.
pub(super) enum Event<Q> {
    /// Connected; nothing is on its way. The id is that of [`wire::Event::Up`].
    Up(String),
    /// Replies, in order; [`Pipeline::answered`] names the question of each.
    Replies(Vec<Resp>),
    /// The connection ended, or was not to be had; another one is under way.
    Down { error: String, unanswered: Vec<Q> },
}

impl<Q> Pipeline<Q> {
    pub(super) fn new(info: ConnectionInfo, store: String) -> Self {
        Self { wire: Wire::new(info, store), in_flight: VecDeque::new(), parked: VecDeque::new() }
    }

    pub(super) fn is_up(&self) -> bool {
        self.wire.is_up()
    }

    /// Commands that wait for their replies.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn questions(&self) -> impl Iterator<Item = &Q> {
        self.in_flight.iter().map(|(_, question)| question)
    }

    /// Whether nothing is on its way, nor waits for a connection.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.parked.is_empty()
    }

    /// Whether more may be asked, with this much of it waiting elsewhere.
    pub(super) fn has_room(&self, others: usize, bytes: usize) -> bool {
        self.in_flight.len() + others < MAX_IN_FLIGHT && self.wire.backlog() + bytes < MAX_BACKLOG
    }

    /// Puts a command on the wire; without a connection its question comes back.
    pub(super) fn send(&mut self, command: &Cmd, question: Q) -> Result<(), Q> {
        if !self.is_up() {
            return Err(question);
        }
        self.wire.send(command);
        self.in_flight.push_back((Instant::now(), question));
        Ok(())
    }

    /// Puts a command on the wire that is answered once per question; without a connection nothing is asked.
    pub(super) fn send_all(&mut self, command: &Cmd, questions: impl IntoIterator<Item = Q>) {
        if self.is_up() {
            self.wire.send(command);
            let now = Instant::now();
            self.in_flight.extend(questions.into_iter().map(|question| (now, question)));
        }
    }

    /// Puts a command on the wire, or keeps it for the next connection. Its question bounds how many there are: it holds its share of
    /// the budget that all operations have.
    pub(super) fn send_or_park(&mut self, command: Cmd, question: Q) {
        if let Err(question) = self.send(&command, question) {
            self.parked.push_back((Instant::now() + OP_WITHIN, command, question));
        }
    }

    /// Puts what waited for this connection on the wire.
    pub(super) fn unpark(&mut self) {
        while self.is_up()
            && let Some((_, command, question)) = self.parked.pop_front()
        {
            self.send_or_park(command, question);
        }
    }

    /// A question that has waited too long for a connection.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Q> {
        let (_, _, question) = self.parked.pop_front_if(|(deadline, ..)| now >= *deadline)?;
        Some(question)
    }

    /// The question that the next reply answers.
    pub(super) fn answered(&mut self) -> Option<Q> {
        self.in_flight.pop_front().map(|(_, question)| question)
    }

    /// Whether the oldest question should have been answered by now.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.in_flight.front().is_some_and(|(sent, _)| now >= *sent + OP_WITHIN)
    }

    /// Gives up the connection; the next event is `Down`.
    pub(super) fn fail(&mut self, why: &str) {
        self.wire.fail(why);
    }

    /// The next event. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Event<Q> {
        match self.wire.next().await {
            wire::Event::Up(store) => Event::Up(store),
            wire::Event::Replies(replies) => Event::Replies(replies),
            wire::Event::Down(error) => {
                let unanswered = self.in_flight.drain(..).map(|(_, question)| question).collect();
                Event::Down { error, unanswered }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn pipeline(port: u16) -> Pipeline<u32> {
        let info = format!("redis://127.0.0.1:{port}").into_connection_info().unwrap();
        Pipeline::new(info, "store".to_owned())
    }

    /// The other end of a connection that is up.
    async fn accept(listener: &TcpListener, pipeline: &mut Pipeline<u32>) -> TcpStream {
        let accept = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut command = [0; 64];
            for answer in [&b"+PONG\r\n"[..], b"$8\r\n00000001\r\n"] {
                assert!(socket.read(&mut command).await.unwrap() > 0);
                socket.write_all(answer).await.unwrap();
            }
            socket
        };
        let (socket, event) = tokio::join!(accept, pipeline.next());
        assert!(matches!(event, Event::Up(id) if id == "00000001"));
        socket
    }

    #[tokio::test]
    async fn what_is_asked_without_a_connection_comes_back_or_waits_and_meets_its_own_reply_on_the_next_one()
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut pipeline = pipeline(listener.local_addr().unwrap().port());
        let ping = redis::cmd("PING");
        assert_eq!(pipeline.send(&ping, 1), Err(1));
        pipeline.send_all(&ping, [2, 3]);
        pipeline.send_or_park(ping.clone(), 4);
        let mut socket = accept(&listener, &mut pipeline).await;
        assert_eq!(pipeline.in_flight(), 0, "nothing was sent yet");
        pipeline.unpark();
        assert_eq!(pipeline.send(&ping, 5), Ok(()));
        socket.write_all(b":4\r\n:5\r\n").await.unwrap();
        let mut answered = Vec::new();
        while answered.len() < 2 {
            let Event::Replies(replies) = pipeline.next().await else { panic!("it is up") };
            answered.extend(replies.into_iter().map(|reply| (pipeline.answered(), reply)));
        }
        assert_eq!(answered, [(Some(4), Resp::Int(4)), (Some(5), Resp::Int(5))]);
    }

    #[tokio::test]
    async fn what_was_on_its_way_when_the_connection_broke_is_unanswered_and_what_is_asked_after_that_is_not_sent()
     {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut pipeline = pipeline(listener.local_addr().unwrap().port());
        let socket = accept(&listener, &mut pipeline).await;
        let ping = redis::cmd("PING");
        assert_eq!(pipeline.send(&ping, 1), Ok(()));
        pipeline.fail("as the test asked for");
        assert_eq!(pipeline.send(&ping, 2), Err(2), "it is as good as down");
        let Event::Down { unanswered, .. } = pipeline.next().await else { panic!("it failed") };
        assert_eq!((unanswered, pipeline.in_flight()), (vec![1], 0));
        drop(socket);
        accept(&listener, &mut pipeline).await;
        assert!(pipeline.is_idle());
    }

    #[test]
    fn what_waits_too_long_for_a_connection_is_given_up_in_order() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let mut pipeline = pipeline(1);
        let now = Instant::now();
        pipeline.send_or_park(redis::cmd("PING"), 1);
        pipeline.send_or_park(redis::cmd("PING"), 2);
        assert_eq!(pipeline.pop_expired(now), None);
        let later = Instant::now() + OP_WITHIN;
        assert_eq!(std::iter::from_fn(|| pipeline.pop_expired(later)).collect::<Vec<_>>(), [1, 2]);
    }
}
