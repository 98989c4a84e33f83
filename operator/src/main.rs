//! `mooring-operator`: see `mooring-operator --help`.

fn main() {}
