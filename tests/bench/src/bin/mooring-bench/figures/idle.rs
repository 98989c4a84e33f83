//! Connections that do nothing but answer pings: the memory that the server and the kernel hold for them, and the CPU that they take.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{AT_ONCE, micros};
use crate::{
    cgroup::Group,
    load::{Endpoint, Load, LoadError},
    peers::{Peer, Places, Running},
    say,
    table::Measured,
};

/// Opened and closed before the start is noted, so that what is allocated once does not count.
const WARM_UP: usize = 500;
/// For the memory of those to come back.
const RETURN_WITHIN: Duration = Duration::from_secs(3);
/// One interval of pings, and how long at most until everybody was pinged.
const INTERVAL: Duration = Duration::from_secs(25);
const PINGED_WITHIN: Duration = Duration::from_secs(60);
/// For the memory of closed connections to come back. Go collects after two minutes by itself, and returns it then.
const GONE_WITHIN: Duration = Duration::from_secs(150);
/// Memory is back when no more than this share of the start is held.
const BACK: f64 = 1.01;

/// Who subscribes to what.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    OneChannel,
    ChannelEach,
}

/// Bytes at one time.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    /// Resident ones of the server.
    user: u64,
    /// The kernel's for it, where they can be counted.
    kernel: Option<u64>,
}

/// Connections that were held for an interval of pings.
pub struct Held {
    connections: usize,
    before: Footprint,
    with: Footprint,
    /// µs of the server's per second and connection; none without pings.
    pub cpu: Option<f64>,
    pings_per_interval: f64,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::OneChannel => "all in one channel",
            Self::ChannelEach => "a channel each",
        }
    }

    fn endpoints(self, running: &Running, connections: usize) -> Vec<Rc<Endpoint>> {
        match self {
            Self::OneChannel => {
                let all = Rc::new(running.subscriber());
                vec![all; connections]
            }
            Self::ChannelEach => {
                (0..connections).map(|i| Rc::new(running.subscriber_of(&format!("live:{i}")))).collect()
            }
        }
    }
}

impl Footprint {
    fn of(running: &Running, group: Option<&Group>) -> Result<Self, LoadError> {
        Ok(Self { user: running.server.rss(), kernel: group.map(Group::kernel).transpose()? })
    }
}

impl Held {
    /// Bytes of the server's per connection.
    pub fn user(&self) -> f64 {
        self.each(self.before.user, self.with.user)
    }

    fn each(&self, before: u64, with: u64) -> f64 {
        with.saturating_sub(before) as f64 / self.connections as f64
    }

    fn figures(&self, layout: Layout) -> Vec<Measured> {
        let name = |what: &str| format!("idle connection, {}: {what}", layout.name());
        let mut measured = vec![Measured::lower(name("user memory (bytes)"), self.user())];
        if let (Some(before), Some(with)) = (self.before.kernel, self.with.kernel) {
            let kernel = self.each(before, with);
            measured.push(Measured::lower(name("kernel memory (bytes)"), kernel));
            measured.push(Measured::lower(name("user and kernel memory (bytes)"), self.user() + kernel));
        }
        measured.extend(self.cpu.map(|cpu| Measured::lower(name("server CPU (µs/s)"), cpu)));
        measured.push(Measured::fact(name("pings per connection and 25 s"), self.pings_per_interval));
        measured
    }
}

pub fn measure(peer: Peer, places: &Places, connections: usize) -> Result<Vec<Measured>, LoadError> {
    let mut measured = Vec::new();
    for layout in [Layout::OneChannel, Layout::ChannelEach] {
        if matches!(layout, Layout::ChannelEach) && peer.is_floor() {
            continue;
        }
        let group = match Group::new(peer.name()) {
            Ok(group) => Some(group),
            Err(error) => {
                say(&format!("the kernel's memory is not counted: {error}"));
                None
            }
        };
        let running = Running::start(peer, places)?;
        let mut load = Load::new()?;
        let held = hold(&mut load, &running, group.as_ref(), layout, connections)?;
        measured.extend(held.figures(layout));
        if matches!(layout, Layout::OneChannel) && !peer.is_floor() {
            let before = held.before.user as f64;
            measured.push(Measured::lower("RSS without connections (MB)", before / 1e6));
            let (after, waited) = go(&mut load, &running, before)?;
            measured.push(Measured::lower("RSS once they are gone : before", after / before));
            measured.push(Measured::fact("waited for that (s)", waited.as_secs_f64()));
        }
    }
    Ok(measured)
}

/// Opens connections and holds them until each has answered a ping, an interval at least.
pub fn hold(
    load: &mut Load,
    running: &Running,
    group: Option<&Group>,
    layout: Layout,
    connections: usize,
) -> Result<Held, LoadError> {
    load.open(&running.subscriber(), WARM_UP, AT_ONCE)?;
    if let Some(group) = group {
        // Not before all processes of the server are there, which listen one after the other.
        running.server.join(group)?;
    }
    load.close_after(0);
    watch(load, RETURN_WITHIN)?;
    let before = Footprint::of(running, group)?;
    let endpoints = layout.endpoints(running, connections);
    load.open_each(endpoints.into_iter(), AT_ONCE, |load| load.turn(Duration::from_millis(100), |_, _| {}))?;

    let (started, cpu, pings) = (Instant::now(), running.server.cpu(), load.pings());
    watch(load, INTERVAL)?;
    let (cpu, pings) = (running.server.cpu() - cpu, load.pings() - pings);
    let pings_at_all = !running.peer.is_floor();
    while pings_at_all && fewest_pings(load) == 0 && started.elapsed() < PINGED_WITHIN {
        watch(load, Duration::from_secs(1))?;
    }
    Ok(Held {
        connections,
        before,
        with: Footprint::of(running, group)?,
        // Whatever share of the connections was pinged in that time, each is once per interval.
        cpu: (pings > 0).then(|| micros(cpu, pings) / INTERVAL.as_secs_f64()),
        pings_per_interval: pings as f64 / connections as f64,
    })
}

/// Closes all connections, and waits until their memory is back; what is held then, and how long that took.
fn go(load: &mut Load, running: &Running, before: f64) -> Result<(f64, Duration), LoadError> {
    load.close_after(0);
    let started = Instant::now();
    loop {
        watch(load, Duration::from_secs(1))?;
        let (held, waited) = (running.server.rss() as f64, started.elapsed());
        if held <= before * BACK || waited > GONE_WITHIN {
            return Ok((held, waited));
        }
    }
}

fn fewest_pings(load: &Load) -> u16 {
    load.pings_of_each().map(|(_, pings)| pings).min().unwrap_or(0)
}

fn watch(load: &mut Load, time: Duration) -> Result<(), LoadError> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.turn(Duration::from_millis(50), |_, _| {})?;
    }
    Ok(())
}
