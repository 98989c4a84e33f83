//! Everything made for a cluster, one file per object; building can't fail.

mod secret;

pub use secret::generated as generated_secret;

use crate::observed::ObjectKey;

/// An object as it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which.
    pub key: ObjectKey,
    /// The whole manifest, with owner reference and hash.
    pub manifest: serde_json::Value,
}
