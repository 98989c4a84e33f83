//! Flags and environment of `mooring-fleet`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// A fleet of WebSocket clients and a publisher of numbered messages: counts what is lost, comes twice or out of order, and who is
/// moved how often and how fast. It starts with no clients; POST /clients and POST /publish on its control port set it to work, and
/// GET /stats tells what it saw.
#[derive(Debug, Parser)]
#[command(name = "mooring-fleet", version, max_term_width = 100)]
pub struct Args {
    /// Client port of the gateways, host:port; looked up once.
    #[arg(long, env = "FLEET_TARGET", value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    pub target: String,

    /// Address of the control port. Whoever reaches it can make this process send traffic to the target.
    #[arg(long, env = "FLEET_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// File with the key of the gateways' server API.
    #[arg(long, env = "FLEET_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Seconds after which the process ends by itself, whatever it is doing.
    #[arg(long, env = "FLEET_DURATION", value_name = "SECONDS", default_value_t = 3600)]
    pub duration: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }
}
