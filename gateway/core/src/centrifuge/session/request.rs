//! Commands about a channel that leave the subscriptions as they are: publish, presence, history.

use bytes::Bytes;

use super::{Session, Waiting};
use crate::{
    backplane::{Op, Payload, Retention, StreamPosition},
    centrifuge::{
        codes::ErrorCode,
        command::{History, Publish},
    },
    config::ChannelOptions,
    rights::may_publish,
    shard::link::Link,
};

/// Publications that a client gets at most, by recovery or in one page of history.
pub(super) const MAX_PUBLICATIONS: u32 = 300;

/// The options of a channel; an unknown namespace is the client's mistake.
pub(super) fn options<'a>(channel: &str, link: &Link<'a>) -> Result<&'a ChannelOptions, ErrorCode> {
    link.settings.config.channels.options(channel).ok_or(ErrorCode::UnknownChannel)
}

/// How much of a channel the backplane keeps.
pub(super) fn retention(options: &ChannelOptions) -> Option<Retention> {
    options.history.map(Into::into)
}

impl Session {
    pub(super) fn publish(
        &mut self,
        id: u32,
        request: &Publish<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let options = options(&request.channel, link)?;
        let channel = link.hub.find(&request.channel).filter(|channel| self.subscriptions.contains(channel));
        if !may_publish(options.publish, &request.channel, &self.user(), channel.is_some()) {
            return Err(ErrorCode::PermissionDenied);
        }
        let op = Op::Publish {
            channel: channel.map_or_else(|| (*request.channel).into(), |channel| link.hub.name(channel)),
            payload: Payload::Json(Bytes::copy_from_slice(request.data.get().as_bytes())),
            info: Some(self.info(channel, link)),
            origin: None,
            retention: retention(options),
            idempotency_key: None,
        };
        self.request(id, Waiting::Published, op, link);
        Ok(())
    }

    /// Both presence commands; `waiting` says which.
    pub(super) fn presence(
        &mut self,
        id: u32,
        waiting: Waiting,
        channel: &str,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        if !options(channel, link)?.presence {
            return Err(ErrorCode::NotAvailable);
        }
        let channel = self.subscribed_name(channel, link)?;
        let op = if matches!(waiting, Waiting::PresenceStats) {
            Op::PresenceStats { channel }
        } else {
            Op::Presence { channel, limit: link.settings.config.limits.outbound_queue_bytes / 2 }
        };
        self.request(id, waiting, op, link);
        Ok(())
    }

    pub(super) fn history(
        &mut self,
        id: u32,
        request: &History<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let retention = retention(options(&request.channel, link)?).ok_or(ErrorCode::NotAvailable)?;
        let op = Op::History {
            channel: self.subscribed_name(&request.channel, link)?,
            retention,
            since: request
                .since
                .as_ref()
                .map(|since| StreamPosition { epoch: (*since.epoch).into(), offset: since.offset }),
            limit: u32::try_from(request.limit).unwrap_or(u32::MAX).min(MAX_PUBLICATIONS),
            reverse: request.reverse,
        };
        self.request(id, Waiting::History, op, link);
        Ok(())
    }

    /// Only subscribers may look into a channel.
    fn subscribed_name(&self, channel: &str, link: &Link<'_>) -> Result<std::sync::Arc<str>, ErrorCode> {
        let id = link.hub.find(channel).filter(|id| self.subscriptions.contains(id));
        id.map(|id| link.hub.name(id)).ok_or(ErrorCode::PermissionDenied)
    }
}
