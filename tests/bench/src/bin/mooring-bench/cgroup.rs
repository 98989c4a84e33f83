//! A control group of a server's own (cgroups(7)): what the kernel holds in memory for it, and for nobody else. A client's end of a
//! connection is charged to the client, so nothing has to be halved or guessed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Before it an accepted socket is charged to nobody, being made by the packet that completes the handshake.
const CHARGES_ACCEPTED_SOCKETS: (u32, u32) = (6, 12);
/// Far above what a server uses: buffers of sockets are only counted once there is a limit for them.
const NO_LIMIT: &str = "1099511627776";

/// A control group of memory; dropping it removes it, the processes in it having ended.
#[derive(Debug)]
pub struct Group {
    directory: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes one; that takes root, a memory controller and a kernel that charges what is to be counted.
    pub fn new(name: &str) -> io::Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        if !charges_accepted_sockets(&release) {
            let (major, minor) = CHARGES_ACCEPTED_SOCKETS;
            return Err(io::Error::other(format!("Linux {} is older than {major}.{minor}", release.trim())));
        }
        let mounts = fs::read_to_string("/proc/mounts")?;
        let (version, root) =
            controller(&mounts).ok_or_else(|| io::Error::other("no control groups are mounted"))?;
        if version == Version::Two {
            // It is usual that this is set already; whether it is shows below.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        let directory = root.join(format!("mooring-bench-{name}"));
        // One is left over from a run that was interrupted.
        let _ = fs::remove_dir(&directory);
        fs::create_dir(&directory)?;
        let group = Self { directory, version };
        if version == Version::One {
            fs::write(group.file("memory.kmem.tcp.limit_in_bytes"), NO_LIMIT)?;
        }
        group.kernel()?;
        Ok(group)
    }

    /// Moves a process into the group: what it allocates from now on is charged there.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.file("cgroup.procs"), pid.to_string())
    }

    /// Bytes that the kernel holds for the processes of the group: sockets with their buffers, files, polls, page tables, stacks.
    pub fn kernel(&self) -> io::Result<u64> {
        match self.version {
            Version::One => ["memory.kmem.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes"]
                .into_iter()
                .map(|name| number(&self.file(name)))
                .sum(),
            Version::Two => {
                let stat = fs::read_to_string(self.file("memory.stat"))?;
                kernel_of(&stat).ok_or_else(|| io::Error::other("memory.stat says nothing of the kernel"))
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whatever is left of it holds no memory.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Where groups of memory are made: in version 1's hierarchy when memory is there, else in version 2's.
fn controller(mounts: &str) -> Option<(Version, PathBuf)> {
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let find = |version, is: fn(&str, &str) -> bool| {
        let mount = mounts
            .iter()
            .find(|mount| matches!(mount[..], [_, _, kind, options, ..] if is(kind, options)))?;
        Some((version, PathBuf::from(mount[1])))
    };
    find(Version::One, |kind, options| {
        kind == "cgroup" && options.split(',').any(|option| option == "memory")
    })
    .or_else(|| find(Version::Two, |kind, _| kind == "cgroup2"))
}

/// The kernel's own memory in a memory.stat of version 2, and what the buffers of sockets take beside it.
fn kernel_of(stat: &str) -> Option<u64> {
    let bytes =
        |name| stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
    Some(bytes("kernel")? + bytes("sock")?)
}

fn charges_accepted_sockets(release: &str) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= CHARGES_ACCEPTED_SOCKETS)
}

fn number(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{} holds no number: {text:?}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_looked_for_in_version_1_and_then_in_version_2() {
        let one = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                   cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,nosuid,memory 0 0\n";
        assert_eq!(controller(one), Some((Version::One, PathBuf::from("/sys/fs/cgroup/memory"))));
        let two = "cgroup2 /sys/fs/cgroup cgroup2 rw,memory_recursiveprot 0 0\n";
        assert_eq!(controller(two), Some((Version::Two, PathBuf::from("/sys/fs/cgroup"))));
        assert_eq!(controller("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn the_kernels_share_is_its_own_memory_and_the_buffers_of_sockets() {
        let stat = "anon 7\nfile 5\nkernel 1000\nkernel_stack 16\nsock 24\nslab 900\n";
        assert_eq!(kernel_of(stat), Some(1_024));
        assert_eq!(kernel_of("anon 7\nkernel_stack 16\nsock 24\n"), None);
    }

    #[test]
    fn kernels_that_charge_accepted_sockets_to_nobody_are_told() {
        let charges = ["6.12.0", "6.18.44-custom\n", "7.0", "6.11.9", "5.15.0-91-generic", "unknown"]
            .map(charges_accepted_sockets);
        assert_eq!(charges, [true, true, true, false, false, false]);
    }
}
