//! Commands that wait for the backplane, and how they end.

use super::subscription::Subscribing;
use crate::{
    backplane::BackplaneError,
    centrifuge::codes::{DisconnectCode, ErrorCode},
    key::RequestId,
};

/// What a command that reads counts against `MAX_WAITING`: together their answers are about as large as what may wait for a client.
const READ: u32 = 32;

/// A command that waits for the backplane.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: RequestId,
    pub(super) command: u32,
    pub(super) waiting: Waiting,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Subscribed(Box<Subscribing>),
    /// With what it weighs.
    Published(u32),
    History,
    Presence,
    PresenceStats,
}

impl Waiting {
    /// What it counts against `MAX_WAITING`.
    pub(super) fn weight(&self) -> u32 {
        match self {
            // Their number has a limit of its own.
            Self::Subscribed(subscribing) if subscribing.since.is_none() => 0,
            Self::Subscribed(_) | Self::History | Self::Presence | Self::PresenceStats => READ,
            Self::Published(weight) => *weight,
        }
    }
}

/// How a command ends that is not answered as it hoped.
#[derive(Debug)]
pub(super) enum Failure {
    /// With an error; the connection goes on.
    Error(ErrorCode),
    /// With the connection.
    Disconnect(DisconnectCode),
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<BackplaneError> for Failure {
    fn from(error: BackplaneError) -> Self {
        Self::Error(error.into())
    }
}

impl From<BackplaneError> for ErrorCode {
    fn from(error: BackplaneError) -> Self {
        match error {
            BackplaneError::Busy => Self::TooManyRequests,
            BackplaneError::TooLarge => Self::LimitExceeded,
            BackplaneError::Unavailable | BackplaneError::Unanswered => Self::Internal,
            BackplaneError::UnrecoverablePosition => Self::UnrecoverablePosition,
        }
    }
}
