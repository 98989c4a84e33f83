//! The process that holds the clients of one gateway. It obeys orders, a line each, and answers each with what it counted.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Write as _},
    mem,
    net::SocketAddr,
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::protocol;
use crate::{
    audit::{Audit, Tally},
    dialect::CHANNEL,
    load::{Load, LoadError},
    peers::Peer,
};

/// Connections that are unready at any time; all holders open theirs at once.
const AT_ONCE: usize = 16;
/// Connections opened before progress is told.
const CHUNK: usize = 500;
/// How long an order may wait for sockets that say nothing.
const WAIT: Duration = Duration::from_millis(100);
/// For a message to reach everybody.
pub const AWAIT: Duration = Duration::from_secs(90);

/// What to hold.
#[derive(Debug, clap::Args)]
pub struct HoldArgs {
    /// The gateway.
    address: SocketAddr,
    /// Connections.
    #[arg(long)]
    connections: usize,
    /// Which 256 addresses of 127.0.0.0/8 to connect from.
    #[arg(long)]
    block: u16,
    /// What they speak: raw or centrifuge.
    #[arg(long, value_parser = protocol)]
    protocol: Peer,
}

/// What a holder is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Open all connections.
    Open,
    /// Count pings from here.
    Mark,
    /// Say what was counted.
    Count,
    /// A message will be published.
    Expect,
    /// Answer when that message has reached every connection, or will not any more.
    Await,
    /// Close the books: what has not arrived is lost.
    Audit,
}

/// What a holder says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// So many connections are open by now.
    Opened(usize),
    /// The order is carried out.
    Done(Counts),
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub open: usize,
    /// Connections that ended by themselves, and why the first one did.
    pub ended: usize,
    pub trouble: Option<String>,
    /// Pings answered since the mark: all, and the fewest of one connection.
    pub pings: u64,
    pub fewest_pings: u16,
    /// Recipients of the expected message by when they had it, in tenths of milliseconds since the Unix epoch.
    pub heard: BTreeMap<u64, u64>,
    /// Only after the audit.
    pub tally: Tally,
}

impl Counts {
    /// Of all holders together.
    pub fn total(counts: &[Self]) -> Self {
        let mut total = Self {
            fewest_pings: counts.iter().map(|c| c.fewest_pings).min().unwrap_or(0),
            ..Self::default()
        };
        for one in counts {
            total.open += one.open;
            total.ended += one.ended;
            total.trouble = total.trouble.or_else(|| one.trouble.clone());
            total.pings += one.pings;
            for (at, recipients) in &one.heard {
                *total.heard.entry(*at).or_default() += recipients;
            }
            total.tally.delivered += one.tally.delivered;
            total.tally.lost += one.tally.lost;
            total.tally.repeated += one.tally.repeated;
        }
        total
    }
}

/// Holds connections until its standard input ends, which it does with the process that started it.
pub fn run(args: &HoldArgs) -> Result<(), LoadError> {
    let orders = orders();
    let mut holder = Holder {
        load: Load::from_block(args.block)?,
        audit: Audit::new(args.connections, 1),
        tally: Tally::default(),
        marked: vec![0; args.connections],
        heard: BTreeMap::new(),
        trouble: None,
    };
    loop {
        match orders.try_recv() {
            Ok(order) => {
                holder.obey(order, args)?;
                answer(&Answer::Done(holder.counts()))?;
            }
            Err(TryRecvError::Empty) => holder.turn()?,
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// Orders as they are read, by a thread of their own: the other one waits for sockets.
fn orders() -> Receiver<Order> {
    let (sender, orders) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        for order in lines.map_while(|line| serde_json::from_str(&line).ok()) {
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    orders
}

fn answer(answer: &Answer) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    out.flush()
}

struct Holder {
    load: Load,
    audit: Audit,
    tally: Tally,
    /// Pings of each connection at the mark.
    marked: Vec<u16>,
    heard: BTreeMap<u64, u64>,
    trouble: Option<String>,
}

impl Holder {
    fn obey(&mut self, order: Order, args: &HoldArgs) -> Result<(), LoadError> {
        match order {
            Order::Open => self.open(args)?,
            Order::Mark => {
                for (index, pings) in self.load.pings_of_each() {
                    self.marked[index] = pings;
                }
            }
            Order::Count => {}
            Order::Expect => {
                self.audit.publish(0, Duration::ZERO);
                self.heard.clear();
            }
            Order::Await => {
                let deadline = Instant::now() + AWAIT;
                while !self.audit.is_settled() && Instant::now() < deadline {
                    self.turn()?;
                }
            }
            Order::Audit => {
                let audit = mem::replace(&mut self.audit, Audit::new(self.marked.len(), 1));
                self.tally = audit.finish().0;
            }
        }
        Ok(())
    }

    fn open(&mut self, args: &HoldArgs) -> Result<(), LoadError> {
        let endpoint = args.protocol.subscriber_at(args.address, CHANNEL);
        let mut open = 0;
        while open < args.connections {
            let count = CHUNK.min(args.connections - open);
            self.load.open(&endpoint, count, AT_ONCE)?;
            open += count;
            answer(&Answer::Opened(open))?;
        }
        Ok(())
    }

    /// A connection that ends is counted; the others go on.
    fn turn(&mut self) -> Result<(), LoadError> {
        let Self { load, audit, heard, .. } = self;
        let ended = load.ended();
        let turn = load.turn(WAIT, |connection, (publisher, sequence)| {
            let delivered = audit.delivered();
            audit.receive(connection, publisher.into(), sequence, || Duration::ZERO);
            if audit.delivered() > delivered {
                *heard.entry(tenths(SystemTime::now())).or_default() += 1;
            }
        });
        match turn {
            Err(error) if load.ended() > ended => {
                self.trouble.get_or_insert(error.to_string());
                Ok(())
            }
            other => other,
        }
    }

    fn counts(&self) -> Counts {
        let since = self.load.pings_of_each().map(|(index, pings)| pings.saturating_sub(self.marked[index]));
        let (mut open, mut pings, mut fewest_pings) = (0, 0, u16::MAX);
        for of_one in since {
            open += 1;
            pings += u64::from(of_one);
            fewest_pings = fewest_pings.min(of_one);
        }
        Counts {
            open,
            ended: self.load.ended(),
            trouble: self.trouble.clone(),
            pings,
            fewest_pings,
            heard: self.heard.clone(),
            tally: self.tally,
        }
    }
}

/// Tenths of milliseconds since the Unix epoch.
pub fn tenths(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros() / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_adds_up_and_keeps_the_fewest_pings_and_the_first_trouble() {
        let one = |fewest_pings, trouble: Option<&str>| Counts {
            open: 2,
            ended: 1,
            trouble: trouble.map(str::to_owned),
            pings: 5,
            fewest_pings,
            heard: BTreeMap::from([(10, 1), (12, 1)]),
            tally: Tally { delivered: 3, lost: 2, repeated: 1 },
        };
        let total = Counts {
            open: 4,
            ended: 2,
            trouble: Some("x".to_owned()),
            pings: 10,
            fewest_pings: 1,
            heard: BTreeMap::from([(10, 2), (12, 2)]),
            tally: Tally { delivered: 6, lost: 4, repeated: 2 },
        };
        assert_eq!(Counts::total(&[one(2, None), one(1, Some("x"))]), total);
    }
}
