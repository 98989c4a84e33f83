//! A server under test: started on its own core, watched through /proc, ended with its children.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::cgroup::Group;

/// The core of the servers; the generator is started on the other one.
const SERVER_CORE: &str = "0";
const LISTEN_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

/// A command that runs on the servers' core.
pub fn pinned(program: impl AsRef<std::ffi::OsStr>) -> Command {
    on_core(SERVER_CORE, program)
}

/// A command that runs on a core, and ends with this process however that ends.
pub fn on_core(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = anywhere("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// A command that ends with this process however that ends, on any core.
pub fn anywhere(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// A port of the loopback that was free a moment ago.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Looks until a condition holds, at most so long; whether it did.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(true)
}

impl Server {
    /// Starts a server and waits until it listens. Its output goes to a log of its name.
    pub fn start(
        name: &str,
        command: &mut Command,
        address: SocketAddr,
        logs: &std::path::Path,
    ) -> io::Result<Self> {
        let log = fs::File::create(logs.join(format!("{name}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Self { child };
        let listens = holds_within(LISTEN_WITHIN, || {
            if TcpStream::connect(address).is_ok() {
                return Ok(true);
            }
            match server.child.try_wait()? {
                None => Ok(false),
                Some(status) => Err(io::Error::other(format!(
                    "{name} ended with {status}; see {name}.log in {}",
                    logs.display()
                ))),
            }
        })?;
        if listens {
            Ok(server)
        } else {
            Err(io::Error::other(format!("{name} does not listen on {address}")))
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far, kernel's included.
    pub fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// Resident bytes.
    pub fn rss(&self) -> u64 {
        rss(self.child.id())
    }

    /// Moves it and all that descend from it into a control group.
    pub fn join(&self, group: &Group) -> io::Result<()> {
        family(self.child.id()).into_iter().try_for_each(|pid| group.add(pid))
    }

    /// Ends it without a warning, as a node that dies.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Asks it to end, without waiting until it has.
    pub fn ask_to_end(&self) {
        // It may have ended by itself.
        let _ = self.signal("TERM");
    }

    /// Stops all its threads where they are.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Lets them go on.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -s {name}: {status}"))) }
    }

    /// Waits until it has used hardly any CPU for a moment, ten seconds at most.
    pub fn settle(&self) {
        for _ in 0..50 {
            let before = self.cpu();
            thread::sleep(Duration::from_millis(200));
            if self.cpu() - before < Duration::from_millis(2) {
                return;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Children end with a parent that is asked to; a parent that is not done soon is ended.
        self.ask_to_end();
        // It may have ended by itself.
        let _ = holds_within(END_WITHIN, || Ok(self.child.try_wait()?.is_some()));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process and all that descend from it, kernel's included.
pub fn cpu(pid: u32) -> Duration {
    let threads = family(pid).into_iter().flat_map(threads);
    Duration::from_nanos(threads.filter_map(|path| first_number(&format!("{path}/schedstat"))).sum())
}

/// Resident bytes of a process and all that descend from it.
pub fn rss(pid: u32) -> u64 {
    let status = |pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    family(pid).into_iter().filter_map(|pid| resident(status(pid))).sum::<u64>() * 1024
}

/// The process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        let children =
            threads(pid).into_iter().filter_map(|path| fs::read_to_string(format!("{path}/children")).ok());
        let children: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.extend(children);
        next += 1;
    }
    pids
}

fn threads(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

fn first_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}
