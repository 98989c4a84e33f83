//! The chat page: a complete client of the gateway that is served, and that needs nothing else, to try a cluster with.

/// One file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// `Content-Type` to serve it with.
    pub content_type: &'static str,
    /// The file.
    pub body: &'static str,
}

/// `Content-Security-Policy` of the page: its own files and WebSockets of its own origin, nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'";

/// The file served at `path`, if the page has one there.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let (content_type, body) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/page/chat.css" => ("text/css; charset=utf-8", include_str!("page/chat.css")),
        "/page/chat.js" => ("text/javascript; charset=utf-8", include_str!("page/chat.js")),
        "/page/icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        "/page/client.js" => ("text/javascript; charset=utf-8", include_str!("page/client.js")),
        _ => return None,
    };
    Some(Asset { content_type, body })
}
