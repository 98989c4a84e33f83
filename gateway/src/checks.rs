//! Tokens whose check takes long, as with every public key: threads of their own do it, so that no shard stands still for whoever brings
//! wrong ones. What waits has a bound in bytes, of one address half of that, and addresses take turns.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use gateway_core::{
    address::Site,
    token::{CheckedToken, Verifier},
};
use tokio::sync::oneshot;

/// Tokens checked at once.
const THREADS: usize = 2;
/// What the tokens that wait may cost, all together and those of one address: a second or two of these threads' time.
const MAX_COST: usize = 4 * 1024 * 1024;
const MAX_COST_OF_SITE: usize = MAX_COST / 2;
/// What one costs besides its bytes.
const COST: usize = 512;

/// Checks tokens until it is dropped.
pub struct Checks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting<Check>>,
    changed: Condvar,
}

/// One token, and who waits for what comes of it.
struct Check {
    verifier: Arc<Verifier>,
    token: String,
    checked: oneshot::Sender<CheckedToken>,
}

impl Checks {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let checks = Self(Arc::default());
        for index in 0..THREADS {
            let shared = checks.0.clone();
            thread::Builder::new().name(format!("checks-{index}")).spawn(move || shared.run())?;
        }
        Ok(checks)
    }

    /// Has a token of an address checked; nothing where too many wait.
    #[must_use]
    pub fn submit(
        &self,
        site: Site,
        verifier: &Arc<Verifier>,
        token: &str,
    ) -> Option<oneshot::Receiver<CheckedToken>> {
        let mut waiting = self.0.waiting();
        if !waiting.has_room(site, token.len()) {
            return None;
        }
        let (checked, receiver) = oneshot::channel();
        let check = Check { verifier: verifier.clone(), token: token.to_owned(), checked };
        waiting.push(site, token.len(), check);
        drop(waiting);
        self.0.changed.notify_one();
        Some(receiver)
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.0.waiting().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(check) = self.next() {
            let Check { verifier, token, checked } = check;
            // A token that the libraries stumble over must not end the thread.
            let result = catch_unwind(AssertUnwindSafe(|| verifier.check(&token)));
            // Nobody may wait for it any more.
            let _ = checked.send(result.unwrap_or_else(|_| CheckedToken::postponed(&token)));
        }
    }

    fn next(&self) -> Option<Check> {
        let idle = |waiting: &mut Waiting<Check>| waiting.turns.is_empty() && !waiting.is_over;
        let waiting = self.changed.wait_while(self.waiting(), idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        if waiting.is_over { None } else { waiting.pop() }
    }

    /// Each change of it is whole.
    fn waiting(&self) -> MutexGuard<'_, Waiting<Check>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits, in the order in which it came from each address.
#[derive(Debug)]
struct Waiting<T> {
    sites: BTreeMap<Site, Line<T>>,
    /// Whose turn is next.
    turns: VecDeque<Site>,
    cost: usize,
    is_over: bool,
}

#[derive(Debug)]
struct Line<T> {
    /// With what each costs.
    items: VecDeque<(usize, T)>,
    cost: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { sites: BTreeMap::new(), turns: VecDeque::new(), cost: 0, is_over: false }
    }
}

impl<T> Waiting<T> {
    fn has_room(&self, site: Site, bytes: usize) -> bool {
        let cost = bytes + COST;
        let of_site = self.sites.get(&site).map_or(0, |line| line.cost);
        self.cost + cost <= MAX_COST && of_site + cost <= MAX_COST_OF_SITE
    }

    fn push(&mut self, site: Site, bytes: usize, item: T) {
        let cost = bytes + COST;
        self.cost += cost;
        let line = self.sites.entry(site).or_insert_with(|| {
            self.turns.push_back(site);
            Line { items: VecDeque::new(), cost: 0 }
        });
        line.cost += cost;
        line.items.push_back((cost, item));
    }

    fn pop(&mut self) -> Option<T> {
        let site = self.turns.pop_front()?;
        let line = self.sites.get_mut(&site)?;
        let (cost, item) = line.items.pop_front()?;
        self.cost -= cost;
        line.cost -= cost;
        if line.items.is_empty() {
            self.sites.remove(&site);
        } else {
            self.turns.push_back(site);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use gateway_core::{config::Auth, token::Key};

    use super::*;

    fn site(number: u32) -> Site {
        Site::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn addresses_take_turns_and_each_keeps_its_order() {
        let mut waiting = Waiting::default();
        for number in 0..5 {
            waiting.push(site(1), 0, (1, number));
        }
        waiting.push(site(2), 0, (2, 0));
        waiting.push(site(3), 0, (3, 0));
        let taken: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(taken, [(1, 0), (2, 0), (3, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!((waiting.cost, waiting.sites.len(), waiting.turns.len()), (0, 0, 0));
    }

    #[test]
    fn an_address_fills_half_of_the_room_and_all_together_the_whole() {
        let mut waiting = Waiting::default();
        let fill = |waiting: &mut Waiting<()>, number| {
            let mut count = 0;
            while waiting.has_room(site(number), 65_536 - COST) {
                waiting.push(site(number), 65_536 - COST, ());
                count += 1;
            }
            count
        };
        assert_eq!([1, 2, 3].map(|number| fill(&mut waiting, number)), [32, 32, 0]);
        waiting.pop();
        assert!(!waiting.has_room(site(2), 65_536 - COST));
        assert_eq!(fill(&mut waiting, 3), 1);
    }

    #[tokio::test]
    async fn a_token_is_checked_and_who_goes_away_meanwhile_holds_up_nobody() {
        let checks = Checks::start().unwrap();
        let verifier = Arc::new(Verifier::new(vec![Key::hmac(b"secret").unwrap()], &Auth::default()));
        for _ in 0..100 {
            drop(checks.submit(site(1), &verifier, "nonsense"));
        }
        let checked = checks.submit(site(2), &verifier, "nonsense").unwrap().await.unwrap();
        assert!(checked.is("nonsense") && checked.is_wrong());
    }

    #[tokio::test]
    async fn what_waits_when_it_ends_is_not_waited_for() {
        let checks = Checks::start().unwrap();
        let verifier = Arc::new(Verifier::new(vec![], &Auth::default()));
        let shared = checks.0.clone();
        let receiver = {
            let mut waiting = shared.waiting();
            let (checked, receiver) = oneshot::channel();
            waiting.push(site(1), 0, Check { verifier, token: String::new(), checked });
            waiting.is_over = true;
            receiver
        };
        drop((checks, shared));
        // Neither thread takes it, and the last of them drops it.
        assert!(receiver.await.is_err());
    }
}
