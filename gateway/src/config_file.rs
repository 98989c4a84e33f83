//! The configuration that a gateway starts with, from its file or its environment.

use std::{fs, path::Path};

use gateway_core::config::GatewayConfig;

use crate::settings::SettingsError;

/// A configuration, and what its text says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFile {
    /// With the defaults of what it does not say.
    pub config: GatewayConfig,
    /// It says whether clients without a token may connect.
    pub names_anonymous: bool,
}

impl ConfigFile {
    /// The configuration from a file, else from inline text, else the default.
    pub fn read(file: Option<&Path>, inline: Option<&str>) -> Result<Self, SettingsError> {
        match (file, inline) {
            (Some(path), _) => {
                let text = fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
                    flag: "--config",
                    path: path.to_owned(),
                    error,
                })?;
                Self::parse(&path.display().to_string(), &text)
            }
            (None, Some(text)) => Self::parse("MOORING_CONFIG", text),
            (None, None) => Ok(Self::default()),
        }
    }

    /// YAML, of which JSON is a part.
    fn parse(origin: &str, text: &str) -> Result<Self, SettingsError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let malformed = |error: serde_yaml::Error| SettingsError::Malformed {
            origin: origin.to_owned(),
            message: error.to_string(),
        };
        let config = serde_yaml::from_str(text).map_err(malformed)?;
        let fields: serde_yaml::Value = serde_yaml::from_str(text).map_err(malformed)?;
        Ok(Self {
            config,
            names_anonymous: fields.get("auth").and_then(|auth| auth.get("anonymous")).is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_field() {
        let error = ConfigFile::read(None, Some("limits: {maxConnections: many}")).unwrap_err().to_string();
        assert!(error.starts_with("configuration MOORING_CONFIG: limits.maxConnections: "), "{error}");
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_name() {
        let error = ConfigFile::read(None, Some(r#"{"drian": {}}"#)).unwrap_err().to_string();
        assert!(error.contains("unknown field `drian`"), "{error}");
    }

    #[test]
    fn a_typing_error_at_any_depth_is_refused_with_its_name() {
        let cases = [
            ("limits: {maxConnection: 5}", "maxConnection"),
            ("auth: {audiance: a}", "audiance"),
            ("auth: {jwks: {uri: 'https://a'}}", "uri"),
            ("auth: {jwks: {url: 'https://a', refresh: 5}}", "refresh"),
            ("channels: {defaults: {}}", "defaults"),
            ("channels: {default: {publsh: Server}}", "publsh"),
            ("channels: {default: {history: {sise: 5}}}", "sise"),
            ("channels: {namespaces: [{name: a, publsh: Server}]}", "publsh"),
            ("channels: {namespaces: [{name: a, history: {ttl: 5}}]}", "ttl"),
            ("drain: {timeout: 5}", "timeout"),
            ("proxies: {trust: []}", "trust"),
        ];
        for (text, field) in cases {
            let error = ConfigFile::read(None, Some(text)).unwrap_err().to_string();
            assert!(error.contains(&format!("unknown field `{field}`")), "{text}: {error}");
        }
        let good = "channels: {namespaces: [{name: a, publish: Server, history: {size: 5}}]}";
        assert_eq!(ConfigFile::read(None, Some(good)).unwrap().config.channels.namespaces[0].name, "a");
    }

    #[test]
    fn a_proxy_is_named_by_its_range_of_addresses() {
        let proxies = |text: &str| ConfigFile::read(None, Some(text)).map(|file| file.config.proxies);
        let good = proxies("proxies: {trusted: [10.0.0.0/8, '2001:db8::1'], proxyProtocol: true}").unwrap();
        assert_eq!((good.trusted.len(), good.proxy_protocol), (2, true));
        let error = proxies("proxies: {trusted: [router]}").unwrap_err().to_string();
        assert!(error.contains("\"router\" is no range of addresses"), "{error}");
    }
}
