//! Commands that bring a token: connect, refresh, sub_refresh.

use std::mem;

use super::{Session, Stage};
use crate::{
    backplane::ClientInfo,
    centrifuge::{
        codes::{DisconnectCode, ErrorCode},
        command::{Connect, Refresh, SubRefresh},
        reply::{ConnectResult, Reply, SubscribeResult},
    },
    hub::ChannelId,
    identity::{Denied, Grant},
    shard::{heartbeat::PING_INTERVAL, link::Link},
    token::TokenError,
    transport::Goodbye,
};

impl Session {
    /// The first command of a connection.
    pub(super) fn connect(
        &mut self,
        id: u32,
        request: &Connect<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        if self.stage > Stage::Refused || self.greeting.is_some() {
            return Err(DisconnectCode::BadRequest.into());
        }
        if request.token.is_empty() && link.policy.auth().anonymous {
            self.welcome(id, None, &[], link);
            return Ok(());
        }
        match self.credentials.verify_connection(&request.token, link) {
            Ok(mut token) => {
                let subscriptions = mem::take(&mut token.subscriptions);
                let ttl = self.credentials.identify(token, link.now);
                self.greet(id, ttl, subscriptions, request, link)
            }
            Err(error @ (TokenError::Expired | TokenError::TooMany | TokenError::UnknownKey { .. })) => {
                self.stage = Stage::Refused;
                self.fail(id, error.into(), link);
                Ok(())
            }
            Err(TokenError::Invalid(_)) => Err(DisconnectCode::InvalidToken.into()),
            Err(TokenError::Unchecked) => Ok(()),
        }
    }

    /// Answers the connect command; from here on the client may do what its token allows.
    pub(super) fn welcome(
        &mut self,
        id: u32,
        ttl: Option<u32>,
        subs: &[(&str, SubscribeResult<'_>)],
        link: &mut Link<'_>,
    ) {
        self.stage = Stage::Connected;
        let result = ConnectResult {
            client: &link.settings.client_id(link.key),
            version: &link.settings.version,
            node: &link.settings.node_name,
            ttl,
            ping: PING_INTERVAL.as_secs() as u32,
            subs,
        };
        self.reply(id, &Reply::Connect(result), link);
    }

    pub(super) fn refresh(
        &mut self,
        id: u32,
        request: &Refresh<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), Goodbye> {
        match self.credentials.verify_connection(&request.token, link) {
            Ok(token) if token.user == self.credentials.user() => {
                let ttl = self.credentials.identify(token, link.now);
                let client = link.settings.client_id(link.key);
                self.reply(id, &Reply::Refresh { client: &client, ttl }, link);
                Ok(())
            }
            Err(error @ (TokenError::Expired | TokenError::TooMany | TokenError::UnknownKey { .. })) => {
                self.fail(id, error.into(), link);
                Ok(())
            }
            Ok(_) | Err(TokenError::Invalid(_)) => Err(DisconnectCode::InvalidToken.into()),
            Err(TokenError::Unchecked) => Ok(()),
        }
    }

    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        request: &SubRefresh<'_>,
        link: &mut Link<'_>,
    ) -> Result<(), ErrorCode> {
        let channel = link.hub.find(&request.channel).filter(|channel| self.is_subscribed(*channel));
        let channel = channel.ok_or(ErrorCode::PermissionDenied)?;
        let (grant, ttl) = self.credentials.verify_subscription(&request.channel, &request.token, link)?;
        let by_server = self.credentials.grant(channel).is_some_and(|grant| grant.by_server);
        self.credentials.add_grant(channel, Grant { by_server, ..grant });
        self.reply(id, &Reply::SubRefresh { ttl }, link);
        Ok(())
    }

    /// How the client appears to others, in general or in one channel.
    pub(super) fn info(&self, channel: Option<ChannelId>, link: &Link<'_>) -> ClientInfo {
        let grant = channel.and_then(|channel| self.credentials.grant(channel));
        ClientInfo {
            client: link.settings.client_id(link.key),
            user: self.credentials.user(),
            conn_info: self.credentials.info(),
            chan_info: grant.and_then(|grant| grant.info.clone()),
        }
    }
}

/// What a command is answered whose token is refused, where the connection goes on.
impl From<TokenError> for ErrorCode {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::TokenExpired,
            TokenError::TooMany => Self::TooManyRequests,
            TokenError::UnknownKey { .. } | TokenError::Unchecked => Self::Internal,
            TokenError::Invalid(_) => Self::PermissionDenied,
        }
    }
}

impl From<Denied> for ErrorCode {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Token(error) => error.into(),
            Denied::Forbidden => Self::PermissionDenied,
        }
    }
}
