//! As many messages through a cluster as go: published here, to channels in turn, and received there.

use std::{
    io, iter,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{AT_ONCE, channels::Channels, micros, rest};
use crate::{
    audit::Tally,
    cluster::{Cluster, Traffic},
    load::{Endpoint, Load, LoadError},
};

/// Publishing connections; the messages of a channel take the same one, so that they have an order.
const PUBLISHERS: usize = 16;
/// Messages that have not reached all subscribers of their channel, at any time.
const IN_FLIGHT: u64 = 1024;
/// Not measured: caches and buffers take their sizes.
const WARM_UP: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(2);

/// What went through, and what it took.
pub struct Flood {
    messages: u64,
    took: Duration,
    servers_cpu: Duration,
    redis_cpu: Duration,
    traffic: Traffic,
}

/// Where the counters stand.
struct Mark {
    messages: u64,
    at: Instant,
    servers_cpu: Duration,
    redis_cpu: Duration,
    traffic: Traffic,
}

impl Flood {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }

    /// Both servers' CPU per message, in µs.
    pub fn servers_cpu(&self) -> f64 {
        micros(self.servers_cpu, self.messages)
    }

    /// Redis's CPU per message, in µs.
    pub fn redis_cpu(&self) -> f64 {
        micros(self.redis_cpu, self.messages)
    }

    /// Bytes that Redis receives per message.
    pub fn received(&self) -> f64 {
        self.traffic.received as f64 / self.messages.max(1) as f64
    }

    /// Bytes that Redis sends per message.
    pub fn sent(&self) -> f64 {
        self.traffic.sent as f64 / self.messages.max(1) as f64
    }
}

impl Mark {
    fn now(cluster: &Cluster, messages: u64) -> io::Result<Self> {
        Ok(Self {
            messages,
            at: Instant::now(),
            servers_cpu: cluster.here.server.cpu() + cluster.there.server.cpu(),
            redis_cpu: cluster.redis.server.cpu(),
            traffic: cluster.redis.traffic()?,
        })
    }

    fn until(&self, end: &Self) -> Flood {
        Flood {
            messages: end.messages - self.messages,
            took: end.at - self.at,
            servers_cpu: end.servers_cpu - self.servers_cpu,
            redis_cpu: end.redis_cpu - self.redis_cpu,
            traffic: Traffic {
                received: end.traffic.received - self.traffic.received,
                sent: end.traffic.sent - self.traffic.sent,
            },
        }
    }
}

/// Floods the channels `NAMESPACE:0` and so on, each with its own subscribers. A message that is lost or repeated ends the figure.
pub fn flood(
    cluster: &Cluster,
    namespace: &str,
    channels: usize,
    subscribers: usize,
) -> Result<Flood, LoadError> {
    let names: Vec<String> = (0..channels).map(|channel| format!("{namespace}:{channel}")).collect();
    let there =
        names.iter().flat_map(|name| iter::repeat_n(Rc::new(cluster.there.subscriber_of(name)), subscribers));
    let there: Vec<Rc<Endpoint>> = there.collect();
    let here: Vec<Endpoint> = names.iter().map(|name| cluster.here.publisher_of(name)).collect();
    let mut load = Load::new()?;
    load.open_each(there.into_iter(), AT_ONCE, |load| load.turn(Duration::from_millis(100), |_, _| {}))?;
    rest(&mut load)?;
    load.open(&cluster.here.publisher(), PUBLISHERS, AT_ONCE)?;
    let mut audit = Channels::new(channels, subscribers, 0);
    let (mut published, mut complete) = (0, 0);
    // What is due on a connection goes out in one call: a generator that is busy must not look like a busy server.
    let mut batches = vec![Vec::new(); PUBLISHERS];
    let started = Instant::now();
    let mut begun = None;
    while started.elapsed() < WARM_UP + RUN {
        while published < complete + IN_FLIGHT {
            let channel = published as usize % channels;
            let (publisher, sequence) = audit.publish(channel);
            batches[channel % PUBLISHERS].extend(here[channel].publish(publisher, sequence));
            published += 1;
        }
        for (publisher, batch) in batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            load.send(channels * subscribers + publisher, batch)?;
            batch.clear();
        }
        complete += audit.turn(&mut load, Duration::from_millis(100))?;
        if begun.is_none() && started.elapsed() >= WARM_UP {
            begun = Some(Mark::now(cluster, complete)?);
        }
    }
    let end = Mark::now(cluster, complete)?;
    match audit.finish(&mut load)? {
        Tally { lost: 0, repeated: 0, .. } => Ok(begun.as_ref().unwrap_or(&end).until(&end)),
        wrong => Err(LoadError::Refused(format!("{wrong:?}"))),
    }
}
