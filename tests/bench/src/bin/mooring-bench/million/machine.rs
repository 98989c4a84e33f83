//! What the machine says of itself in /proc (proc(5)).

use std::{fs, io, ops::Sub, time::Duration};

/// Memory of the whole machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What could be had without swapping.
    pub available: u64,
    /// What the kernel keeps its objects in.
    pub slab: u64,
    /// All that neither processes nor the contents of files take.
    pub kernel: u64,
}

/// Bytes held at one time: resident ones of the processes, and the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub gateways: u64,
    pub redis: u64,
    pub load: u64,
    pub memory: Memory,
}

/// CPU time so far, or of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub gateways: Duration,
    pub redis: Duration,
    pub load: Duration,
    /// Of the whole machine, in the kernel's ticks: the time that was used, and all there was.
    pub busy: u64,
    pub all: u64,
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            gateways: self.gateways - before.gateways,
            redis: self.redis - before.redis,
            load: self.load - before.load,
            busy: self.busy - before.busy,
            all: self.all - before.all,
        }
    }
}

pub fn memory() -> io::Result<Memory> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let bytes = |name| Ok::<_, io::Error>(number_after(&text, name)? * 1024);
    let others = bytes("MemFree:")? + bytes("Buffers:")? + bytes("Cached:")? + bytes("AnonPages:")?;
    let kernel = bytes("MemTotal:")?.saturating_sub(others);
    Ok(Memory { available: bytes("MemAvailable:")?, slab: bytes("Slab:")?, kernel })
}

/// Has the kernel give up the names of files that it only keeps because there is room. Whatever lists /proc/PID/fd, as supervisors do,
/// leaves one of almost a kilobyte for each socket.
pub fn forget_names() {
    // Only root may; others count them.
    let _ = fs::write("/proc/sys/vm/drop_caches", "2");
}

/// Files that this process and those it starts may open.
pub fn open_files() -> io::Result<usize> {
    let limit = number_after(&fs::read_to_string("/proc/self/limits")?, "Max open files")?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// TCP sockets of this network namespace.
pub fn tcp_sockets() -> io::Result<u64> {
    number_after(&fs::read_to_string("/proc/net/sockstat")?, "TCP: inuse")
}

/// CPU time of the machine so far, in ticks: used, and all.
pub fn cpu() -> io::Result<(u64, u64)> {
    Ok(busy_and_all(&fs::read_to_string("/proc/stat")?))
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
fn busy_and_all(stat: &str) -> (u64, u64) {
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
    let all = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

fn number_after(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("/proc says nothing of {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_idle_nor_waiting_is_busy() {
        assert_eq!(busy_and_all("cpu  10 1 20 60 5 0 3 1 0 0\ncpu0 1 1\n"), (35, 100));
    }

    #[test]
    fn a_number_is_found_by_its_name() {
        let text = "Max processes 5 6 processes\nMax open files            20000 20000 files\n";
        assert_eq!(number_after(text, "Max open files").unwrap(), 20_000);
        assert!(number_after(text, "Slab:").is_err());
    }
}
