//! A WebSocketCluster as the API server gives it, whether or not this operator can read it.

use super::{Defaults, Desired, Invalid};
use crate::crd::{WebSocketCluster, WebSocketClusterSpec, WebSocketClusterStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::borrow::Cow;

/// What is watched: a definition that is newer than this operator, or was older once, lets in specs that these types can't hold.
/// One of them must not hold up the list of all the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored(pub Result<WebSocketCluster, Undecodable>);

/// A WebSocketCluster whose spec can't be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecodable {
    /// metadata.
    pub metadata: ObjectMeta,
    /// As last written; none if that can't be read either.
    pub status: Option<WebSocketClusterStatus>,
    /// [`Invalid::Undecodable`].
    pub invalid: Invalid,
}

impl Stored {
    /// See [`Desired::parse`].
    ///
    /// # Errors
    /// When the spec can't be read, or can't work; the message names field, value and remedy.
    pub fn parse(&self, defaults: &Defaults) -> Result<Desired, Invalid> {
        match &self.0 {
            Ok(cluster) => Desired::parse(cluster, defaults),
            Err(undecodable) => Err(undecodable.invalid.clone()),
        }
    }

    /// As last written.
    #[must_use]
    pub fn status(&self) -> Option<&WebSocketClusterStatus> {
        match &self.0 {
            Ok(cluster) => cluster.status.as_ref(),
            Err(undecodable) => undecodable.status.as_ref(),
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: ObjectMeta,
    #[serde(default = "no_fields")]
    spec: Value,
    #[serde(default)]
    status: Value,
}

fn no_fields() -> Value {
    json!({})
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        // The operator's own record: one that it can't read is written anew.
        let status = serde_json::from_value(status).unwrap_or_default();
        Ok(Self(match serde_path_to_error::deserialize::<_, WebSocketClusterSpec>(spec) {
            Ok(spec) => Ok(WebSocketCluster { metadata, spec, status }),
            Err(error) => Err(Undecodable { metadata, status, invalid: invalid(&error) }),
        }))
    }
}

fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    let path = error.path();
    let field = if path.iter().len() == 0 { "spec".into() } else { format!("spec.{path}") };
    Invalid::Undecodable { field, error: error.inner().to_string() }
}

impl Resource for Stored {
    type DynamicType = ();
    type Scope = <WebSocketCluster as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        WebSocketCluster::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        WebSocketCluster::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        WebSocketCluster::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        WebSocketCluster::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|undecodable| &undecodable.metadata, |cluster| &cluster.metadata)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|undecodable| &mut undecodable.metadata, |cluster| &mut cluster.metadata)
    }
}
