//! What /metrics shows. Every label has few values, all known beforehand.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use gateway_core::{
    centrifuge::codes::DisconnectCode,
    control::{Accepted, Connections},
    shard::Tally,
};
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::memory::Memory;

/// Counters and gauges of one gateway, shared by its threads.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    connections: IntGaugeVec,
    accepted: IntCounterVec,
    closes: IntCounterVec,
    refusals: IntCounterVec,
    /// TCP connections of the client port that are no WebSockets.
    pub http_connections: IntGauge,
    /// TCP connections of the control port.
    pub control_connections: IntGauge,
    /// Messages that clients and the server API handed to the backplane.
    pub publications: IntCounter,
    frames_sent: IntCounter,
    bytes_sent: IntCounter,
    bytes_received: IntCounter,
    /// Connections closed because their client read too slowly.
    pub slow_consumers: IntCounter,
    /// Connections closed to free memory.
    pub shed: IntCounter,
    /// Connections that were read no further for a while, because too much of what they asked for waited for the backplane, or because
    /// they sent too much.
    pub pauses: IntCounter,
    /// Operations that the backplane did not take, its queue being full.
    pub backplane_refused: IntCounter,
    /// Items taken from the backplane.
    pub inbound: IntCounter,
    /// Keys that were fetched and are in force.
    pub jwks_keys: IntGauge,
    /// Unix time of the last fetch that succeeded.
    pub jwks_fetched: IntGauge,
    /// Fetches that failed.
    pub jwks_failures: IntCounter,
    moved: IntCounter,
    raw_gaps: IntCounter,
    raw_unpublished: IntCounter,
    raw_refused: IntCounter,
    messages_received: IntCounter,
    draining: IntGauge,
    backplane_healthy: IntGauge,
    memory_held: IntGauge,
    memory_limit: IntGauge,
}

/// What went over the sockets of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Messages, replies and pings handed to sockets.
    pub frames_sent: u64,
    /// Bytes that sockets took.
    pub bytes_sent: u64,
    /// Bytes read from sockets.
    pub bytes_received: u64,
}

/// One shard's live numbers; written by its thread, read by the control port.
#[derive(Debug, Default)]
pub struct ShardNumbers {
    centrifuge: AtomicU32,
    raw: AtomicU32,
    new: AtomicU64,
    resumed: AtomicU64,
    moved: AtomicU64,
    raw_gaps: AtomicU64,
    raw_unpublished: AtomicU64,
    raw_refused: AtomicU64,
    received: AtomicU64,
    frames_sent: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    declined: AtomicU64,
    all_evicted: AtomicBool,
}

impl ShardNumbers {
    /// Publishes the numbers after a turn.
    pub fn store(&self, connections: Connections, accepted: Accepted, tally: Tally, traffic: Traffic) {
        self.centrifuge.store(connections.centrifuge, Relaxed);
        self.raw.store(connections.raw, Relaxed);
        self.new.store(accepted.new, Relaxed);
        self.resumed.store(accepted.resumed, Relaxed);
        self.moved.store(tally.moved, Relaxed);
        self.raw_gaps.store(tally.raw_gaps, Relaxed);
        self.raw_unpublished.store(tally.raw_unpublished, Relaxed);
        self.raw_refused.store(tally.raw_refused, Relaxed);
        self.received.store(tally.received, Relaxed);
        self.frames_sent.store(traffic.frames_sent, Relaxed);
        self.bytes_sent.store(traffic.bytes_sent, Relaxed);
        self.bytes_received.store(traffic.bytes_received, Relaxed);
    }

    /// A connection came that was not sent elsewhere.
    pub fn opened(&self) {
        self.all_evicted.store(false, Relaxed);
    }

    /// Counts an order that was carried out: of `ordered` connections `count` are sent elsewhere, fewer when there are no more.
    pub fn evicted(&self, count: u32, ordered: u32) {
        self.declined.fetch_add((ordered - count).into(), Relaxed);
        self.all_evicted.store(count < ordered, Relaxed);
    }

    /// What the shard has counted since its start.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            moved: self.moved.load(Relaxed),
            raw_gaps: self.raw_gaps.load(Relaxed),
            raw_unpublished: self.raw_unpublished.load(Relaxed),
            raw_refused: self.raw_refused.load(Relaxed),
            received: self.received.load(Relaxed),
        }
    }

    /// What went over its sockets since its start.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            frames_sent: self.frames_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
        }
    }

    /// Connections that orders were about, and that were not there to be sent elsewhere.
    #[must_use]
    pub fn declined(&self) -> u64 {
        self.declined.load(Relaxed)
    }

    /// Connections that may still be sent elsewhere.
    #[must_use]
    pub fn evictable(&self) -> u32 {
        if self.all_evicted.load(Relaxed) { 0 } else { self.connections().total() }
    }

    /// Live connections.
    #[must_use]
    pub fn connections(&self) -> Connections {
        Connections { centrifuge: self.centrifuge.load(Relaxed), raw: self.raw.load(Relaxed) }
    }

    /// Connections accepted since the start.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        Accepted { new: self.new.load(Relaxed), resumed: self.resumed.load(Relaxed) }
    }
}

/// The numbers of all shards together.
#[must_use]
pub fn total(shards: &[Arc<ShardNumbers>]) -> (Connections, Accepted) {
    shards.iter().fold((Connections::default(), Accepted::default()), |(connections, accepted), shard| {
        let (c, a) = (shard.connections(), shard.accepted());
        (
            Connections { centrifuge: connections.centrifuge + c.centrifuge, raw: connections.raw + c.raw },
            Accepted { new: accepted.new + a.new, resumed: accepted.resumed + a.resumed },
        )
    })
}

impl Metrics {
    /// All of them at zero. Fails only if two have one name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name, help| register(&registry, IntCounter::new(name, help)?);
        let gauge = |name, help| register(&registry, IntGauge::new(name, help)?);
        let gauges = |name, help, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let counters = |name, help, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            connections: gauges("mooring_connections", "Live connections.", &["protocol"])?,
            accepted: counters(
                "mooring_accepted_total",
                "Connections accepted, new or back with a position to recover from.",
                &["kind"],
            )?,
            closes: counters(
                "mooring_closes_total",
                "Connections closed, by close code; none when the socket broke.",
                &["code"],
            )?,
            refusals: counters("mooring_refusals_total", "Handshakes refused, by reason.", &["reason"])?,
            http_connections: gauge(
                "mooring_http_connections",
                "TCP connections of the client port that are no WebSockets.",
            )?,
            control_connections: gauge(
                "mooring_control_connections",
                "TCP connections of the control port.",
            )?,
            publications: counter("mooring_publications_total", "Messages handed to the backplane.")?,
            frames_sent: counter("mooring_frames_sent_total", "Frames handed to sockets.")?,
            bytes_sent: counter("mooring_sent_bytes_total", "Bytes that sockets took.")?,
            bytes_received: counter("mooring_received_bytes_total", "Bytes read from sockets.")?,
            slow_consumers: counter("mooring_slow_consumers_total", "Closed for reading too slowly.")?,
            pauses: counter(
                "mooring_reading_paused_total",
                "Connections read no further until the backplane answered, or until they might send more.",
            )?,
            backplane_refused: counter(
                "mooring_backplane_refused_total",
                "Operations not taken, its queue being full.",
            )?,
            inbound: counter("mooring_backplane_inbound_total", "Items taken from the backplane.")?,
            jwks_keys: gauge("mooring_jwks_keys", "Keys of auth.jwks.url in force.")?,
            jwks_fetched: gauge(
                "mooring_jwks_fetched_timestamp_seconds",
                "When auth.jwks.url was fetched last, in Unix time; 0 when it never was.",
            )?,
            jwks_failures: counter("mooring_jwks_failures_total", "Fetches of auth.jwks.url that failed.")?,
            moved: counter("mooring_drain_moved_total", "Connections that drains closed.")?,
            raw_gaps: counter(
                "mooring_raw_gaps_total",
                "Times that a raw client stayed although messages may not have reached it.",
            )?,
            raw_unpublished: counter(
                "mooring_raw_unpublished_total",
                "Messages of raw clients that the backplane did not confirm.",
            )?,
            raw_refused: counter(
                "mooring_raw_refused_total",
                "Messages of raw clients that may not publish in their channel.",
            )?,
            messages_received: counter(
                "mooring_messages_received_total",
                "Messages, commands and pings that clients sent.",
            )?,
            draining: gauge("mooring_draining", "1 while draining.")?,
            backplane_healthy: gauge("mooring_backplane_healthy", "1 while the backplane answers.")?,
            shed: counter("mooring_shed_total", "Connections closed to free memory, the slowest first.")?,
            memory_held: gauge(
                "mooring_memory_held_bytes",
                "Memory held for clients, as far as it is counted against limits.memoryBytes.",
            )?,
            memory_limit: gauge("mooring_memory_limit_bytes", "The limit of that; 0 for none.")?,
            registry,
        })
    }

    /// Counts a closed connection.
    pub fn closed(&self, code: Option<u16>) {
        self.closes.with_label_values(&[close_label(code)]).inc();
    }

    /// Counts a refused handshake.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// The exposition, with the numbers that are read rather than counted.
    #[must_use]
    pub fn expose(
        &self,
        shards: &[Arc<ShardNumbers>],
        memory: &Memory,
        draining: bool,
        backplane_healthy: bool,
    ) -> Vec<u8> {
        let (connections, accepted) = total(shards);
        self.connections.with_label_values(&["centrifuge"]).set(connections.centrifuge.into());
        self.connections.with_label_values(&["raw"]).set(connections.raw.into());
        for (kind, count) in [("new", accepted.new), ("resumed", accepted.resumed)] {
            let counter = self.accepted.with_label_values(&[kind]);
            counter.reset();
            counter.inc_by(count);
        }
        let sum =
            |number: fn(Tally) -> u64| -> u64 { shards.iter().map(|shard| number(shard.tally())).sum() };
        let carried =
            |number: fn(Traffic) -> u64| -> u64 { shards.iter().map(|shard| number(shard.traffic())).sum() };
        for (counter, sum) in [
            (&self.moved, sum(|tally| tally.moved)),
            (&self.raw_gaps, sum(|tally| tally.raw_gaps)),
            (&self.raw_unpublished, sum(|tally| tally.raw_unpublished)),
            (&self.raw_refused, sum(|tally| tally.raw_refused)),
            (&self.messages_received, sum(|tally| tally.received)),
            (&self.frames_sent, carried(|traffic| traffic.frames_sent)),
            (&self.bytes_sent, carried(|traffic| traffic.bytes_sent)),
            (&self.bytes_received, carried(|traffic| traffic.bytes_received)),
        ] {
            counter.reset();
            counter.inc_by(sum);
        }
        let gauged = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory_held.set(gauged(memory.held()));
        self.memory_limit.set(gauged(memory.limit().unwrap_or(0)));
        self.draining.set(draining.into());
        self.backplane_healthy.set(backplane_healthy.into());
        let mut text = Vec::new();
        // Writing to memory; a family that cannot be encoded is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Clients choose the code of their close frame, so only known ones become labels: those of RFC 6455, section 7.4.1 and its registry,
/// and our own.
fn close_label(code: Option<u16>) -> Cow<'static, str> {
    match code {
        None => "none".into(),
        // 3000: the end of a raw client's token.
        Some(code @ (1000..=1003 | 1005 | 1007..=1014 | 3000)) => code.to_string().into(),
        Some(code) if DisconnectCode::ALL.iter().any(|known| known.code() == code) => code.to_string().into(),
        Some(_) => "other".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_code_that_a_client_made_up_adds_no_label() {
        assert_eq!(
            [close_label(Some(1009)), close_label(Some(4999)), close_label(None)],
            ["1009", "other", "none"]
        );
        assert_eq!(
            [3000, 3502, 3505, 3506].map(|code| close_label(Some(code))),
            ["3000", "3502", "3505", "3506"]
        );
    }

    #[test]
    fn every_code_of_ours_is_a_label() {
        for code in DisconnectCode::ALL {
            assert_eq!(close_label(Some(code.code())), code.code().to_string());
        }
    }

    #[test]
    fn the_exposition_shows_the_sum_over_shards() {
        let shards = [Arc::new(ShardNumbers::default()), Arc::new(ShardNumbers::default())];
        for shard in &shards {
            shard.store(
                Connections { centrifuge: 2, raw: 1 },
                Accepted { new: 5, resumed: 0 },
                Tally { moved: 2, ..Tally::default() },
                Traffic { frames_sent: 7, bytes_sent: 70, bytes_received: 8 },
            );
        }
        let text = String::from_utf8(Metrics::new().unwrap().expose(
            &shards,
            &Memory::new(Some(1 << 30), 2),
            false,
            true,
        ))
        .unwrap();
        assert!(text.contains("mooring_connections{protocol=\"centrifuge\"} 4\n"), "{text}");
        assert!(text.contains("mooring_accepted_total{kind=\"new\"} 10\n"), "{text}");
        assert!(text.contains("mooring_drain_moved_total 4\n"), "{text}");
        for (name, sum) in [("frames_sent", 14), ("sent_bytes", 140), ("received_bytes", 16)] {
            assert!(text.contains(&format!("mooring_{name}_total {sum}\n")), "{text}");
        }
        assert!(text.contains("mooring_memory_limit_bytes 1073741824\n"), "{text}");
    }
}
