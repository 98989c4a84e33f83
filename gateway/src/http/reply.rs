//! Answers of both HTTP ports.

use bytes::Bytes;
use gateway_core::handshake::BadHandshake;
use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

/// Every answer is a small body in memory.
pub type HttpResponse = Response<Full<Bytes>>;

/// A body of a content type.
pub fn body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> HttpResponse {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// JSON that nobody may keep.
pub fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    // The types that are answered have string keys only, so they always serialize.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut reply = body(status, "application/json", text);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// `{"error":{"code":…,"message":…}}`, the form of the server API's errors, with the status as its code.
pub fn refuse(status: StatusCode, message: &str) -> HttpResponse {
    error(status, status.as_u16().into(), message)
}

/// Why no WebSocket comes of a request, and what would be one.
pub fn bad_handshake(flaw: BadHandshake) -> HttpResponse {
    let mut reply = refuse(flaw.status(), &flaw.to_string());
    flaw.explain(reply.headers_mut());
    reply
}

/// `{"error":{"code":…,"message":…}}` with a code of the server API.
pub fn error(status: StatusCode, code: u32, message: &str) -> HttpResponse {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        code: u32,
        message: &'a str,
    }
    json(status, &Body { error: Error { code, message } })
}

/// 405 with the methods that are served.
pub fn method_not_allowed(allowed: &'static [Method]) -> HttpResponse {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let names = names.join(", ");
    let mut reply = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("this path serves {names}"));
    if let Ok(value) = HeaderValue::from_str(&names) {
        reply.headers_mut().insert(ALLOW, value);
    }
    reply
}

/// 503 with the seconds after which to try again.
pub fn unavailable(retry_after: u32, message: &str) -> HttpResponse {
    refuse_for_now(StatusCode::SERVICE_UNAVAILABLE, retry_after, message)
}

/// A refusal with the seconds after which to try again.
pub fn refuse_for_now(status: StatusCode, retry_after: u32, message: &str) -> HttpResponse {
    let mut reply = refuse(status, message);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after));
    reply
}
