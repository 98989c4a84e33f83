//! What a configuration means: all that a running gateway consults and that may change while it runs, compiled once and exchanged as one
//! value.

mod check;

use std::{collections::BTreeMap, sync::Arc};

use self::check::check;
pub use self::check::{Invalid, LEAST_MEMORY, MOST_REVOKED};
use crate::{
    backplane::Retention,
    config::{Auth, ChannelOptions, Drain, GatewayConfig, Limits, ProtocolName, Proxies},
    rights::{ChannelName, is_among, may_enter},
    token::{Key, Verifier},
};

/// A configuration that makes sense, with the keys of its clients' tokens.
pub struct Policy {
    document: GatewayConfig,
    hash: String,
    namespaces: BTreeMap<String, ChannelOptions>,
    verifier: Arc<Verifier>,
}

impl Policy {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// With it the gateway would serve nobody, cut off whoever it serves, or drain never.
    pub fn compile(document: GatewayConfig, keys: Vec<Key>) -> Result<Self, Invalid> {
        check(&document, !keys.is_empty())?;
        let namespaces = document.channels.namespaces.iter();
        Ok(Self {
            hash: document.hash(),
            namespaces: namespaces.map(|n| (n.name.clone(), n.options.clone())).collect(),
            verifier: Arc::new(Verifier::new(keys, &document.auth)),
            document,
        })
    }

    /// What it was compiled from, which names no secret.
    #[must_use]
    pub fn document(&self) -> &GatewayConfig {
        &self.document
    }

    /// [`GatewayConfig::hash`] of the document.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether a protocol is served.
    #[must_use]
    pub fn serves(&self, protocol: ProtocolName) -> bool {
        self.document.protocols.0.contains(&protocol)
    }

    /// Origins that browsers may connect from; none stands for all.
    #[must_use]
    pub fn allowed_origins(&self) -> &[String] {
        &self.document.allowed_origins
    }

    /// Whether messages are compressed for clients that offer it.
    #[must_use]
    pub fn compression(&self) -> bool {
        self.document.compression
    }

    /// Whose word for a client's address is believed.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        &self.document.proxies
    }

    /// Who may connect.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.document.auth
    }

    /// Whether a token by this name counts no longer.
    #[must_use]
    pub fn is_revoked(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.document.auth.revoked_tokens.contains(id))
    }

    /// What one gateway and one connection may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.document.limits
    }

    /// How clients are moved.
    #[must_use]
    pub fn drain(&self) -> &Drain {
        &self.document.drain
    }

    /// Checks tokens.
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// The options of a channel, or nothing when its namespace is unknown.
    #[must_use]
    pub fn options(&self, channel: &str) -> Option<&ChannelOptions> {
        match ChannelName::of(channel).namespace {
            None => Some(&self.document.channels.default),
            Some(name) => self.namespaces.get(name),
        }
    }

    /// The options of a raw channel, named as clients do: those of the channel that clients of the centrifuge protocol know by the same
    /// name, or, since no name is refused there, those of channels without a namespace.
    #[must_use]
    pub fn raw_options(&self, channel: &str) -> &ChannelOptions {
        self.options(channel).unwrap_or(&self.document.channels.default)
    }

    /// How much of a raw channel is kept.
    #[must_use]
    pub fn raw_retention(&self, channel: &str) -> Option<Retention> {
        Retention::of(self.raw_options(channel))
    }

    /// Whether a client may enter a raw channel without a token for it; an anonymous user is the empty string.
    #[must_use]
    pub fn may_enter_raw(&self, channel: &str, user: &str) -> bool {
        may_enter(self.raw_options(channel), channel, user)
    }

    /// Whether a client that has entered a raw channel, or could, may publish there; an anonymous user is the empty string.
    #[must_use]
    pub fn may_publish_raw(&self, channel: &str, user: &str) -> bool {
        let options = self.raw_options(channel);
        is_among(options.publish, options, channel, user, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_options_of_its_namespace_and_one_of_an_unknown_namespace_has_none() {
        let policy = Policy::compile(GatewayConfig::default(), vec![]).unwrap();
        let has_presence = |channel: &str| policy.options(channel).map(|options| options.presence);
        assert_eq!(["room", "live:room", "other:room"].map(has_presence), [Some(true), Some(false), None]);
    }

    #[test]
    fn a_raw_channel_of_an_unknown_namespace_keeps_what_one_without_a_namespace_does() {
        let policy = Policy::compile(GatewayConfig::default(), vec![]).unwrap();
        let kept = |channel: &str| policy.raw_retention(channel).map(|kept| kept.size);
        assert_eq!(["room", "live:room", "other:room"].map(kept), [Some(300), None, Some(300)]);
    }
}
