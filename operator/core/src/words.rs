//! What people are told, in as many words as they read.

use std::fmt::Display;

/// Told one by one.
const NAMED: usize = 5;

/// The first of them, and how many there are besides.
#[must_use]
pub fn some_of(all: &[impl Display]) -> String {
    let first: Vec<_> = all.iter().take(NAMED).map(ToString::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
