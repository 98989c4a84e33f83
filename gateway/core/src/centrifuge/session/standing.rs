//! What a policy gives a client that is connected, and what becomes of what it has when that is something else.

use std::time::Duration;

use super::{Session, Stage, request, subscription::Subscription};
use crate::{
    centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode},
    config::{ChannelOptions, ProtocolName},
    identity::Grant,
    rights::may_enter,
    shard::link::Link,
    transport::Goodbye,
};

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// As it is.
    Kept,
    /// Others are to see it, or no longer.
    Seen(bool),
    /// The client may not have it.
    Lost,
}

impl Session {
    /// Whether the policy in force gives the client something else than it has.
    pub(super) fn stands_otherwise(&self, link: &Link<'_>) -> bool {
        self.may_stay(link).is_err()
            || self
                .subscriptions
                .iter()
                .any(|subscription| self.standing(*subscription, link) != Standing::Kept)
    }

    /// Takes from the client what the policy in force does not give it, and lets others see what they may.
    pub(super) fn stand_corrected(&mut self, link: &mut Link<'_>) -> Result<(), Goodbye> {
        self.may_stay(link)?;
        for subscription in self.subscriptions.clone() {
            match self.standing(subscription, link) {
                Standing::Kept => {}
                Standing::Seen(true) => self.appear(subscription.channel(), link),
                Standing::Seen(false) => self.disappear(subscription.channel(), Duration::ZERO, link),
                // Its client has not been told of it.
                Standing::Lost if self.greeting.is_some() => {
                    return Err(DisconnectCode::InsufficientState.into());
                }
                Standing::Lost => {
                    let name = link.hub.name(subscription.channel());
                    self.drop_subscription(subscription.channel(), Duration::ZERO, link);
                    self.push_unsubscribe(&name, UnsubscribeCode::Server, link);
                }
            }
        }
        Ok(())
    }

    /// Who has not shown yet what he connects with is judged by that when he does.
    pub(super) fn may_stay(&self, link: &Link<'_>) -> Result<(), DisconnectCode> {
        if !link.policy.serves(ProtocolName::Centrifuge) {
            return Err(DisconnectCode::NotAvailable);
        }
        let is_known = self.stage >= Stage::Connected || self.greeting.is_some();
        if is_known && !self.credentials.admit(link.policy) {
            return Err(DisconnectCode::PermissionDenied);
        }
        Ok(())
    }

    fn standing(&self, subscription: Subscription, link: &Link<'_>) -> Standing {
        let name = link.hub.name(subscription.channel());
        match self.entitlement(&name, self.credentials.grant(subscription.channel()), link) {
            Err(_) => Standing::Lost,
            Ok(options) if is_seen(options) != subscription.is_seen() => Standing::Seen(is_seen(options)),
            Ok(_) => Standing::Kept,
        }
    }

    /// Whether the client may be in a channel with what a token has granted it there; how that channel is.
    pub(super) fn entitlement<'a>(
        &self,
        channel: &str,
        grant: Option<&Grant>,
        link: &Link<'a>,
    ) -> Result<&'a ChannelOptions, ErrorCode> {
        let options = request::options(channel, link)?;
        // A grant that is revoked is none.
        let grant = grant.filter(|grant| !link.policy.is_revoked(grant.token_id.as_deref()));
        let is_admitted = grant.is_some() || may_enter(options, channel, &self.credentials.user());
        if is_admitted { Ok(options) } else { Err(ErrorCode::PermissionDenied) }
    }
}

/// Whether others may see who is in a channel.
pub(super) fn is_seen(options: &ChannelOptions) -> bool {
    options.presence || options.join_leave
}
