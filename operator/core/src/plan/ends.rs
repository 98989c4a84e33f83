//! Pods that end as soon as they are made: a node refuses them, or evicts them at once. Each round of them waits longer than the one
//! before, so that neither nodes nor the API server are kept busy with it. A pod that lived is replaced at once.

use super::Reason;
use super::fleet::{Fleet, Member};
use crate::observed::{Ends, Memory};
use jiff::{SignedDuration, Timestamp};

/// A pod that ends at this age, or later, has lived.
const YOUNG: SignedDuration = SignedDuration::from_secs(60);
/// Wait after the first round; doubled by each further one.
const SHORTEST: i64 = 2;
/// The longest wait.
const LONGEST: i64 = 300;

/// Remembers what has ended, and says whether that is in the way; pods may be made again [`Ends::until`].
pub(super) fn remember(fleet: &Fleet<'_>, size: u32, memory: &mut Memory, now: Timestamp) -> Option<Reason> {
    let young = |m: &Member<'_>| m.ended() && now.duration_since(m.view.created) < YOUNG;
    let waits = memory.ends.as_ref().is_some_and(|ends| now < ends.until);
    if let Some(member) = fleet.all().find(young).filter(|_| !waits) {
        let rounds = memory.ends.as_ref().map_or(1, |ends| ends.rounds.saturating_add(1));
        let why = member.view.troubles.ended.clone().unwrap_or_default();
        memory.ends = Some(Ends { rounds, until: now + wait(rounds), why });
    } else if fleet.count(Member::ready_serving) >= size as usize
        || memory.ends.as_ref().is_some_and(|ends| now >= ends.until + YOUNG * 2)
    {
        memory.ends = None;
    }
    memory.ends.as_ref().map(|ends| Reason::PodsEnd { rounds: ends.rounds, why: ends.why.clone() })
}

fn wait(rounds: u32) -> SignedDuration {
    let seconds = SHORTEST << rounds.saturating_sub(1).min(16);
    SignedDuration::from_secs(seconds.min(LONGEST))
}

/// No pod is made yet.
pub(super) fn holds(memory: &Memory, now: Timestamp) -> bool {
    memory.ends.as_ref().is_some_and(|ends| now < ends.until)
}
