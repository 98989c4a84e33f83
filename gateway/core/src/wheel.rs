//! A hashed timer wheel (Varghese and Lauck, 1987): one per shard, one timer per connection; to set, end or fire one is O(1).
//!
//! Timers are coarse: one fires at the first tick after its deadline, never before it. Memory is one small node per timer, in a
//! slab of the wheel's; setting a timer again allocates nothing.

use std::time::Duration;

use slab::Slab;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Names a timer of a [`Wheel`], until it is given back to [`Wheel::cancel`].
#[derive(Debug, PartialEq, Eq)]
pub struct Timer(u32);

/// Timers that each yield a key when they fire.
#[derive(Debug)]
pub struct Wheel<K> {
    tick: Duration,
    /// The first tick that has not been visited.
    next_tick: u64,
    /// No slot is occupied whose next visit comes before this tick.
    vacant_until: u64,
    nodes: Slab<Node<K>>,
    /// One list per tick of a revolution; a tick of a later revolution shares its list.
    slots: Box<[List]>,
    /// Timers that are due and not handed out yet.
    due: List,
}

#[derive(Debug)]
struct Node<K> {
    key: K,
    /// The tick it fires at.
    at: u64,
    place: Place,
    previous: u32,
    next: u32,
}

/// The list a node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Fired, and not set again.
    Nowhere,
    /// The slot of its tick.
    Slot,
    Due,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: NONE, last: NONE };

impl<K: Copy> Wheel<K> {
    /// A wheel of `slots` ticks; deadlines further away than a revolution cost one visit per revolution.
    #[must_use]
    pub fn new(tick: Duration, slots: usize) -> Self {
        Self {
            tick: tick.max(Duration::from_millis(1)),
            next_tick: 0,
            vacant_until: u64::MAX,
            nodes: Slab::new(),
            slots: vec![EMPTY; slots.max(1)].into_boxed_slice(),
            due: EMPTY,
        }
    }

    /// Sets a new timer.
    pub fn insert(&mut self, key: K, deadline: Duration) -> Timer {
        let node = Node { key, at: 0, place: Place::Nowhere, previous: NONE, next: NONE };
        // A shard has far fewer than 2^32 connections; a file descriptor is an i32.
        let index = self.nodes.insert(node) as u32;
        self.place(index, deadline);
        Timer(index)
    }

    /// Sets a timer to another deadline, whether it has fired or not.
    pub fn reschedule(&mut self, timer: &Timer, deadline: Duration) {
        self.remove(timer.0);
        self.place(timer.0, deadline);
    }

    /// Ends a timer.
    pub fn cancel(&mut self, timer: Timer) {
        self.remove(timer.0);
        self.nodes.try_remove(timer.0 as usize);
        if self.nodes.is_empty() {
            self.nodes = Slab::new();
        }
    }

    /// The key of a timer whose deadline has passed, in order of deadlines to within a tick; call until there is none. A timer that
    /// is rescheduled in between fires at the next tick at the earliest.
    pub fn expired(&mut self, now: Duration) -> Option<K> {
        self.advance(now);
        let index = self.due.first;
        self.remove(index);
        self.nodes.get(index as usize).map(|node| node.key)
    }

    /// When to call [`Self::expired`] next: never later than the earliest timer fires. `None` without timers.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let tick =
            if self.due.first == NONE { self.first_occupied()? } else { self.next_tick.saturating_sub(1) };
        Some(self.time(tick))
    }

    /// The next tick whose slot holds a timer, of whatever revolution.
    fn first_occupied(&self) -> Option<u64> {
        let revolution = self.next_tick.max(self.vacant_until)..self.next_tick + self.slots.len() as u64;
        { revolution }.find(|tick| self.slots[self.slot(*tick)].first != NONE)
    }

    /// Moves every timer that is due out of the ticks up to `now`.
    fn advance(&mut self, now: Duration) {
        let current = self.ticks(now);
        if current < self.next_tick {
            return;
        }
        // After a long pause one revolution visits every slot.
        let first = self.next_tick.max((current + 1).saturating_sub(self.slots.len() as u64));
        self.next_tick = current + 1;
        for tick in first..=current {
            let mut index = self.slots[self.slot(tick)].first;
            while let Some(node) = self.nodes.get(index as usize) {
                let (at, next) = (node.at, node.next);
                if at <= current {
                    self.remove(index);
                    self.append(index, Place::Due);
                }
                index = next;
            }
        }
        // Once per tick, so that whoever asks within the tick does not walk over the same vacant slots.
        self.vacant_until = self.first_occupied().unwrap_or(u64::MAX);
    }

    fn place(&mut self, index: u32, deadline: Duration) {
        let whole = self.ticks(deadline);
        let at = if self.time(whole) < deadline { whole + 1 } else { whole };
        let at = at.max(self.next_tick);
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.at = at;
        }
        self.append(index, Place::Slot);
        let visit = self.next_tick + (at - self.next_tick) % self.slots.len() as u64;
        self.vacant_until = self.vacant_until.min(visit);
    }

    fn append(&mut self, index: u32, place: Place) {
        let Some(at) = self.nodes.get(index as usize).map(|node| node.at) else { return };
        let list = self.list(place, at);
        let last = std::mem::replace(&mut list.last, index);
        if last == NONE {
            list.first = index;
        }
        if let Some(node) = self.nodes.get_mut(last as usize) {
            node.next = index;
        }
        if let Some(node) = self.nodes.get_mut(index as usize) {
            (node.place, node.previous, node.next) = (place, last, NONE);
        }
    }

    fn remove(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        let (place, at, previous, next) = (node.place, node.at, node.previous, node.next);
        if place == Place::Nowhere {
            return;
        }
        node.place = Place::Nowhere;
        match self.nodes.get_mut(previous as usize) {
            Some(node) => node.next = next,
            None => self.list(place, at).first = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(node) => node.previous = previous,
            None => self.list(place, at).last = previous,
        }
    }

    fn list(&mut self, place: Place, at: u64) -> &mut List {
        match place {
            Place::Due => &mut self.due,
            Place::Slot | Place::Nowhere => {
                let slot = self.slot(at);
                &mut self.slots[slot]
            }
        }
    }

    fn slot(&self, tick: u64) -> usize {
        (tick % self.slots.len() as u64) as usize
    }

    /// Whole ticks in a time.
    fn ticks(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / self.tick.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn time(&self, tick: u64) -> Duration {
        Duration::from_nanos_u128(self.tick.as_nanos() * u128::from(tick))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn fired(wheel: &mut Wheel<u32>, now: Duration) -> Vec<u32> {
        std::iter::from_fn(|| wheel.expired(now)).collect()
    }

    #[test]
    fn a_timer_fires_at_the_first_tick_after_its_deadline_and_once() {
        let mut wheel = Wheel::new(TICK, 8);
        let _late = wheel.insert(1, millis(600));
        let _early = wheel.insert(2, millis(250));
        assert_eq!(wheel.next_deadline(), Some(millis(250)));
        assert_eq!(wheel.expired(millis(249)), None);
        assert_eq!(fired(&mut wheel, millis(250)), [2]);
        assert_eq!(wheel.expired(millis(749)), None);
        assert_eq!(wheel.next_deadline(), Some(millis(750)));
        assert_eq!(fired(&mut wheel, millis(750)), [1]);
        assert_eq!((fired(&mut wheel, millis(90_000)), wheel.next_deadline()), (vec![], None));
    }

    #[test]
    fn a_timer_that_is_set_again_while_it_fires_waits_for_the_next_tick() {
        let mut wheel = Wheel::new(TICK, 8);
        let timer = wheel.insert(1, millis(500));
        assert_eq!(wheel.expired(millis(500)), Some(1));
        wheel.reschedule(&timer, millis(500));
        assert_eq!(wheel.expired(millis(500)), None);
        assert_eq!(wheel.next_deadline(), Some(millis(750)));
        assert_eq!(fired(&mut wheel, millis(750)), [1]);
    }

    #[test]
    fn a_timer_that_ends_while_it_is_due_does_not_fire() {
        let mut wheel = Wheel::new(TICK, 8);
        let timers = [1, 2, 3].map(|key| wheel.insert(key, millis(500)));
        assert_eq!(wheel.expired(millis(800)), Some(1));
        let [_, second, _] = timers;
        wheel.cancel(second);
        assert_eq!(fired(&mut wheel, millis(800)), [3]);
    }

    #[test]
    fn a_rescheduled_timer_allocates_nothing() {
        let mut wheel = Wheel::new(TICK, 8);
        let timer = wheel.insert(1, millis(500));
        let capacity = wheel.nodes.capacity();
        (0..10_000).for_each(|i| wheel.reschedule(&timer, millis(i)));
        assert_eq!((wheel.nodes.len(), wheel.nodes.capacity()), (1, capacity));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Reschedule(usize, u64),
        Cancel(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..9_000_u64).prop_map(Step::Insert),
            (any::<usize>(), 0..9_000_u64).prop_map(|(timer, after)| Step::Reschedule(timer, after)),
            any::<usize>().prop_map(Step::Cancel),
            (0..4_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against a sorted map of what is set: a timer fires iff a whole tick lies between its deadline and now.
        #[test]
        fn every_timer_fires_on_its_tick_whatever_happens_to_the_others(steps in prop::collection::vec(step(), 0..60)) {
            let mut wheel = Wheel::new(TICK, 8);
            let (mut now, mut visited) = (0, 0);
            let mut timers = Vec::new();
            let mut set: BTreeMap<u32, u64> = BTreeMap::new();
            for (key, step) in steps.into_iter().enumerate() {
                let key = key as u32;
                match step {
                    Step::Insert(after) => {
                        timers.push((key, wheel.insert(key, millis(now + after))));
                        set.insert(key, (now + after).div_ceil(250).max(visited));
                    }
                    Step::Reschedule(index, after) if !timers.is_empty() => {
                        let (key, timer) = &timers[index % timers.len()];
                        wheel.reschedule(timer, millis(now + after));
                        set.insert(*key, (now + after).div_ceil(250).max(visited));
                    }
                    Step::Cancel(index) if !timers.is_empty() => {
                        let (key, timer) = timers.swap_remove(index % timers.len());
                        wheel.cancel(timer);
                        set.remove(&key);
                    }
                    Step::Wait(time) => {
                        now += time;
                        visited = now / 250 + 1;
                        let due: Vec<u32> = set.iter().filter(|(_, at)| **at < visited).map(|(key, _)| *key).collect();
                        set.retain(|_, at| *at >= visited);
                        let mut fired = fired(&mut wheel, millis(now));
                        fired.sort_unstable();
                        prop_assert_eq!(fired, due);
                    }
                    Step::Reschedule(..) | Step::Cancel(_) => {}
                }
                let earliest = set.values().min().map(|at| millis(at * 250));
                prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
                prop_assert!(wheel.next_deadline() <= earliest);
            }
        }
    }
}
