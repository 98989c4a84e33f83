//! `spec.auth`.

use k8s_openapi::api::core::v1::SecretKeySelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may connect and who may publish through the server API.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Clients without a token may connect.
    #[serde(default)]
    pub anonymous: bool,
    /// Clients may connect with a JSON Web Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Key of the server API (header `X-API-Key`); the operator makes one in Secret `<name>-api-key`, key `key`, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeySelector>,
}

/// How tokens are checked.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.hmacSecretRef) || has(self.publicKeySecretRef) || has(self.jwks)",
     "message": "spec.auth.jwt: without a key; give hmacSecretRef, publicKeySecretRef or jwks"},
    {"rule": "!(has(self.hmacSecretRef) && has(self.publicKeySecretRef))",
     "message": "spec.auth.jwt: has hmacSecretRef and publicKeySecretRef; give one of them"},
]))]
pub struct Jwt {
    /// Secret of HS256, HS384 and HS512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac_secret_ref: Option<SecretKeySelector>,
    /// Public keys of RS*, PS*, ES* and EdDSA, in PEM, one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_secret_ref: Option<SecretKeySelector>,
    /// Public keys that gateways fetch, beside the other's if both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Jwks>,
    /// Required `aud` of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: Option<String>,
    /// Required `iss` of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub issuer: Option<String>,
    /// Tokens that count no longer although they have not expired, by their `jti`: at most 10,000, each of 1 to 253 visible ASCII characters
    /// other than `"` and `\`, and 64 KiB of them, three bytes counted for each beside its own. That is 1,680 UUIDs. Leave out those that have
    /// expired by now.
    #[serde(default)]
    #[schemars(length(max = 10_000), inner(length(min = 1, max = 253)))]
    #[schemars(extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [
        {"rule": r#"self.all(id, id.matches(r'^[!#-\[\]-~]+$'))"#,
         "message": r#"spec.auth.jwt.revokedTokens: not the jti of a token that can be revoked; give visible ASCII characters other than " and \"#},
        {"rule": "self.map(id, size(id) + 3).sum() <= 65536",
         "message": "spec.auth.jwt.revokedTokens: more than 65536 bytes, three counted for each beside its own; leave out those that have expired, or exchange the key that has signed them"},
    ]))]
    pub revoked_tokens: Vec<String>,
}

/// A key set (RFC 7517) that gateways fetch from where whoever signs tokens publishes it: every five minutes, and when a token names a key
/// that they do not have. Keys are kept while it can't be fetched.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.allowHttp || !self.url.startsWith('http://')",
     "message": "spec.auth.jwt.jwks.url: over http whoever is between could let in whom he likes; write https, or set allowHttp"},
]))]
pub struct Jwks {
    /// Address, like `https://login.example.com/.well-known/jwks.json`. Redirects are not followed.
    #[schemars(length(min = 1, max = 2048))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": r"self.matches('^https?://[^/?#@ ]+([/?][^# ]*)?$')",
        "message": "spec.auth.jwt.jwks.url: not an address of a key set; write it like https://login.example.com/.well-known/jwks.json",
    }]))]
    pub url: String,
    /// The address may begin with `http://`, for a cluster whose network is trusted.
    #[serde(default)]
    pub allow_http: bool,
    /// Secret that holds the CAs, PEM, one of which has to have signed the server's certificate; those that browsers trust when absent. Read
    /// anew for each fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeySelector>,
}
