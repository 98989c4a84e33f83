//! A configuration as it is sent to a running gateway: the whole document, as JSON.

use std::collections::BTreeMap;

use gateway_core::{config::GatewayConfig, policy::Invalid};
use hyper::StatusCode;
use serde_json::{error::Category, value::RawValue};

/// What a gateway is told at its start alone, by the names that people would try, each with the remedy.
const AT_START: [(&str, &str); 10] = [
    ("listen", "it can't change while the gateway runs; start it anew with --listen"),
    ("control", "it can't change while the gateway runs; start it anew with --control"),
    ("shards", "it can't change while the gateway runs; start it anew with --shards"),
    ("redisUrl", "it can't change while the gateway runs; start it anew with --redis-url"),
    ("redisPrefix", "it can't change while the gateway runs; start it anew with --redis-prefix"),
    ("nodeName", "it can't change while the gateway runs; start it anew with --node-name"),
    ("revision", "it can't change while the gateway runs; start it anew with --revision"),
    ("settle", "it can't change while the gateway runs; start it anew with --settle"),
    ("shutdownWindow", "it can't change while the gateway runs; start it anew with --shutdown-window"),
    ("echo", "it can't change while the gateway runs; start it anew with --echo"),
];

/// Why a document is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    /// Not JSON.
    #[error("the configuration is no JSON: {0}")]
    Syntax(serde_json::Error),
    /// Not of the form of a configuration.
    #[error("configuration: {0}")]
    Form(String),
    /// A field that isn't exchanged.
    #[error(transparent)]
    AtStart(Invalid),
}

impl BadDocument {
    /// The answer's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Syntax(_) => StatusCode::BAD_REQUEST,
            Self::Form(_) | Self::AtStart(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// Reads a document; `anonymous` is for one that does not say whether clients without a token may connect.
pub fn parse(
    text: &[u8],
    anonymous: impl FnOnce(&GatewayConfig) -> bool,
) -> Result<GatewayConfig, BadDocument> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(text).map_err(|error| match error.classify() {
            Category::Data => BadDocument::Form(format!("{error}; it has to be an object")),
            _ => BadDocument::Syntax(error),
        })?;
    for (field, remedy) in AT_START {
        if let Some(value) = fields.get(field) {
            let (field, value) = (field.to_owned(), value.get().to_owned());
            return Err(BadDocument::AtStart(Invalid { field, value, remedy }));
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut config: GatewayConfig = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| BadDocument::Form(error.to_string()))?;
    let auth = fields.get("auth").map(|auth| serde_json::from_str::<BTreeMap<&str, &RawValue>>(auth.get()));
    if !auth.is_some_and(|auth| auth.is_ok_and(|auth| auth.contains_key("anonymous"))) {
        config.auth.anonymous = anonymous(&config);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (u16, String) {
        let error = parse(text.as_bytes(), |_| true).unwrap_err();
        (error.status().as_u16(), error.to_string())
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_the_field_and_what_it_may_be() {
        let cases = [
            (r#"{"auth":"#, 400, "no JSON"),
            ("", 400, "no JSON"),
            ("auth: {}", 400, "no JSON"),
            ("{} {}", 400, "trailing characters"),
            ("[]", 422, "it has to be an object"),
            (r#"{"drian":{}}"#, 422, "unknown field `drian`, expected one of `protocols`"),
            (
                r#"{"limits":{"maxConnections":"many"}}"#,
                422,
                "limits.maxConnections: invalid type: string \"many\", expected u32",
            ),
            (r#"{"limits":{"maxConnection":1}}"#, 422, "unknown field `maxConnection`, expected one of"),
            (
                r#"{"channels":{"namespaces":[{"name":"a","publish":"All"}]}}"#,
                422,
                "unknown variant `All`, expected one of",
            ),
            (r#"{"auth":{},"auth":{}}"#, 422, "duplicate field `auth`"),
            (
                r#"{"shards":4}"#,
                422,
                "shards is 4; it can't change while the gateway runs; start it anew with --shards",
            ),
            (r#"{"redisUrl":"redis://a"}"#, 422, "start it anew with --redis-url"),
        ];
        for (text, status, words) in cases {
            let (refused, message) = refusal(text);
            assert!(refused == status && message.contains(words), "{text}: {refused} {message}");
        }
    }

    #[test]
    fn a_document_that_says_nothing_of_clients_without_a_token_changes_nothing_for_them() {
        let anonymous =
            |text: &str, unless_said| parse(text.as_bytes(), |_| unless_said).unwrap().auth.anonymous;
        for unless_said in [false, true] {
            assert_eq!(anonymous("{}", unless_said), unless_said);
            assert_eq!(anonymous(r#"{"auth":{"audience":"a"}}"#, unless_said), unless_said);
            assert!(anonymous(r#"{"auth":{"anonymous":true}}"#, unless_said));
            assert!(!anonymous(r#"{"auth":{"anonymous":false}}"#, unless_said));
        }
    }
}
