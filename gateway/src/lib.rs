//! The gateway's shell: sockets, shards, HTTP, backplanes and metrics around `gateway_core`.

pub mod backplane;
pub mod page;
