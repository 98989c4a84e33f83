//! The chart, as Helm renders it for an installation.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::cached_program;

/// The release's namespace, where the lease is.
pub const NAMESPACE: &str = "mooring-system";

/// What Helm would install.
pub struct Release(Vec<DynamicObject>);

impl Release {
    /// The chart with some values set, as `helm template --set` takes them.
    pub fn render(values: &[&str]) -> Self {
        let own = cached_program("helm");
        let helm = if own.exists() { own } else { "helm".into() };
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/mooring");
        let mut command = Command::new(helm);
        command.args(["template", "mooring"]).arg(chart).args(["--namespace", NAMESPACE]);
        command.args(values.iter().flat_map(|value| ["--set", value]));
        let output =
            command.output().unwrap_or_else(|error| panic!("helm: {error}: run tests/cluster/tools.sh helm"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let documents = serde_yaml::Deserializer::from_slice(&output.stdout);
        let objects = documents.map(|document| Option::<DynamicObject>::deserialize(document).unwrap());
        Self(objects.flatten().collect())
    }

    /// Installs its roles and their bindings; namespaces that they are in must exist.
    pub async fn grant(&self, client: &Client) {
        for object in self.0.iter().filter(|object| gvk(object).group == "rbac.authorization.k8s.io") {
            let resource = ApiResource::from_gvk(&gvk(object));
            let api = match object.namespace() {
                Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
                None => Api::<DynamicObject>::all_with(client.clone(), &resource),
            };
            let params = PatchParams::apply("test");
            api.patch(&object.name_any(), &params, &Patch::Apply(object)).await.unwrap();
        }
    }

    /// What the operator may do where it acts, without the Lease: group, resource and verbs.
    pub fn rights(&self) -> Vec<(String, String, Vec<String>)> {
        let of_cluster = |object: &&DynamicObject| gvk(object).kind == "ClusterRole";
        let role = self.0.iter().find(of_cluster).unwrap();
        let texts = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
        let rules = role.data["rules"].as_array().unwrap().iter().flat_map(|rule| {
            let (groups, verbs) = (texts(&rule["apiGroups"]), texts(&rule["verbs"]));
            let resources = texts(&rule["resources"]);
            resources.into_iter().map(move |resource| (groups.join(","), resource, verbs.clone()))
        });
        rules.collect()
    }

    /// Kinds of its objects.
    pub fn kinds(&self) -> Vec<String> {
        self.0.iter().map(|object| gvk(object).kind).collect()
    }

    /// The operator's arguments, those excepted that every operator of these tests gets.
    pub fn arguments(&self) -> Vec<String> {
        let deployment = self.0.iter().find(|object| gvk(object).kind == "Deployment").unwrap();
        let arguments = &deployment.data["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments = arguments.as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let theirs =
            |argument: &&str| !["--metrics-listen=", "--log="].iter().any(|flag| argument.starts_with(flag));
        arguments.filter(theirs).map(ToOwned::to_owned).collect()
    }
}

fn gvk(object: &DynamicObject) -> GroupVersionKind {
    object.types.as_ref().unwrap().try_into().unwrap()
}

/// Makes a namespace.
pub async fn create_namespace(client: &Client, name: &str) {
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

/// Gives the operator the rights that the chart gives it by default.
pub async fn grant(client: &Client) {
    create_namespace(client, NAMESPACE).await;
    Release::render(&[]).grant(client).await;
}
