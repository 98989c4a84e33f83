//! What a pass over a cluster remembers for the next one. All of it may be lost: it delays, and never misleads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gateway_core::control::Report;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use operator_core::desired::Stored;
use operator_core::names::PodName;
use operator_core::observed::ObjectKey;

use crate::backoff::Backoff;
use crate::lookups::Lookups;
use crate::rewrites::Rewrites;
use crate::said::Said;
use crate::secrets::Secrets;
use crate::written::Written;

/// What is remembered of one cluster.
#[derive(Default)]
pub struct Memory {
    /// The cluster's uid: a new cluster of the same name has nothing to do with the old one.
    uid: Option<String>,
    /// What the last plan gave to remember.
    pub plan: operator_core::observed::Memory,
    /// When the last plan wanted to be made again.
    pub wake: Option<Duration>,
    /// Last report of each pod, by the pod's uid, and when it came.
    pub reports: BTreeMap<String, (Report, Timestamp)>,
    /// Secrets as last read.
    pub secrets: Secrets,
    /// Objects that the watches do not show, as last looked up.
    pub lookups: Lookups,
    /// Pods that the watch showed last, and that nobody had deleted: one that it shows no more may have lost the labels of the watch.
    pub live_pods: BTreeSet<PodName>,
    /// Names of pods that the API server knows, or may know, and the watch does not show.
    pub unseen_pods: BTreeSet<PodName>,
    /// Objects that admission changed when they were applied last.
    pub rewrites: Rewrites,
    /// The cluster as its status was last written.
    pub cluster: Written<(), Stored>,
    /// Pods as last written.
    pub pods: Written<PodName, Pod>,
    /// Other objects as last written.
    pub owned: Written<ObjectKey, DynamicObject>,
    /// When its status was last written.
    pub status_written: Option<Timestamp>,
    /// The cluster's namespace is being deleted, and the cluster with it.
    pub namespace_ends: bool,
    /// Actions that failed, and when they may be tried again.
    pub backoff: Backoff,
    /// Passes that failed in a row.
    pub failures: u32,
    /// What was told in events.
    pub said: Said,
}

/// The memories of all clusters. A pass takes its cluster's out and puts it back: no two passes share a cluster.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<ObjectRef<Stored>, Memory>>);

impl Memories {
    /// Takes a cluster's memory out; an empty one if there is none.
    pub fn take(&self, cluster: &Stored) -> Memory {
        let uid = cluster.meta().uid.clone();
        let found = self.lock().remove(&ObjectRef::from_obj(cluster)).filter(|memory| memory.uid == uid);
        found.unwrap_or_else(|| Memory { uid, ..Memory::default() })
    }

    /// Puts a cluster's memory back.
    pub fn put(&self, cluster: &Stored, memory: Memory) {
        self.lock().insert(ObjectRef::from_obj(cluster), memory);
    }

    /// Drops the memory of a cluster that is gone.
    pub fn forget(&self, cluster: &ObjectRef<Stored>) {
        self.lock().remove(cluster);
    }

    /// When to pass over a cluster again whose last pass failed `failures` times in a row.
    pub fn retry(&self, cluster: &Stored) -> (u32, Option<Duration>) {
        let memories = self.lock();
        let memory = memories.get(&ObjectRef::from_obj(cluster));
        memory.map_or((1, None), |memory| (memory.failures, memory.wake))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectRef<Stored>, Memory>> {
        // Nothing under this lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
