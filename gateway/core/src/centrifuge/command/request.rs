//! The protocol's request messages, borrowed from the text where nothing needs unescaping. Absent means empty, 0 or false, and so
//! does `null`, which some SDKs write for what is not set.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use serde_json::value::RawValue;

/// `ConnectRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// Connection token; empty for an anonymous user.
    #[serde(borrow, deserialize_with = "text")]
    pub token: Cow<'a, str>,
    /// JSON of the application's.
    #[serde(borrow, deserialize_with = "document")]
    pub data: Option<&'a RawValue>,
    /// Name of the client's software.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Cow<'a, str>,
    /// Version of the client's software.
    #[serde(borrow, deserialize_with = "text")]
    pub version: Cow<'a, str>,
    /// Where the client left off in its server-side subscriptions; `channel` is empty inside.
    #[serde(borrow, deserialize_with = "or_default")]
    pub subs: BTreeMap<Cow<'a, str>, Subscribe<'a>>,
}

/// `SubscribeRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subscribe<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "text")]
    pub channel: Cow<'a, str>,
    /// Subscription token, where the channel asks for one.
    #[serde(borrow, deserialize_with = "text")]
    pub token: Cow<'a, str>,
    /// Asks for what was published after `offset` and `epoch`.
    #[serde(deserialize_with = "or_default")]
    pub recover: bool,
    /// Offset of the last publication seen.
    #[serde(deserialize_with = "or_default")]
    pub offset: u64,
    /// Epoch that `offset` belongs to.
    #[serde(borrow, deserialize_with = "text")]
    pub epoch: Cow<'a, str>,
    /// Asks for offsets, and to be told when publications may be missing.
    #[serde(deserialize_with = "or_default")]
    pub positioned: bool,
    /// Asks that the subscription can be recovered later.
    #[serde(deserialize_with = "or_default")]
    pub recoverable: bool,
    /// Asks for joins and leaves.
    #[serde(deserialize_with = "or_default")]
    pub join_leave: bool,
    /// JSON of the application's.
    #[serde(borrow, deserialize_with = "document")]
    pub data: Option<&'a RawValue>,
}

/// A request that names a channel and nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChannelRequest<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "text")]
    pub channel: Cow<'a, str>,
}

/// `PublishRequest`.
#[derive(Debug, Deserialize)]
pub struct Publish<'a> {
    /// The channel.
    #[serde(borrow, default, deserialize_with = "text")]
    pub channel: Cow<'a, str>,
    /// The publication's body; there is none to fall back on.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// `HistoryRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct History<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "text")]
    pub channel: Cow<'a, str>,
    /// Publications returned at most; 0 asks for the position alone, a negative number for all that are kept.
    #[serde(deserialize_with = "or_default")]
    pub limit: i32,
    /// Exclusive start.
    #[serde(borrow)]
    pub since: Option<Since<'a>>,
    /// Newest first.
    #[serde(deserialize_with = "or_default")]
    pub reverse: bool,
}

/// `StreamPosition`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Since<'a> {
    /// Offset of the last publication seen.
    #[serde(deserialize_with = "or_default")]
    pub offset: u64,
    /// Epoch that `offset` belongs to.
    #[serde(borrow, deserialize_with = "text")]
    pub epoch: Cow<'a, str>,
}

/// `SendRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Send<'a> {
    /// The message.
    #[serde(borrow, deserialize_with = "document")]
    pub data: Option<&'a RawValue>,
}

/// `RPCRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rpc<'a> {
    /// The backend's method.
    #[serde(borrow, deserialize_with = "text")]
    pub method: Cow<'a, str>,
    /// Its argument.
    #[serde(borrow, deserialize_with = "document")]
    pub data: Option<&'a RawValue>,
}

/// `RefreshRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refresh<'a> {
    /// Connection token.
    #[serde(borrow, deserialize_with = "text")]
    pub token: Cow<'a, str>,
}

/// `SubRefreshRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SubRefresh<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "text")]
    pub channel: Cow<'a, str>,
    /// Subscription token.
    #[serde(borrow, deserialize_with = "text")]
    pub token: Cow<'a, str>,
}

/// Unlike `Option`'s own, keeps `null`, which is a document like any other.
fn document<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `Option<Cow<str>>` would not borrow.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    deserializer.deserialize_any(Text)
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}
