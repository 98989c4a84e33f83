//! The Centrifugo client protocol in its JSON form: what text messages say, without what a session does about it.
//!
//! Source: the protocol's `definitions/client.proto` and <https://centrifugal.dev/docs/transports/client_protocol>.

pub mod codes;
pub mod command;
mod json;
pub mod reply;
pub(crate) mod session;
