//! The messages that are published: a number per channel, and when it was sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// First byte of a binary message: no UTF-8 text contains it.
const BINARY_MARK: u8 = 0xff;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Starts from 1 in each channel.
    #[serde(rename = "n")]
    pub sequence: u64,
    /// When it was sent, in microseconds since the process started.
    #[serde(rename = "at")]
    pub sent_micros: u64,
}

impl Message {
    /// A message sent at a time since the process started.
    #[must_use]
    pub fn new(sequence: u64, sent: Duration) -> Self {
        Self { sequence, sent_micros: u64::try_from(sent.as_micros()).unwrap_or(u64::MAX) }
    }

    /// When it was sent, since the process started.
    #[must_use]
    pub fn sent(&self) -> Duration {
        Duration::from_micros(self.sent_micros)
    }

    /// As JSON, of at least so many bytes.
    #[must_use]
    pub fn to_text(self, size: usize) -> String {
        let Self { sequence, sent_micros } = self;
        let text = format!(r#"{{"n":{sequence},"at":{sent_micros}}}"#);
        // White space between tokens may be taken out on the way; a member of its own is kept.
        let padding = size.saturating_sub(text.len() + r#","pad":"""#.len());
        if padding == 0 {
            text
        } else {
            format!(r#"{},"pad":"{}"}}"#, &text[..text.len() - 1], "x".repeat(padding))
        }
    }

    /// As bytes that are no text.
    #[must_use]
    pub fn to_binary(self) -> Vec<u8> {
        let mut bytes = vec![BINARY_MARK];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.sent_micros.to_be_bytes());
        bytes
    }

    /// Reads what [`Message::to_text`] wrote; nothing when it is somebody else's.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Reads what [`Message::to_binary`] wrote; nothing when it is somebody else's.
    #[must_use]
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        let (mark, numbers) = bytes.split_first()?;
        let (sequence, sent) = numbers.split_at_checked(8)?;
        (*mark == BINARY_MARK).then_some(Self {
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
            sent_micros: u64::from_be_bytes(sent.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = Message::new(7, Duration::from_millis(1500));
        assert_eq!(Message::from_text(&message.to_text(0)), Some(message));
        let padded = message.to_text(100);
        assert_eq!((Message::from_text(&padded), padded.len()), (Some(message), 100));
        assert_eq!(Message::from_binary(&message.to_binary()), Some(message));
    }

    #[test]
    fn what_others_publish_is_no_message() {
        assert_eq!(Message::from_text(r#"{"text":"hello"}"#), None);
        assert_eq!(Message::from_binary(b"\xffhello"), None);
        assert_eq!(Message::from_binary(&[0; 17]), None);
        assert_eq!(Message::from_binary(b""), None);
    }
}
