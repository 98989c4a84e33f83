//! What channels do, and for whom.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// What channels do: the options of channels without a namespace, and of each namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Channels {
    /// Options of channels whose name has no `namespace:` prefix; once given, what they leave out is off, history and with it recovery, too.
    pub default: ChannelOptions,
    /// Options of channels named `namespace:rest`. A channel of an unknown namespace is refused with error 102.
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub namespaces: Vec<Namespace>,
}

impl Default for Channels {
    /// Everything on for plain channels; `live:` channels for what is only worth knowing now, like who is typing.
    fn default() -> Self {
        Self {
            default: ChannelOptions {
                history: Some(History::default()),
                presence: true,
                join_leave: true,
                ..ChannelOptions::default()
            },
            namespaces: vec![Namespace { name: "live".to_owned(), options: ChannelOptions::default() }],
        }
    }
}

/// A namespace of channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Namespace {
    /// The part of a channel's name before the first colon, a `$` in front of it aside.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-zA-Z0-9_-]{1,64}$")))]
    pub name: String,
    /// What its channels do.
    #[serde(flatten)]
    pub options: ChannelOptions,
}

/// What a channel does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ChannelOptions {
    /// Publications kept, so that clients can recover what they missed; absent keeps none.
    pub history: Option<History>,
    /// Clients may ask who is present.
    pub presence: bool,
    /// Subscribers are told when a client joins or leaves.
    pub join_leave: bool,
    /// Who may publish besides the server API.
    pub publish: Audience,
    /// Who may subscribe without a token for the channel, as far as its name admits them; `Clients` when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub subscribe: Entrants,
    /// Who may ask who is present, where that can be asked; `Subscribers` when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub read_presence: Audience,
    /// Who may read the history, where there is one; `Subscribers` when absent. Whoever is subscribed recovers what he missed in any case.
    #[serde(skip_serializing_if = "is_default")]
    pub read_history: Audience,
}

/// How much of a channel is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct History {
    /// Publications kept.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub size: u32,
    /// Seconds after the last publication for which they are kept.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub ttl_seconds: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { size: 300, ttl_seconds: 300 }
    }
}

/// Which clients may do something in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum Audience {
    /// None: only the server API.
    Server,
    /// Whoever is subscribed to the channel.
    #[default]
    Subscribers,
    /// Whoever is subscribed or may subscribe without a token for the channel, and is not anonymous.
    Users,
    /// Whoever is subscribed or may subscribe without a token for the channel.
    Clients,
}

/// Which clients may subscribe to a channel without a token for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum Entrants {
    /// None: a subscription token is needed, or a connection token that names the channel.
    Tokens,
    /// Those that are not anonymous.
    Users,
    /// All that are connected.
    #[default]
    Clients,
}
