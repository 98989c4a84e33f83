//! Memory and open files of our processes, from their nodes' /proc.

use std::collections::BTreeMap;

use e2e::{Scope, measured, node};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};

/// Prints a line of name, pid, RSS in KiB and open files for each process of ours. The kernel cuts names after fifteen bytes.
const LIST: &str = r#"
for process in /proc/[0-9]*; do
  name=$(cat "$process/comm" 2>/dev/null) || continue
  case "$name" in
    mooring-gateway | mooring-operato | redis-server)
      files=$(ls "$process/fd" 2>/dev/null | wc -l)
      awk -v name="$name" -v pid="${process#/proc/}" -v files="$files" '/^VmRSS/ { print name, pid, $2, files }' "$process/status" ;;
  esac
done"#;
/// The programs that have to be seen, by what the kernel calls them.
const PROGRAMS: [&str; 3] = ["mooring-gateway", "mooring-operato", "redis-server"];
/// What allocators and caches may take beyond what all processes of a program had at most in the first third.
const SLACK_KIB: u64 = 4 * 1024;
/// Connections to Redis and the API server that are just being made or ended.
const SLACK_FILES: u64 = 20;

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    rss_kib: u64,
    files: u64,
}

/// By program, node and pid.
type Sample = BTreeMap<(String, String, u64), Size>;

/// Samples of all processes, oldest first.
#[derive(Debug, Default)]
pub struct Vitals(Vec<Sample>);

impl Vitals {
    /// Looks at every process of ours on every node.
    pub async fn sample(&mut self, scope: &Scope) {
        let nodes = Api::<Node>::all(scope.client.clone()).list(&ListParams::default()).await;
        let mut sample = Sample::new();
        for node in nodes.expect("nodes can be listed").iter().map(ResourceExt::name_any) {
            for line in node::run(&node, LIST).await.lines() {
                let mut fields = line.split(' ');
                let name = fields.next().unwrap_or_default().to_owned();
                let mut number = || fields.next().and_then(|field| field.parse().ok()).expect("a number");
                sample.insert((name, node.clone(), number()), Size { rss_kib: number(), files: number() });
            }
        }
        self.0.push(sample);
    }

    /// The same processes were there all the time, and those of a program are together no larger in the last third than they were in the first:
    /// clients may change from one to another.
    pub fn assert_flat(&self) {
        let third = self.0.len() / 3;
        assert!(third > 0, "too short to tell: {self:?}");
        for pair in self.0.windows(2) {
            let same = pair[0].keys().eq(pair[1].keys());
            assert!(same, "a process ended or began: {:?}, then {:?}", pair[0].keys(), pair[1].keys());
        }
        for program in PROGRAMS {
            let all: Vec<Size> = self.0.iter().map(|sample| of_program(sample, program)).collect();
            let (young, old) = (largest(&all[..third]), largest(&all[all.len() - third..]));
            measured(
                &format!("{program}, {} samples", all.len()),
                format!("{} to {} KiB, {} to {} files", young.rss_kib, old.rss_kib, young.files, old.files),
            );
            assert!(young.rss_kib > 0, "no {program} is seen: {self:?}");
            assert!(old.rss_kib <= young.rss_kib + young.rss_kib / 20 + SLACK_KIB, "{program} grew: {all:?}");
            assert!(old.files <= young.files + SLACK_FILES, "{program} holds more files: {all:?}");
        }
    }
}

fn of_program(sample: &Sample, program: &str) -> Size {
    let sizes = sample.iter().filter(|((name, ..), _)| name == program).map(|(_, size)| size);
    sizes.fold(Size::default(), |sum, size| Size {
        rss_kib: sum.rss_kib + size.rss_kib,
        files: sum.files + size.files,
    })
}

fn largest(sizes: &[Size]) -> Size {
    Size {
        rss_kib: sizes.iter().map(|size| size.rss_kib).max().unwrap_or_default(),
        files: sizes.iter().map(|size| size.files).max().unwrap_or_default(),
    }
}
