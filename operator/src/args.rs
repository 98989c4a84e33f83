//! Flags and environment, parsed once.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// Runs WebSocketClusters: gateway pods that scale with their connections and are drained before they go.
#[derive(Debug, Parser)]
#[command(name = "mooring-operator", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running the operator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the operator.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What the binary does besides running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Prints the WebSocketCluster CustomResourceDefinition as YAML.
    Crd,
    /// Prints the reference of WebSocketCluster's fields as Markdown.
    Reference,
    /// Prints the reference of the gateway's configuration as Markdown.
    ConfigurationReference,
}

/// How to run the operator.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct RunArgs {
    /// Image of the gateways of clusters that name none.
    #[arg(
        long,
        env = "MOORING_GATEWAY_IMAGE",
        default_value = "mooring.dev/gateway:dev",
        value_name = "IMAGE"
    )]
    pub gateway_image: String,
    /// Image of the Redis of clusters that name none.
    #[arg(
        long,
        env = "MOORING_REDIS_IMAGE",
        default_value = "docker.io/library/redis:8",
        value_name = "IMAGE"
    )]
    pub redis_image: String,
    /// Secrets with the credentials of the images' registries, for clusters that name none; each is looked for in the
    /// cluster's own namespace. A change restarts managed Redis, and reaches gateways as they are made.
    #[arg(
        long,
        env = "MOORING_IMAGE_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME,...",
        value_parser = dns_subdomain
    )]
    pub image_pull_secrets: Vec<String>,
    /// The only namespaces in which clusters are looked for; all of them when absent.
    #[arg(long, env = "MOORING_NAMESPACES", value_delimiter = ',', value_name = "NAME,...", value_parser = dns_label)]
    pub namespaces: Vec<String>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "MOORING_METRICS_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub metrics_listen: SocketAddr,
    /// Namespace of the Lease that elects the operator that acts.
    #[arg(long, env = "POD_NAMESPACE", default_value = "mooring-system", value_name = "NAMESPACE")]
    pub lease_namespace: String,
    /// Name of that Lease.
    #[arg(long, env = "MOORING_LEASE_NAME", default_value = "mooring-operator", value_name = "NAME")]
    pub lease_name: String,
    /// This process among the candidates for the Lease; unique, so the pod's name.
    #[arg(long, env = "POD_NAME", default_value_t = local_identity(), value_name = "NAME")]
    pub identity: String,
    /// What is logged, as `tracing` filter directives.
    #[arg(long, env = "MOORING_LOG", default_value = "info", value_name = "DIRECTIVES")]
    pub log: String,
}

/// Outside a pod several operators may share a host, so its name alone would let two of them lead.
fn local_identity() -> String {
    format!("local-{:016x}", rand::random::<u64>())
}

/// A namespace's name (RFC 1123).
fn dns_label(text: &str) -> Result<String, String> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = text.len() <= 63
        && text.starts_with(ends)
        && text.ends_with(ends)
        && text.chars().all(|c| ends(c) || c == '-');
    valid
        .then(|| text.to_owned())
        .ok_or_else(|| "not a namespace's name; use lower-case letters, digits and dashes, at most 63".into())
}

/// A Secret's name (RFC 1123).
fn dns_subdomain(text: &str) -> Result<String, String> {
    let valid = text.len() <= 253 && text.split('.').all(|label| dns_label(label).is_ok());
    valid
        .then(|| text.to_owned())
        .ok_or_else(|| "not a Secret's name; use lower-case letters, digits, dashes and dots".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_set_what_the_chart_sets() {
        let cli = Cli::try_parse_from([
            "mooring-operator",
            "--gateway-image=registry.example/gateway:1",
            "--redis-image=registry.example/redis:1",
            "--image-pull-secrets=mirror,registry.example",
            "--namespaces=team-a,team-b",
            "--metrics-listen=127.0.0.1:9090",
            "--lease-namespace=ops",
            "--lease-name=mooring",
            "--identity=operator-0",
            "--log=debug",
        ])
        .unwrap();
        assert_eq!(cli.command, None);
        assert_eq!(
            cli.run,
            RunArgs {
                gateway_image: "registry.example/gateway:1".into(),
                redis_image: "registry.example/redis:1".into(),
                image_pull_secrets: vec!["mirror".into(), "registry.example".into()],
                namespaces: vec!["team-a".into(), "team-b".into()],
                metrics_listen: "127.0.0.1:9090".parse().unwrap(),
                lease_namespace: "ops".into(),
                lease_name: "mooring".into(),
                identity: "operator-0".into(),
                log: "debug".into(),
            }
        );
    }

    #[test]
    fn the_crd_is_printed_without_any_flag() {
        let cli = Cli::try_parse_from(["mooring-operator", "crd"]).unwrap();
        assert_eq!(cli.command, Some(Command::Crd));
    }

    #[test]
    fn a_wrong_address_is_refused_with_the_flag_and_the_value() {
        let refusal =
            Cli::try_parse_from(["mooring-operator", "--metrics-listen=8080"]).unwrap_err().to_string();
        assert!(refusal.contains("--metrics-listen") && refusal.contains("'8080'"), "{refusal}");
    }

    #[test]
    fn a_name_that_no_object_can_have_is_refused_with_the_flag_and_the_value() {
        for (flag, value) in [
            ("--namespaces", "team a"),
            ("--namespaces", "team.a"),
            ("--namespaces", ""),
            ("--image-pull-secrets", "Mirror"),
            ("--image-pull-secrets", "mirror..example"),
        ] {
            let refusal = Cli::try_parse_from(["mooring-operator", &format!("{flag}={value}")])
                .unwrap_err()
                .to_string();
            assert!(refusal.contains(flag) && refusal.contains(&format!("'{value}'")), "{refusal}");
        }
    }

    #[test]
    fn two_operators_outside_a_pod_never_share_an_identity() {
        assert_ne!(local_identity(), local_identity());
    }
}
