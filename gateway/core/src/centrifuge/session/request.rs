//! Commands about a channel that leave the subscriptions as they are: publish, presence, history.

use std::sync::Arc;

use bytes::Bytes;

use super::{Session, page, pending::Awaited};
use crate::{
    backplane::{LogOp, Op, Payload, PresenceOp, Publish, Retention, StreamPosition},
    centrifuge::{
        codes::ErrorCode,
        command::{self, History},
    },
    config::{Audience, ChannelOptions},
    rights::is_among,
    shard::link::{Link, weight},
};

/// Publications that a client gets at most, by recovery or in one page of history.
pub(super) const MAX_PUBLICATIONS: u32 = 300;

/// The options of a channel; an unknown namespace is the client's mistake.
pub(super) fn options<'a>(channel: &str, link: &Link<'a>) -> Result<&'a ChannelOptions, ErrorCode> {
    link.policy.options(channel).ok_or(ErrorCode::UnknownChannel)
}

impl Session {
    pub(super) fn publish(
        &mut self,
        id: u32,
        request: &command::Publish<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let options = options(&request.channel, link)?;
        let channel = link.hub.find(&request.channel).filter(|channel| self.is_subscribed(*channel));
        let user = self.credentials.user();
        if !is_among(options.publish, options, &request.channel, &user, channel.is_some()) {
            return Err(ErrorCode::PermissionDenied);
        }
        let weight = weight(request.data.get().len());
        let publish = Publish {
            channel: channel.map_or_else(|| (*request.channel).into(), |channel| link.hub.name(channel)),
            payload: Payload::Json(Bytes::copy_from_slice(request.data.get().as_bytes())),
            info: Some(self.info(channel, link)),
            sender: None,
            idempotency_key: None,
        };
        let op = Op::publish(publish, Retention::of(options));
        self.request(id, Awaited::Published(weight), op, link);
        Ok(())
    }

    pub(super) fn presence(&mut self, id: u32, channel: &str, link: &mut Link<'_>) -> Result<(), ErrorCode> {
        let channel = self.with_presence(channel, link)?;
        let least = link.policy.limits().max_message_bytes as usize;
        let limit = page::bytes(link.room().min(page::whole_room(link)), least)?;
        self.request(id, Awaited::Presence(limit), PresenceOp::List { channel, limit }, link);
        Ok(())
    }

    pub(super) fn presence_stats(
        &mut self,
        id: u32,
        channel: &str,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let channel = self.with_presence(channel, link)?;
        self.request(id, Awaited::PresenceStats, PresenceOp::Count { channel }, link);
        Ok(())
    }

    /// The name of a channel whose presence the client may read.
    fn with_presence(&self, channel: &str, link: &Link<'_>) -> Result<Arc<str>, ErrorCode> {
        let options = options(channel, link)?;
        if !options.presence {
            return Err(ErrorCode::NotAvailable);
        }
        self.readable(options.read_presence, options, channel, link)
    }

    pub(super) fn history(
        &mut self,
        id: u32,
        request: &History<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let options = options(&request.channel, link)?;
        let retention = Retention::of(options).ok_or(ErrorCode::NotAvailable)?;
        let op = LogOp::Read {
            channel: self.readable(options.read_history, options, &request.channel, link)?,
            retention,
            since: request
                .since
                .as_ref()
                .map(|since| StreamPosition { epoch: (*since.epoch).into(), offset: since.offset }),
            limit: u32::try_from(request.limit).unwrap_or(u32::MAX).min(MAX_PUBLICATIONS),
            bytes: page::bytes(page::room(link), page::least(link))?,
            reverse: request.reverse,
        };
        self.request(id, Awaited::History, op, link);
        Ok(())
    }

    /// The name of a channel for the client to look into, if it is among those who may.
    fn readable(
        &self,
        readers: Audience,
        options: &ChannelOptions,
        channel: &str,
        link: &Link<'_>,
    ) -> Result<Arc<str>, ErrorCode> {
        let id = link.hub.find(channel).filter(|id| self.is_subscribed(*id));
        if is_among(readers, options, channel, &self.credentials.user(), id.is_some()) {
            Ok(id.map_or_else(|| channel.into(), |id| link.hub.name(id)))
        } else {
            Err(ErrorCode::PermissionDenied)
        }
    }
}
