//! Bodies of requests: each in one buffer, and all together within a budget.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{
    StatusCode,
    body::{Body as _, Incoming},
};

use super::reply::{self, Reply};
use crate::budget::Budget;

/// For a body to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum BadBody {
    /// Longer than what is asked for can need.
    #[error("the body has more than {limit} bytes{named}")]
    TooLarge {
        /// How many it may have.
        limit: usize,
        /// The limit's name in the configuration, in parentheses.
        named: &'static str,
    },
    /// The budget is used up.
    #[error("too many bytes of requests are on their way; send it again")]
    TooMany,
    /// It came too slowly.
    #[error("the body took more than {} s to arrive", TIMEOUT.as_secs())]
    Late,
    /// It is not framed as its head says, or the connection broke.
    #[error("the body cannot be read: {0}")]
    Broken(#[from] hyper::Error),
}

impl BadBody {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let message = self.to_string();
        match self {
            Self::TooLarge { .. } => reply::refuse(StatusCode::PAYLOAD_TOO_LARGE, &message),
            Self::TooMany => reply::unavailable(1, &message),
            Self::Late => reply::refuse(StatusCode::REQUEST_TIMEOUT, &message),
            Self::Broken(_) => reply::refuse(StatusCode::BAD_REQUEST, &message),
        }
    }
}

/// Reads a body of at most `limit` bytes, whose name in the configuration is `named`.
pub async fn read(
    body: Incoming,
    limit: usize,
    named: &'static str,
    budget: &Arc<Budget>,
) -> Result<Bytes, BadBody> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BadBody::TooLarge { limit, named });
    }
    tokio::time::timeout(TIMEOUT, collect(body, limit, named, budget)).await.unwrap_or(Err(BadBody::Late))
}

async fn collect(
    mut body: Incoming,
    limit: usize,
    named: &'static str,
    budget: &Arc<Budget>,
) -> Result<Bytes, BadBody> {
    let mut whole = BytesMut::new();
    let mut held = budget.hold();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        let Ok(part) = frame?.into_data() else { continue };
        if whole.len() + part.len() > limit {
            return Err(BadBody::TooLarge { limit, named });
        }
        if !held.grow(part.len()) {
            return Err(BadBody::TooMany);
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}
