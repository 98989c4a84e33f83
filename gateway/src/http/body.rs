//! Bodies of requests and of large answers: each in one buffer, and all together within a budget.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::{
    Response, StatusCode,
    body::{Body as _, Incoming},
};

use super::reply::{self, HttpResponse};
use crate::{
    budget::Charge,
    memory::{Memory, SMALL},
};

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
    /// Others hold what there is.
    #[error("too many bytes of requests and answers are on their way; send it again")]
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
    pub fn reply(&self) -> HttpResponse {
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
    memory: &Memory,
) -> Result<Bytes, BadBody> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BadBody::TooLarge { limit, named });
    }
    if body.size_hint().lower() > SMALL as u64 && memory.is_tight() {
        return Err(BadBody::TooMany);
    }
    tokio::time::timeout(TIMEOUT, collect(body, limit, named, memory)).await.unwrap_or(Err(BadBody::Late))
}

async fn collect(
    mut body: Incoming,
    limit: usize,
    named: &'static str,
    memory: &Memory,
) -> Result<Bytes, BadBody> {
    let mut whole = BytesMut::new();
    let mut held = memory.bodies().take(0);
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        let Ok(part) = frame?.into_data() else { continue };
        if whole.len() + part.len() > limit {
            return Err(BadBody::TooLarge { limit, named });
        }
        let is_large = whole.len() + part.len() > SMALL;
        if is_large && memory.is_tight() || !held.try_grow(part.len()) {
            return Err(BadBody::TooMany);
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

/// Counts a large answer until it is sent; one that there is no room for is refused.
pub async fn charge(answer: HttpResponse, memory: &Memory) -> HttpResponse {
    let (head, body) = answer.into_parts();
    let Ok(bytes) = body.collect().await.map(Collected::to_bytes);
    if bytes.len() <= SMALL {
        return Response::from_parts(head, Full::new(bytes));
    }
    match memory.bodies().try_take(bytes.len()) {
        Some(charge) => {
            let body = Bytes::from_owner(Charged { bytes, _charge: charge });
            Response::from_parts(head, Full::new(body))
        }
        None => BadBody::TooMany.reply(),
    }
}

/// The bytes of an answer, and their share of the budget.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_answer_holds_its_share_until_it_is_sent_and_is_refused_when_there_is_none() {
        let memory = Memory::new(Some(800_000), 1);
        let answer = |bytes: usize| reply::body(StatusCode::OK, "text/plain", vec![0; bytes]);
        let first = charge(answer(60_000), &memory).await;
        assert_eq!((first.status(), memory.held()), (StatusCode::OK, 60_000));
        assert_eq!(charge(answer(60_000), &memory).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(charge(answer(SMALL), &memory).await.status(), StatusCode::OK);
        drop(first);
        assert_eq!(memory.held(), 0);
    }
}
