//! The size beside HorizontalPodAutoscaler's own algorithm, written down here a second time, as its controller has it.

use crate::fixtures::{at, desired, observed};
use operator_core::observed::{Memory, Observed};
use operator_core::plan::plan;
use proptest::prelude::*;
use serde_json::{Value, json};

const TARGET: i64 = 100;
const LEAST: i64 = 2;
const MOST: i64 = 20;

#[derive(Clone, Copy, Debug)]
enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Clone, Debug)]
struct Rules {
    window: i64,
    select: Select,
    /// Whether of percent, value, period.
    policies: Vec<(bool, i64, i64)>,
    tolerance: f64,
}

impl Rules {
    fn spec(&self) -> Value {
        let policy = |(percent, value, period): &(bool, i64, i64)| json!({"type": if *percent { "Percent" } else { "Pods" }, "value": value, "periodSeconds": period});
        json!({
            "stabilizationWindowSeconds": self.window,
            "selectPolicy": format!("{:?}", self.select),
            "policies": self.policies.iter().map(policy).collect::<Vec<_>>(),
            "tolerance": self.tolerance,
        })
    }

    /// The farthest size that the policies allow, each being given the size at the start of its period.
    fn limit(
        &self,
        current: i64,
        proposals: Vec<i64>,
        most: fn(Vec<i64>) -> Option<i64>,
        least: fn(Vec<i64>) -> Option<i64>,
    ) -> i64 {
        match self.select {
            Select::Max => most(proposals).unwrap_or(current),
            Select::Min => least(proposals).unwrap_or(current),
            Select::Disabled => current,
        }
    }
}

struct Hpa {
    up: Rules,
    down: Rules,
    current: i64,
    recommendations: Vec<(i64, i64)>,
    events: Vec<(i64, i64)>,
}

impl Hpa {
    fn new(up: Rules, down: Rules, now: i64) -> Self {
        Self { up, down, current: LEAST, recommendations: vec![(now, LEAST)], events: Vec::new() }
    }

    fn sync(&mut self, connections: i64, now: i64) -> i64 {
        let wanted = self.metric(connections);
        let stable = self.stabilized(wanted, now);
        self.recommendations.push((now, wanted));
        let size = if stable > self.current {
            let proposals = self.up.policies.iter().map(|(percent, value, period)| {
                let start = self.start(*period, now);
                if *percent { start + (start * value + 99).div_euclid(100) } else { start + value }
            });
            let limit = self.up.limit(self.current, proposals.collect(), largest, smallest).max(self.current);
            stable.min(limit.min(MOST))
        } else if stable < self.current {
            let proposals = self.down.policies.iter().map(|(percent, value, period)| {
                let start = self.start(*period, now);
                if *percent { (start * (100 - value)).div_euclid(100) } else { start - value }
            });
            let limit =
                self.down.limit(self.current, proposals.collect(), smallest, largest).min(self.current);
            stable.max(limit.max(LEAST))
        } else {
            stable
        };
        if size != self.current {
            self.events.push((now, size - self.current));
        }
        self.current = size;
        size
    }

    fn metric(&self, connections: i64) -> i64 {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let ratio = connections as f64 / (TARGET * self.current) as f64;
        let tolerated = (1.0 - self.down.tolerance..=1.0 + self.up.tolerance).contains(&ratio);
        if tolerated { self.current } else { (connections + TARGET - 1) / TARGET }
    }

    fn stabilized(&self, wanted: i64, now: i64) -> i64 {
        let since = |window: i64| {
            self.recommendations.iter().filter(move |(at, _)| *at > now - window).map(|(_, size)| *size)
        };
        let up = since(self.up.window).fold(wanted, i64::min);
        let down = since(self.down.window).fold(wanted, i64::max);
        self.current.max(up).min(down)
    }

    fn start(&self, period: i64, now: i64) -> i64 {
        self.current - self.events.iter().filter(|(at, _)| *at > now - period).map(|(_, by)| by).sum::<i64>()
    }
}

fn largest(proposals: Vec<i64>) -> Option<i64> {
    proposals.into_iter().max()
}

fn smallest(proposals: Vec<i64>) -> Option<i64> {
    proposals.into_iter().min()
}

fn rules() -> impl Strategy<Value = Rules> {
    let select = prop_oneof![3 => Just(Select::Max), 2 => Just(Select::Min), 1 => Just(Select::Disabled)];
    let policies = proptest::collection::vec((any::<bool>(), 1..100_i64, 1..90_i64), 1..4);
    let tolerance = prop_oneof![Just(0.0), Just(0.1), Just(0.25)];
    (prop_oneof![Just(0), 1..120_i64], select, policies, tolerance)
        .prop_map(|(window, select, policies, tolerance)| Rules { window, select, policies, tolerance })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_size_is_the_one_that_a_horizontal_pod_autoscaler_would_give(
        up in rules(), down in rules(), course in proptest::collection::vec((1..40_i64, 0..2500_u32), 1..40)
    ) {
        let desired = desired(&json!({"scaling": {
            "minReplicas": LEAST, "maxReplicas": MOST, "connectionsPerPod": TARGET, "headroom": "0%",
            "behavior": {"scaleUp": up.spec(), "scaleDown": down.spec()},
        }}));
        let (mut memory, mut status) = (Memory::default(), None);
        let mut second = 0;
        let mut hpa: Option<Hpa> = None;
        for (pause, connections) in course {
            second += pause;
            let seen = Observed { memory, status, ..observed(&desired, &[connections], at(second)) };
            let planned = plan(&desired, &seen, at(second));
            let hpa = hpa.get_or_insert_with(|| Hpa::new(up.clone(), down.clone(), second));
            let expected = hpa.sync(connections.into(), second);
            prop_assert_eq!(i64::from(planned.status.desired_replicas), expected, "second {}", second);
            (memory, status) = (planned.memory, Some(planned.status));
        }
    }
}
