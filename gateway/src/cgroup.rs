//! How much memory this process may have, as its cgroups say (the kernel's `cgroup-v2` and `cgroup-v1/memory` documents).

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where version 2 is mounted, and version 1 for memory.
const ROOTS: [(&str, &str, &str); 2] =
    [("", "/sys/fs/cgroup", "memory.max"), ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
/// What version 1 says for no limit is near 2^63, rounded to pages; no machine has that much.
const UNLIMITED: u64 = 1 << 60;

/// The smallest of the limits that this process is under; none outside of a container, as a rule.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    limit(&|path| fs::read_to_string(path).ok())
}

/// Within a container its own group is the root of what is mounted there, while `/proc` may name it as the machine sees it: a path that
/// is not there is passed over, and so is looked at up to the root.
fn limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let known =
            ROOTS.iter().filter(move |(controller, ..)| controllers.split(',').any(|c| c == *controller));
        known.flat_map(move |(_, root, file)| files(root, group, file))
    });
    limits.filter_map(|path| read(&path)?.trim().parse().ok()).filter(|limit| *limit < UNLIMITED).min()
}

/// The file of a group and of each above it.
fn files(root: &str, group: &str, file: &str) -> Vec<PathBuf> {
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_in(files: &[(&str, &str)]) -> Option<u64> {
        limit(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, content)| (*content).to_owned())
        })
    }

    #[test]
    fn the_smallest_limit_above_the_process_counts_in_either_version() {
        let v2 = "/proc/self/cgroup";
        assert_eq!(
            limit_in(&[(v2, "0::/\n"), ("/sys/fs/cgroup/memory.max", "536870912\n")]),
            Some(536_870_912)
        );
        let nested = [
            (v2, "0::/kubepods/pod1/c1\n"),
            ("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "max\n"),
            ("/sys/fs/cgroup/kubepods/pod1/memory.max", "1000000\n"),
            ("/sys/fs/cgroup/kubepods/memory.max", "2000000\n"),
        ];
        assert_eq!(limit_in(&nested), Some(1_000_000));
        let v1 = [
            ("/proc/self/cgroup", "12:cpu,cpuacct:/a\n4:memory:/docker/c1\n0::/\n"),
            ("/sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes", "268435456\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit_in(&v1), Some(268_435_456));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert_eq!(limit_in(&[]), None);
        assert_eq!(
            limit_in(&[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "max\n")]),
            None
        );
        let unlimited = [
            ("/proc/self/cgroup", "4:memory:/\nnonsense\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit_in(&unlimited), None);
    }
}
