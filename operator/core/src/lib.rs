//! The operator's decisions: spec, observed state, plan and owned objects. Pure.
#![forbid(unsafe_code)]
