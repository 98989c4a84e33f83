//! What the operator has to be allowed to do, and whether it is: without one of these rights some clusters would work and others not,
//! and only their own logs would say why.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use operator_core::words::some_of;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::error::Error;
use crate::kubernetes::call;
use crate::watches::Scope;

/// Group, resource and verbs, where clusters are looked for. The chart gives the same, with the reason of each.
pub const NEEDED: [(&str, &str, &[&str]); 12] = [
    ("mooring.dev", "websocketclusters", &["list", "watch"]),
    ("mooring.dev", "websocketclusters/status", &["patch"]),
    ("mooring.dev", "websocketclusters/finalizers", &["update"]),
    ("", "pods", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "services", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "serviceaccounts", &["get", "list", "watch", "create", "patch", "delete"]),
    ("apps", "statefulsets", &["get", "list", "watch", "create", "patch", "delete"]),
    ("policy", "poddisruptionbudgets", &["get", "list", "watch", "create", "patch", "delete"]),
    ("networking.k8s.io", "networkpolicies", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "persistentvolumeclaims", &["get"]),
    ("", "secrets", &["get", "create"]),
    ("events.k8s.io", "events", &["create"]),
];
/// Verbs on the one Lease, where that is.
pub const LEASE: [&str; 2] = ["get", "update"];

/// Questions under way at once.
const AT_ONCE: usize = 8;
/// A missing right is looked for again after this time.
const SOON: Duration = Duration::from_secs(5);
/// A right may be taken away again.
const LATER: Duration = Duration::from_secs(300);

/// A right that the operator needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    /// All of them when absent.
    namespace: Option<String>,
    /// Any when absent.
    name: Option<String>,
}

/// Every right that an operator needs for these scopes, and for its Lease.
#[must_use]
pub fn needed(scopes: &[Scope], lease_namespace: &str, lease_name: &str) -> Vec<Right> {
    let in_scope = |scope: &Scope| {
        let namespace = match scope {
            Scope::AllNamespaces => None,
            Scope::Namespace(namespace) => Some(namespace.clone()),
        };
        NEEDED.into_iter().flat_map(move |(group, resource, verbs)| {
            let namespace = namespace.clone();
            verbs.iter().map(move |&verb| Right {
                group,
                resource,
                verb,
                namespace: namespace.clone(),
                name: None,
            })
        })
    };
    let lease = |verb, name| Right {
        group: "coordination.k8s.io",
        resource: "leases",
        verb,
        namespace: Some(lease_namespace.to_owned()),
        name,
    };
    let leases = LEASE.map(|verb| lease(verb, Some(lease_name.to_owned())));
    scopes.iter().flat_map(in_scope).chain([lease("create", None)]).chain(leases).collect()
}

/// Tells whoever asks for readiness which rights are missing, for as long as the process runs. While the API server does not answer
/// it is as ready as it was.
#[expect(clippy::disallowed_methods, reason = "no pass waits for it")]
pub async fn tell(admin: Admin, client: Client, needed: Vec<Right>) -> Infallible {
    let mut before = None;
    loop {
        let missing: Vec<String> = match missing(&client, &needed).await {
            Ok(missing) => missing.iter().map(ToString::to_string).collect(),
            // Whoever may not even ask is taken to be right; what is refused shows in the clusters.
            Err(error) if error.refusal().is_some() => {
                warn!(%error, "the operator can't tell whether it has its rights");
                Vec::new()
            }
            Err(error) => {
                warn!(%error, "the operator can't tell yet whether it has its rights");
                sleep(SOON).await;
                continue;
            }
        };
        let told = words(&missing);
        if before.as_ref() != Some(&missing) {
            match &told {
                Some(told) => warn!("not ready: {told}"),
                None => info!("ready: nothing that the operator needs is refused"),
            }
        }
        let pause = if told.is_some() { SOON } else { LATER };
        admin.set_ready(told.map_or(Ok(()), Err));
        before = Some(missing);
        sleep(pause).await;
    }
}

fn words(missing: &[String]) -> Option<String> {
    let told = || {
        format!("the operator may not {}: give its ServiceAccount the roles of the chart", some_of(missing))
    };
    (!missing.is_empty()).then(told)
}

/// Those that the API server would refuse.
///
/// # Errors
/// When it does not say.
pub async fn missing(client: &Client, needed: &[Right]) -> Result<Vec<Right>, Error> {
    let questions = stream::iter(needed.to_vec()).map(|right| async move {
        let allowed = is_allowed(client, &right).await?;
        Ok::<_, Error>((!allowed).then_some(right))
    });
    let answers: Vec<_> = questions.buffered(AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

async fn is_allowed(client: &Client, right: &Right) -> Result<bool, Error> {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.into()),
                resource: Some(resource.into()),
                subresource: Some(subresource.into()),
                verb: Some(right.verb.into()),
                namespace: right.namespace.clone(),
                name: right.name.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let params = PostParams::default();
    let answer = call(|| format!("ask whether it may {right}"), api.create(&params, &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_verb_resource_and_namespace_and_not_without_an_end() {
        let scopes = [Scope::AllNamespaces, Scope::Namespace("team-a".into())];
        let rights: Vec<_> = needed(&scopes, "ops", "mooring").iter().map(ToString::to_string).collect();
        for right in [
            "list websocketclusters.mooring.dev in all namespaces",
            "patch websocketclusters/status.mooring.dev in all namespaces",
            "create pods in namespace team-a",
            "update leases.coordination.k8s.io in namespace ops",
        ] {
            assert!(rights.iter().any(|one| one == right), "{right} in {rights:?}");
        }
        assert_eq!(words(&[]), None);
        assert_eq!(
            words(&rights[..7]).unwrap(),
            "the operator may not list websocketclusters.mooring.dev in all namespaces, \
             watch websocketclusters.mooring.dev in all namespaces, \
             patch websocketclusters/status.mooring.dev in all namespaces, \
             update websocketclusters/finalizers.mooring.dev in all namespaces, \
             get pods in all namespaces and 2 more: give its ServiceAccount the roles of the chart"
        );
    }
}
