//! `mooring-fleet`: see `mooring-fleet --help`.

fn main() {}
