//! How many processes it takes, and whether the machine is large enough.

use super::MillionError;

/// Files that a gateway keeps beside its connections: handshakes under way, listeners, Redis, logs.
const SPARE_FILES: usize = 1_000;
/// Both ends of a connection: kernel objects of 8.4 KB with their slack (docs/performance.md), and what both processes hold.
const CONNECTION_BYTES: u64 = 9_500;
/// A gateway and the process that holds its clients, without connections.
const PAIR_BYTES: u64 = 24_000_000;
/// For everything else on the machine.
const SPARE_BYTES: u64 = 1_000_000_000;

/// How connections are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Connections of each gateway, and of the process that holds its clients.
    pub shares: Vec<usize>,
}

impl Layout {
    /// As few processes as a limit of open files allows, with even shares.
    pub fn new(connections: usize, files: usize) -> Result<Self, MillionError> {
        let room = files.saturating_sub(SPARE_FILES);
        if room == 0 {
            return Err(MillionError::Files { files, spare: SPARE_FILES });
        }
        let processes = connections.div_ceil(room).max(1);
        let share = |index| connections / processes + usize::from(index < connections % processes);
        Ok(Self { shares: (0..processes).map(share).collect() })
    }

    /// Refuses what does not fit into so many bytes.
    pub fn fits(&self, available: u64) -> Result<(), MillionError> {
        let connections: usize = self.shares.iter().sum();
        let needed =
            connections as u64 * CONNECTION_BYTES + self.shares.len() as u64 * PAIR_BYTES + SPARE_BYTES;
        if needed > available {
            let (needed, available) = (needed / 1_000_000, available / 1_000_000);
            return Err(MillionError::Memory { connections, needed, available });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly_over_as_few_processes_as_the_limit_of_files_allows() {
        assert_eq!(Layout::new(1_000_000, 20_000).unwrap().shares.len(), 53);
        assert_eq!(Layout::new(1_000_000, 2_000_000).unwrap().shares, [1_000_000]);
        assert_eq!(Layout::new(10, 1_004).unwrap().shares, [4, 3, 3]);
    }

    #[test]
    fn a_limit_of_files_without_room_for_a_connection_is_refused() {
        let error = Layout::new(1, 1_000).unwrap_err().to_string();
        assert!(error.contains("1000 files") && error.contains("ulimit -n"), "{error}");
    }

    #[test]
    fn what_does_not_fit_into_memory_is_refused_with_both_numbers() {
        let layout = Layout::new(1_000_000, 20_000).unwrap();
        assert!(layout.fits(12_000_000_000).is_ok());
        let error = layout.fits(8_000_000_000).unwrap_err().to_string();
        assert!(error.contains("11772 MB, and 8000 MB"), "{error}");
    }
}
