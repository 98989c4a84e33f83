//! What the targets share: an input that arrives in pieces, and a meter of memory.

mod meter;
mod pieces;

pub use meter::{Measured, measure};
pub use pieces::Stream;
