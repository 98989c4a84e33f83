//! Open files: how many this process may have, and how they are shared out.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Kept back for the control port, the connections to Redis and whatever else is no client.
const OTHERS: u64 = 512;
/// HTTP connections that there is always room for, and those that are enough.
const HTTP: std::ops::RangeInclusive<u64> = 256..=8192;

/// How many of its files a process gives to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// WebSockets.
    pub connections: u32,
    /// Connections of the client port that are none, or not yet.
    pub http: usize,
}

impl Files {
    /// Shares out `files`; the configuration wants `connections` WebSockets.
    #[must_use]
    pub fn share(files: u64, connections: u32) -> Self {
        let wanted = u64::from(connections);
        let http = files.saturating_sub(wanted + OTHERS).clamp(*HTTP.start(), *HTTP.end());
        let left = files.saturating_sub(OTHERS + http).max(1);
        Self {
            connections: u32::try_from(left.min(wanted)).unwrap_or(u32::MAX),
            http: usize::try_from(http).unwrap_or(usize::MAX),
        }
    }
}

/// Raises this process's limit of open files to what the system allows it; returns the limit.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_http_and_the_rest_together_have_no_more_files_than_there_are() {
        let cases = [
            (20_000, 15_000, Files { connections: 15_000, http: 4_488 }),
            (1_048_576, 15_000, Files { connections: 15_000, http: 8_192 }),
            (20_000, 1_000_000, Files { connections: 19_232, http: 256 }),
            (1_024, 15_000, Files { connections: 256, http: 256 }),
            (u64::MAX, u32::MAX, Files { connections: u32::MAX, http: 8_192 }),
        ];
        for (files, connections, expected) in cases {
            let shared = Files::share(files, connections);
            assert_eq!(shared, expected, "{files} files, {connections} connections");
            assert!(u64::from(shared.connections) + shared.http as u64 + OTHERS <= files);
        }
        assert_eq!(Files::share(100, 15_000), Files { connections: 1, http: 256 }, "it starts all the same");
    }
}
