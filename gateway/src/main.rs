//! `mooring-gateway`: see `mooring-gateway --help`.

fn main() {}
