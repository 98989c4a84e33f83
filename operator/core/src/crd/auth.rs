//! `spec.auth`.

use k8s_openapi::api::core::v1::SecretKeySelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may connect and who may publish through the server API.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.anonymous || has(self.jwt)",
     "message": "spec.auth: nobody could connect; set anonymous: true or give jwt"},
]))]
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
    {"rule": "has(self.hmacSecretRef) != has(self.publicKeySecretRef)",
     "message": "spec.auth.jwt: give exactly one of hmacSecretRef and publicKeySecretRef"},
]))]
pub struct Jwt {
    /// Secret of HS256, HS384 and HS512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac_secret_ref: Option<SecretKeySelector>,
    /// Public key of RS*, PS* and ES*, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_secret_ref: Option<SecretKeySelector>,
    /// Required `aud` of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: Option<String>,
    /// Required `iss` of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub issuer: Option<String>,
}
