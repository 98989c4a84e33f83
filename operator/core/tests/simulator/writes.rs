//! What the operator writes to the API server.

use crate::api::{Failed, Mark, PodObject, Spec};
use crate::pod::Pod;
use crate::world::{Fact, World};
use operator_core::observed::{ObjectKey, ObjectKind};
use serde_json::{Value, json};

impl World {
    /// Whether this write is answered, and whether it is done.
    pub fn luck(&mut self) -> (bool, bool) {
        let about = [self.now, self.count_up().cast_signed(), 3];
        let fails = self.chance.happens(self.trouble.writes, about);
        (!fails, !fails || about[1] % 2 == 0)
    }

    pub fn apply(&mut self, key: ObjectKey, mut manifest: Value) -> Result<(), Failed> {
        let (answered, done) = self.luck();
        if done {
            let foreign = self.objects.foreign.contains(&key);
            if key.kind == ObjectKind::StatefulSet {
                if self.webhook {
                    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror/redis");
                }
                let template = |set: &Value| set.pointer("/spec/template").cloned();
                let before = self.objects.owned.get(&key).map(&template);
                if before.is_some_and(|before| before != template(&manifest)) {
                    self.facts.push(Fact::RedisRolled);
                }
                manifest["status"] = json!({"readyReplicas": 1});
            }
            self.facts.push(Fact::Applied { key: key.clone(), foreign });
            self.objects.owned.insert(key, manifest);
        }
        answered.then_some(()).ok_or(Failed)
    }

    pub fn remove(&mut self, key: &ObjectKey) -> Result<(), Failed> {
        let (answered, done) = self.luck();
        if done {
            let foreign = self.objects.foreign.contains(key);
            self.facts.push(Fact::Applied { key: key.clone(), foreign });
            self.objects.owned.remove(key);
        }
        answered.then_some(()).ok_or(Failed)
    }

    /// One that exists already is left as it is.
    pub fn create_pod(
        &mut self,
        pod: &k8s_openapi::api::core::v1::Pod,
        revision: String,
        pulls: Option<String>,
        spec: &Spec,
    ) -> Result<Option<PodObject>, Failed> {
        let name = pod.metadata.name.clone().unwrap();
        let (answered, done) = self.luck();
        let exists = self.pods.contains_key(&name);
        if done && !exists {
            let manifest = pod.spec.as_ref().unwrap();
            let grace = manifest.termination_grace_period_seconds.unwrap();
            let image = manifest.containers[0].image.clone().unwrap();
            let object = self.pod_object(revision, pulls);
            self.new_pod(name.clone(), Pod::new(object, spec, grace, image));
        }
        let stored = self.pods.get(&name).filter(|_| !exists).map(|pod| pod.object.clone());
        if answered { Ok(stored) } else { Err(Failed) }
    }

    /// Labels and annotations; refused if another pod has the name by now.
    pub fn relabel(&mut self, name: &str, uid: u64, mark: Option<Mark>) -> Result<PodObject, Failed> {
        let (answered, done) = self.luck();
        let (now, version) = (self.now, self.count_up());
        let pod = self.pods.get_mut(name).filter(|pod| pod.object.uid == uid).ok_or(Failed)?;
        if done {
            let (was, is) = (pod.object.mark.is_some(), mark.is_some());
            match mark {
                Some(mark) => pod.mark(mark, now),
                None => pod.unmark(),
            }
            pod.object.version = version;
            if was != is {
                self.facts.push(if is { Fact::Marked(name.into()) } else { Fact::Unmarked(name.into()) });
            }
        }
        if answered { Ok(self.pods[name].object.clone()) } else { Err(Failed) }
    }

    /// With preconditions; what is gone already is no failure.
    pub fn delete_pod(&mut self, name: &str, uid: u64, version: u64) -> Result<Option<PodObject>, Failed> {
        let (answered, done) = self.luck();
        let Some(pod) = self.pods.get(name).filter(|pod| pod.object.uid == uid) else { return Ok(None) };
        if pod.object.version != version {
            return Err(Failed);
        }
        if done {
            let clients = pod.gateway.clients.len();
            self.facts.push(Fact::Deleted { pod: name.into(), clients });
            self.end_pod(name, None, false);
        }
        if answered { Ok(self.pods.get(name).map(|pod| pod.object.clone())) } else { Err(Failed) }
    }
}
