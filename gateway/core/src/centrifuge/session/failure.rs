//! How a command ends that is not answered as it hoped.

use crate::{
    backplane::BackplaneError,
    centrifuge::codes::{DisconnectCode, ErrorCode},
};

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
