//! Whether an address lets this process in: what a NetworkPolicy decides.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::stats::Reach;

/// How long an answer may take; whoever drops packets gives none.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Opens a TCP connection, and closes it again.
pub async fn probe(address: SocketAddr) -> Reach {
    match timeout(TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Reach::Reached,
        Ok(Err(_)) => Reach::Refused,
        Err(_) => Reach::TimedOut,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_is_reached_while_somebody_listens_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe(address).await, Reach::Reached);
        drop(listener);
        assert_eq!(probe(address).await, Reach::Refused);
    }
}
