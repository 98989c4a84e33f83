//! Raw clients' HTTP requests: the tokens that they bring, and messages by POST.

use std::{net::IpAddr, sync::Arc};

use gateway_core::{
    address::Site,
    backplane::{Op, Outcome, Payload, Publish},
    raw::backplane_channel,
    token::{EntryToken, TokenError},
};
use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{
    ClientPort, bearer,
    reply::{self, HttpResponse},
};

impl ClientPort {
    /// Raw clients have no command to bring a token with, so it comes in the URL or in a header. What it says; nothing for who needs none.
    pub(super) async fn authorize_raw(
        &self,
        request: &Request<Incoming>,
        channel: &str,
    ) -> Result<Option<EntryToken>, HttpResponse> {
        let bearer = || bearer(request.headers());
        // An application that has no token often writes `?token=`.
        let token =
            parameter(request.uri().query(), "token").filter(|token| !token.is_empty()).or_else(bearer);
        let Some(token) = token else {
            return if self.policy().auth().anonymous && self.policy().may_enter_raw(channel, "") {
                Ok(None)
            } else {
                Err(self.unauthorized("a token is needed, as ?token= or as Authorization: Bearer"))
            };
        };
        let (admission, client) = (&self.node.admission, self.client(request.headers()));
        admission.check(client, self.node.clock.elapsed()).map_err(|refusal| self.refuse(refusal))?;
        let token = self.entry(client, &token, channel).await.map_err(|error| {
            if error.is_charged() {
                admission.wrong_token(Site::of(client), self.node.clock.elapsed());
            }
            match error {
                TokenError::UnknownKey { .. } => {
                    self.node.unknown_keys.notify_one();
                    self.node.metrics.refused("unknown_key");
                    reply::unavailable(1, &error.to_string())
                }
                TokenError::TooMany | TokenError::Unchecked => reply::unavailable(1, &error.to_string()),
                TokenError::Invalid(_) | TokenError::Expired => self.unauthorized(&error.to_string()),
            }
        })?;
        if token.names_channel || self.policy().may_enter_raw(channel, &token.user) {
            Ok(Some(token))
        } else {
            Err(self.unauthorized("the channel needs a subscription token for it, or another user's"))
        }
    }

    /// Verifies a token, on another thread where that is slow: whoever brings wrong ones holds up new clients at most.
    async fn entry(&self, client: IpAddr, token: &str, channel: &str) -> Result<EntryToken, TokenError> {
        loop {
            let verifier = self.policy().verifier().clone();
            let checked = if verifier.is_slow() {
                let _busy = self.place.queue();
                let check = self.node.checks.submit(Site::of(client), &verifier, token);
                check.ok_or(TokenError::TooMany)?.await.map_err(|_| TokenError::TooMany)?
            } else {
                verifier.check(token)
            };
            // What a verifier says counts no longer once the policy has another one.
            if Arc::ptr_eq(&verifier, self.policy().verifier()) {
                return checked.entry(channel, self.node.clock.now());
            }
        }
    }

    pub(super) async fn publish_raw(
        &self,
        request: Request<Incoming>,
        channel: &str,
        token: Option<EntryToken>,
    ) -> HttpResponse {
        if let Err(flaw) = self.check_origin(request.headers()) {
            return reply::bad_handshake(flaw);
        }
        if !self.policy().may_publish_raw(channel, token.as_ref().map_or("", |token| &token.user)) {
            return reply::refuse(StatusCode::FORBIDDEN, "the channel's namespace does not let you publish");
        }
        let is_text = request.headers().get(CONTENT_TYPE).is_some_and(is_text);
        let body = match self.body(request).await {
            Ok(body) => body,
            Err(error) => return error.reply(),
        };
        let _busy = self.place.work();
        let payload = match std::str::from_utf8(&body) {
            Ok(_) if is_text => Payload::Text(body),
            _ => Payload::Binary(body),
        };
        self.node.metrics.publications.inc();
        let publish = Publish {
            channel: backplane_channel(channel).into(),
            payload,
            info: None,
            sender: None,
            idempotency_key: None,
        };
        let op = Op::publish(publish, self.policy().raw_retention(channel));
        match self.backplane.call(op).await {
            Ok(Outcome::Done | Outcome::Appended { .. }) => {
                reply::json(StatusCode::OK, &serde_json::json!({"result": {}}))
            }
            Ok(_) => {
                reply::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the backplane gave no answer to a publish")
            }
            Err(error) => reply::unavailable(1, &error.to_string()),
        }
    }
}

fn is_text(content_type: &HeaderValue) -> bool {
    let content_type = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    content_type.starts_with("text/") || content_type.starts_with("application/json")
}

/// A parameter of the query, decoded.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        assert_eq!(parameter(Some("a=1&token=x%2By&tok=2"), "token"), Some("x+y".to_owned()));
        assert_eq!(parameter(Some("atoken=1"), "token"), None);
        assert_eq!(parameter(None, "token"), None);
    }

    #[test]
    fn json_and_text_are_text_and_the_rest_is_binary() {
        let cases = [("text/plain; charset=utf-8", true), ("Application/JSON", true), ("image/png", false)];
        for (content_type, expected) in cases {
            assert_eq!(is_text(&HeaderValue::from_static(content_type)), expected, "{content_type}");
        }
    }
}
