//! The processes that hold the clients, as the one that started them sees them.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use super::{
    MillionError,
    hold::{Answer, Counts, Order},
    layout::Layout,
};
use crate::{peers::Peer, process};

/// Answers that wait to be looked at.
const ANSWERS: usize = 256;
/// The first blocks of source addresses are taken: 127.0.0.0 by the servers, 127.0.1.0 by the publisher.
const FIRST_BLOCK: u16 = 2;

/// Dropping them ends them, and with them all connections.
#[derive(Debug)]
pub struct Holders {
    holders: Vec<Holder>,
    /// With the holder's index; nothing when it has ended.
    answers: Receiver<(usize, Option<Answer>)>,
}

#[derive(Debug)]
struct Holder {
    child: Child,
    orders: ChildStdin,
}

impl Holders {
    /// Starts one for each gateway.
    pub fn start(layout: &Layout, addresses: &[SocketAddr], protocol: Peer) -> io::Result<Self> {
        let (sender, answers) = mpsc::sync_channel(ANSWERS);
        let mut all = Self { holders: Vec::new(), answers };
        for ((block, share), address) in (FIRST_BLOCK..).zip(&layout.shares).zip(addresses) {
            let mut command = process::anywhere(std::env::current_exe()?);
            command
                .args(["hold", &address.to_string(), "--connections", &share.to_string()])
                .args(["--block", &block.to_string(), "--protocol", protocol.name()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut child = command.spawn()?;
            let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::Error::other("a holder has no pipes"));
            };
            let (index, sender) = (all.holders.len(), sender.clone());
            all.holders.push(Holder { child, orders });
            thread::spawn(move || listen(index, output, &sender));
        }
        Ok(all)
    }

    /// Tells all of them, and waits until all have done it. `progress` is told how many connections are open by now.
    pub fn tell(
        &mut self,
        order: Order,
        within: Duration,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Counts>, MillionError> {
        let line = serde_json::to_string(&order).map_err(io::Error::from)?;
        for holder in &mut self.holders {
            writeln!(holder.orders, "{line}")?;
        }
        let deadline = Instant::now() + within;
        let mut opened = vec![0; self.holders.len()];
        let mut done = vec![None; self.holders.len()];
        while let missing @ 1.. = done.iter().filter(|counts| counts.is_none()).count() {
            let left = deadline.saturating_duration_since(Instant::now());
            let late = |_| MillionError::Late { missing, within };
            match self.answers.recv_timeout(left).map_err(late)? {
                (index, Some(Answer::Opened(open))) => {
                    opened[index] = open;
                    progress(opened.iter().sum());
                }
                (index, Some(Answer::Done(counts))) => done[index] = Some(counts),
                (index, None) => return Err(MillionError::HolderEnded(index)),
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Duration {
        self.holders.iter().map(|holder| process::cpu(holder.child.id())).sum()
    }

    /// Resident bytes.
    pub fn rss(&self) -> u64 {
        self.holders.iter().map(|holder| process::rss(holder.child.id())).sum()
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            // It may have ended by itself.
            let _ = holder.child.kill();
        }
        for holder in &mut self.holders {
            let _ = holder.child.wait();
        }
    }
}

/// Passes on what a holder says, until it ends.
fn listen(index: usize, output: ChildStdout, sender: &SyncSender<(usize, Option<Answer>)>) {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    for answer in lines.map_while(|line| serde_json::from_str(&line).ok()) {
        if sender.send((index, Some(answer))).is_err() {
            return;
        }
    }
    // Nobody waits for answers when all is over.
    let _ = sender.send((index, None));
}
