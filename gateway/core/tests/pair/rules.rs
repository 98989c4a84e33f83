//! What a configuration gives to whom in which channel, as the protocol's document says it.

use std::collections::BTreeSet;

use gateway_core::config::{
    Audience, Auth, ChannelOptions, Channels, Entrants, GatewayConfig, Namespace, ProtocolName, Protocols,
};

use crate::vocabulary::{Channel, Name};

/// Messages per second, and at once.
pub const PACE: u32 = 20;
pub const MESSAGE_BYTES: u32 = 16_384;

/// A configuration, as far as a connection of the centrifuge protocol is concerned.
#[derive(Clone, Debug)]
pub struct Rules {
    pub anonymous: bool,
    pub revoked: BTreeSet<Name>,
    /// The protocol is served.
    pub is_served: bool,
    /// Subscriptions that the connection may have.
    pub subscriptions: u32,
    pub plain: ChannelOptions,
    pub live: ChannelOptions,
    /// Of a namespace that there need not be.
    pub news: Option<ChannelOptions>,
}

impl Rules {
    pub fn config(&self) -> GatewayConfig {
        let namespace = |(name, options): (&str, &ChannelOptions)| Namespace {
            name: name.to_owned(),
            options: options.clone(),
        };
        let namespaces =
            [("live", &self.live)].into_iter().chain(self.news.iter().map(|news| ("news", news)));
        let namespaces = namespaces.map(namespace).collect();
        let revoked_tokens = self.revoked.iter().map(|name| name.text()).collect();
        let mut config = GatewayConfig {
            auth: Auth { anonymous: self.anonymous, revoked_tokens, ..Auth::default() },
            channels: Channels { default: self.plain.clone(), namespaces },
            protocols: Protocols(vec![if self.is_served {
                ProtocolName::Centrifuge
            } else {
                ProtocolName::Raw
            }]),
            ..GatewayConfig::default()
        };
        config.limits.subscriptions = self.subscriptions;
        config.limits.max_message_bytes = MESSAGE_BYTES;
        config.limits.messages_per_second = PACE;
        config
    }

    /// The options of a channel, or error 102.
    pub fn options(&self, channel: Channel) -> Result<&ChannelOptions, u64> {
        match channel {
            Channel::Plain
            | Channel::Other
            | Channel::Ours
            | Channel::Theirs
            | Channel::Private
            | Channel::Server => Ok(&self.plain),
            Channel::News
            | Channel::OurNews
            | Channel::TheirNews
            | Channel::PrivateOfNews
            | Channel::NewsOfPrivate
            | Channel::ServerNews => self.news.as_ref().ok_or(102),
            Channel::Live => Ok(&self.live),
            Channel::Unknown | Channel::Unnamed => Err(102),
        }
    }

    /// Whether others see who is there.
    pub fn is_seen(&self, channel: Channel) -> bool {
        self.options(channel).is_ok_and(|options| options.presence || options.join_leave)
    }

    /// Who may be in a channel: whoever has a token for it, and others as far as its options and its name say; or error 102 or 103.
    pub fn admit(&self, channel: Channel, user: &str, has_token: bool) -> Result<(), u64> {
        let options = self.options(channel)?;
        let by_options = match options.subscribe {
            Entrants::Tokens => false,
            Entrants::Users => user == "ada",
            Entrants::Clients => true,
        };
        let by_name = match channel {
            Channel::Private | Channel::PrivateOfNews | Channel::NewsOfPrivate | Channel::Server => false,
            Channel::Theirs | Channel::TheirNews => false,
            Channel::Ours | Channel::OurNews => user == "ada",
            _ => true,
        };
        if has_token || by_options && by_name { Ok(()) } else { Err(103) }
    }

    /// Whether a client is in an audience of a channel.
    pub fn is_among(&self, audience: Audience, channel: Channel, user: &str, is_inside: bool) -> bool {
        let is_near = is_inside || self.admit(channel, user, false).is_ok();
        match audience {
            Audience::Server => false,
            Audience::Subscribers => is_inside,
            Audience::Users => is_near && user == "ada",
            Audience::Clients => is_near,
        }
    }
}
