//! Sends every message back; for conformance suites and benchmarks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    broadcast::Broadcast,
    heartbeat::{Heartbeat, first_beat},
    link::Link,
};
use crate::{
    backplane::{BackplaneError, Outcome},
    hub::ChannelId,
    key::{ConnectionKey, RequestId},
    protocol::{Cause, Kind, Parting, Protocol, Received},
    raw,
    transport::{Goodbye, Message, Transport},
};

/// One connection that gets back what it sends.
#[derive(Debug)]
pub(super) struct Echo;

impl Protocol for Echo {
    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn goodbye(&self, cause: Cause) -> Goodbye {
        raw::goodbye(cause)
    }

    fn first_wake(&self, link: &Link<'_>) -> Duration {
        first_beat(link.key.generation)
    }

    fn receive(&mut self, message: Received<'_>, link: &mut Link<'_>) -> Result<(), Goodbye> {
        link.send(match message {
            Received::Text(text) => Message::Text(text.as_bytes()),
            Received::Binary(bytes) => Message::Binary(bytes),
        });
        Ok(())
    }

    fn complete(
        &mut self,
        _: RequestId,
        _: Result<Outcome, BackplaneError>,
        _: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        Ok(())
    }

    fn push<'b>(&mut self, _: &'b mut Broadcast<'_>, _: ConnectionKey, _: Transport) -> Option<&'b Bytes> {
        None
    }

    fn discontinued(&mut self, _: ChannelId, _: &Arc<str>, _: &mut Link<'_>) -> Result<(), Goodbye> {
        Ok(())
    }

    fn beat(&mut self, heartbeat: &mut Heartbeat, link: &mut Link<'_>) -> Result<Duration, Goodbye> {
        raw::beat(heartbeat, link)
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn is_waiting_for(&self, _: usize) -> bool {
        false
    }

    fn end(&mut self, _: Parting, _: &mut Link<'_>) {}
}
