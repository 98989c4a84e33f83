//! A node is killed, and all its clients come to the other one at once, each from where it was; meanwhile others there are served.

use std::{
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{AT_ONCE, Size, channels::Channels, rest};
use crate::{
    audit::{Audit, Tally},
    cluster::Cluster,
    dialect::{Position, Role},
    load::{Endpoint, Load, LoadError},
    peers::{Peer, Places, Running},
    table::{Measured, percentile},
};

const CHANNELS: usize = 100;
/// Publishing connections, the messages of a channel taking the same one: each may have 256 waiting for Redis.
const PUBLISHERS: usize = 32;
/// Publications of each channel while its subscribers are away.
const MISSED: u32 = 20;
/// Between two publishes to the channels, whichever: while their subscribers are there, and while they are not.
const STEADY: Duration = Duration::from_millis(10);
const AWAY: Duration = Duration::from_millis(1);
/// Clients under way at any time when all come back. With the files that its clients leave it, this gateway lets 488 wait.
const HERD: usize = 400;
/// Who is served meanwhile, and how often.
const LIVE_SUBSCRIBERS: usize = 100;
const LIVE_EVERY: Duration = Duration::from_millis(10);
/// Before the node is killed, and after all are back.
const CALM: Duration = Duration::from_secs(3);
/// For the last live messages to arrive.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

pub fn measure(peer: Peer, places: &Places, size: Size) -> Result<Vec<Measured>, LoadError> {
    let mut cluster = Cluster::start(peer, places)?;
    let started = Instant::now();
    let stop = AtomicBool::new(false);
    let (subscriber, publisher) = (cluster.there.subscriber(), cluster.there.publisher());
    let (herd, live) = thread::scope(|scope| {
        let live = scope.spawn(|| serve(&subscriber, &publisher, &stop, started));
        let herd = Herd::come_back(&mut cluster, size.subscribers / CHANNELS, started);
        stop.store(true, Relaxed);
        let panicked = || LoadError::Refused("the live thread panicked".to_owned());
        (herd, live.join().unwrap_or_else(|_| Err(panicked())))
    });
    Ok(herd?.figures(&live?))
}

/// What became of the clients of the killed node. Times are since the start.
struct Herd {
    clients: usize,
    /// When the node was killed, when its clients began to come back, and when the last one was.
    killed: Duration,
    began: Duration,
    back: Duration,
    /// What their coming back took of the other node's CPU, beyond what it used before.
    cpu: Duration,
    tally: Tally,
}

/// When a live message was due, and how long its last subscriber waited for it.
type Served = (Duration, Duration);

impl Herd {
    /// Subscribes clients here, ends the node, and lets them come back there.
    fn come_back(cluster: &mut Cluster, subscribers: usize, started: Instant) -> Result<Self, LoadError> {
        let clients = CHANNELS * subscribers;
        let mut load = Load::new()?;
        load.open(&cluster.there.publisher(), PUBLISHERS, AT_ONCE)?;
        let endpoints = (0..clients).map(|client| endpoint(&cluster.here, client / subscribers));
        let endpoints: Vec<_> = endpoints.map(Rc::new).collect();
        load.open_each(endpoints.into_iter(), AT_ONCE, |load| load.turn(STEADY, |_, _| {}))?;
        rest(&mut load)?;
        let mut stream = Stream::new(&cluster.there, subscribers);
        let there = &cluster.there.server;
        let (calm, cpu) = (Instant::now(), there.cpu());
        stream.run(&mut load, STEADY, CALM)?;
        let usual = (there.cpu() - cpu).div_f64(calm.elapsed().as_secs_f64());

        cluster.here.server.kill()?;
        let killed = started.elapsed();
        let back = (0..clients).map(|client| stream.returning(&load, &cluster.there, client));
        let back = back.collect::<Option<Vec<_>>>().ok_or(LoadError::Refused("no position".to_owned()))?;
        load.close_after(PUBLISHERS);
        stream.run(&mut load, AWAY, AWAY * MISSED * CHANNELS as u32)?;

        let (began, cpu) = (started.elapsed(), there.cpu());
        load.open_each(back.into_iter().map(Rc::new), HERD, |load| stream.turn(load, STEADY))?;
        let back = started.elapsed();
        let cpu = (there.cpu() - cpu).saturating_sub(usual.mul_f64((back - began).as_secs_f64()));
        stream.run(&mut load, STEADY, CALM)?;
        Ok(Self { clients, killed, began, back, cpu, tally: stream.channels.finish(&mut load)? })
    }

    fn figures(&self, live: &[Served]) -> Vec<Measured> {
        let name = |what: &str| format!("recovery of {}: {what}", self.clients);
        let took = self.back - self.began;
        let Tally { lost, repeated, .. } = self.tally;
        let mut measured = vec![
            Measured::lower(name("until the last is back (ms)"), took.as_secs_f64() * 1e3),
            Measured::higher(name("clients/s"), self.clients as f64 / took.as_secs_f64()),
            Measured::lower(name("server CPU each (µs)"), super::micros(self.cpu, self.clients as u64)),
            Measured::lower(name("messages lost, repeated or out of order"), (lost + repeated) as f64),
        ];
        for (when, from, to) in
            [("before", self.killed.saturating_sub(CALM), self.killed), ("meanwhile", self.began, self.back)]
        {
            let served = live.iter().filter(|(due, _)| (from..to).contains(due));
            let mut waited: Vec<Duration> = served.map(|(_, waited)| *waited).collect();
            waited.sort_unstable();
            for (text, share) in [("p50", 0.5), ("p99", 0.99)] {
                let name =
                    name(&format!("live delivery {when}, {text} to the last of {LIVE_SUBSCRIBERS} (ms)"));
                measured.push(Measured::lower(name, percentile(&waited, share)));
            }
        }
        measured
    }
}

/// Where a client of a channel connects.
fn endpoint(node: &Running, channel: usize) -> Endpoint {
    node.subscriber_of(&format!("kept:{channel}"))
}

/// What is published to the channels, on the first connections; their subscribers follow.
struct Stream {
    channels: Channels,
    subscribers: usize,
    publishers: Vec<Endpoint>,
    published: usize,
    /// When the next message is due.
    due: Instant,
}

impl Stream {
    fn new(node: &Running, subscribers: usize) -> Self {
        let publishers = (0..CHANNELS).map(|channel| node.publisher_of(&format!("kept:{channel}"))).collect();
        let channels = Channels::new(CHANNELS, subscribers, PUBLISHERS);
        Self { channels, subscribers, publishers, published: 0, due: Instant::now() }
    }

    /// Publishes to the channels in turn for some time, and takes what arrives.
    fn run(&mut self, load: &mut Load, every: Duration, time: Duration) -> Result<(), LoadError> {
        let until = Instant::now() + time;
        self.due = Instant::now();
        while Instant::now() < until {
            self.turn(load, every)?;
        }
        Ok(())
    }

    fn turn(&mut self, load: &mut Load, every: Duration) -> Result<(), LoadError> {
        while Instant::now() >= self.due {
            let channel = self.published % CHANNELS;
            let (publisher, sequence) = self.channels.publish(channel);
            load.send(channel % PUBLISHERS, &self.publishers[channel].publish(publisher, sequence))?;
            self.published += 1;
            self.due += every;
        }
        self.channels.turn(load, Duration::from_millis(1)).map(|_| ())
    }

    /// The same client on another node, from the last message that it got.
    fn returning(&self, load: &Load, node: &Running, client: usize) -> Option<Endpoint> {
        let connection = PUBLISHERS + client;
        let Position { epoch, offset } = load.position(connection)?.clone();
        let offset = offset + u64::from(self.channels.seen(connection));
        let role = Role::Returning(Position { epoch, offset });
        Some(Endpoint { role, ..endpoint(node, client / self.subscribers) })
    }
}

/// Publishes to subscribers of their own until told to stop, on a thread of its own: a busy generator must not look like a busy server.
fn serve(
    subscriber: &Endpoint,
    publisher: &Endpoint,
    stop: &AtomicBool,
    started: Instant,
) -> Result<Vec<Served>, LoadError> {
    let mut load = Load::new()?;
    load.open(subscriber, LIVE_SUBSCRIBERS, AT_ONCE)?;
    load.open(publisher, 1, AT_ONCE)?;
    let mut audit = Audit::new(LIVE_SUBSCRIBERS, 1);
    let mut due = started.elapsed();
    let mut dues = Vec::new();
    let mut stopped = None;
    while !audit.is_settled() || stopped.is_none() {
        if stop.load(Relaxed) && stopped.get_or_insert_with(Instant::now).elapsed() > SETTLED_WITHIN {
            break;
        }
        if started.elapsed() >= due && stopped.is_none() {
            let sequence = audit.publish(0, due);
            load.publish(LIVE_SUBSCRIBERS, 0, sequence)?;
            dues.push(due);
            due += LIVE_EVERY;
        }
        load.turn(Duration::from_millis(1), |connection, (_, sequence)| {
            audit.receive(connection, 0, sequence, || started.elapsed());
        })?;
    }
    match audit.finish() {
        (Tally { lost: 0, repeated: 0, .. }, waited) => Ok(dues.into_iter().zip(waited).collect()),
        (wrong, _) => Err(LoadError::Refused(format!("live delivery: {wrong:?}"))),
    }
}
