//! The only place that decides.

mod action;

pub use action::{Action, DeleteCause, DrainCause, GeneratedSecret, Plan, Reason};

use crate::crd::{WebSocketCluster, WebSocketClusterStatus};
use crate::desired::{Desired, Invalid};
use crate::observed::{Memory, Observed};
use jiff::Timestamp;

/// What to do about one cluster now. Total, deterministic and without side effects: the same arguments give the same plan.
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let _ = (desired, now);
    Plan {
        actions: Vec::new(),
        status: observed.status.clone().unwrap_or_default(),
        memory: observed.memory.clone(),
        wake: None,
        reasons: Vec::new(),
    }
}

/// The plan for a spec that can't work: what runs goes on, and the status says what to mend.
pub fn refuse(cluster: &WebSocketCluster, invalid: &Invalid, now: Timestamp) -> Plan {
    let _ = now;
    Plan {
        actions: Vec::new(),
        status: cluster.status.clone().unwrap_or_else(WebSocketClusterStatus::default),
        memory: Memory::default(),
        wake: None,
        reasons: vec![Reason::InvalidSpec { kind: invalid.reason(), message: invalid.to_string() }],
    }
}
