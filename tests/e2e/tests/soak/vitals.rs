//! Memory and open files of our processes, from their nodes' /proc.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Scope, measured, node};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};

/// Prints a line of name, pid, RSS in KiB and open files for each process of ours.
const LIST: &str = r#"
for process in /proc/[0-9]*; do
  name=$(cat "$process/comm" 2>/dev/null) || continue
  case "$name" in
    mooring-* | redis-server)
      files=$(ls "$process/fd" 2>/dev/null | wc -l)
      awk -v name="$name" -v pid="${process#/proc/}" -v files="$files" '/^VmRSS/ { print name, pid, $2, files }' "$process/status" ;;
  esac
done"#;
/// Samples that a process has to have for its growth to say something.
const ENOUGH: usize = 4;
/// What allocators and caches may take beyond what a process had when it was young.
const SLACK_KIB: u64 = 8 * 1024;
/// What clients on another pod, and connections that end, may add.
const SLACK_FILES: u64 = 450;

#[derive(Clone, Copy, Debug)]
struct Sample {
    rss_kib: u64,
    files: u64,
}

/// Samples of each process, by node, name and pid, oldest first.
#[derive(Debug, Default)]
pub struct Vitals(BTreeMap<(String, String, u64), Vec<Sample>>);

impl Vitals {
    /// Looks at every process of ours on every node.
    pub async fn sample(&mut self, scope: &Scope) {
        let nodes = Api::<Node>::all(scope.client.clone()).list(&ListParams::default()).await;
        for node in nodes.expect("nodes can be listed").iter().map(ResourceExt::name_any) {
            for line in node::run(&node, LIST).await.lines() {
                let mut fields = line.split(' ');
                let name = fields.next().unwrap_or_default().to_owned();
                let mut number = || fields.next().and_then(|field| field.parse().ok()).expect("a number");
                let key = (node.clone(), name, number());
                let sample = Sample { rss_kib: number(), files: number() };
                self.0.entry(key).or_default().push(sample);
            }
        }
    }

    /// Each process that lived for long ends no larger than it was when it was young.
    pub fn assert_flat(&self) {
        let mut judged = BTreeSet::new();
        for ((node, name, pid), samples) in &self.0 {
            let (Some(young), Some(old)) = (samples.get(1), samples.last()) else { continue };
            if samples.len() < ENOUGH {
                continue;
            }
            judged.insert(name.as_str());
            let what = format!("{name} {pid} on {node}, {} samples", samples.len());
            measured(
                &what,
                format!("{} to {} KiB, {} to {} files", young.rss_kib, old.rss_kib, young.files, old.files),
            );
            assert!(old.rss_kib <= young.rss_kib + young.rss_kib / 4 + SLACK_KIB, "{what} grew: {samples:?}");
            assert!(old.files <= young.files + SLACK_FILES, "{what} holds more files: {samples:?}");
        }
        assert!(judged.contains("mooring-gateway"), "no gateway lived long enough to be judged: {self:?}");
    }
}
