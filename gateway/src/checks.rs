//! Tokens whose check takes long, as with every public key: threads of their own do it, so that no shard stands still for whoever brings
//! wrong ones. What waits has a bound in bytes and in time, of one address half of that, and addresses take turns. Where there is no room
//! left, the last ones make room of whatever address has most of them: whoever brings many keeps nobody else out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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

/// Shards beside which there is one thread that checks tokens: under a flood it is to leave them the larger part of their cores.
const SHARDS: usize = 2;
/// What the tokens that wait may cost, all together and those of one address: a second or two of these threads' time, which is far less
/// than a client has to connect.
const MAX_COST: usize = 4 * 1024 * 1024;
const MAX_COST_OF_SITE: usize = MAX_COST / 2;
/// What one costs besides its bytes, for each try that its check may take with a key on P-256.
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
    /// Starts the threads of a gateway of so many shards.
    pub fn start(shards: u16) -> io::Result<Self> {
        let checks = Self(Arc::default());
        for index in 0..usize::from(shards).div_ceil(SHARDS) {
            let shared = checks.0.clone();
            thread::Builder::new().name(format!("checks-{index}")).spawn(move || shared.run())?;
        }
        Ok(checks)
    }

    /// Has a token of an address checked; nothing where too many of it wait.
    #[must_use]
    pub fn submit(
        &self,
        site: Site,
        verifier: &Arc<Verifier>,
        token: &str,
    ) -> Option<oneshot::Receiver<CheckedToken>> {
        let cost = token.len() + COST * verifier.effort(token);
        let mut waiting = self.0.waiting();
        let displaced = waiting.make_room(site, cost)?;
        let (checked, receiver) = oneshot::channel();
        waiting.push(site, cost, Check { verifier: verifier.clone(), token: token.to_owned(), checked });
        drop(waiting);
        self.0.changed.notify_one();
        displaced.into_iter().for_each(Check::postpone);
        Some(receiver)
    }
}

impl Check {
    fn tell(self, token: CheckedToken) {
        // Nobody may wait for it any more.
        let _ = self.checked.send(token);
    }

    /// Its client is to come again later.
    fn postpone(self) {
        let postponed = CheckedToken::postponed(&self.token);
        self.tell(postponed);
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
            // A token that the libraries stumble over must not end the thread.
            match catch_unwind(AssertUnwindSafe(|| check.verifier.check(&check.token))) {
                Ok(token) => check.tell(token),
                Err(_) => check.postpone(),
            }
        }
    }

    fn next(&self) -> Option<Check> {
        let idle = |waiting: &mut Waiting<Check>| waiting.cost == 0 && !waiting.is_over;
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
    /// Whose turn is next, of all who have a line.
    turns: VecDeque<Site>,
    /// Lines by what they cost.
    largest: BTreeSet<(usize, Site)>,
    cost: usize,
    is_over: bool,
}

/// Of one address. It is empty only until its turn.
#[derive(Debug)]
struct Line<T> {
    /// With what each costs.
    items: VecDeque<(usize, T)>,
    cost: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            sites: BTreeMap::new(),
            turns: VecDeque::new(),
            largest: BTreeSet::new(),
            cost: 0,
            is_over: false,
        }
    }
}

impl<T> Waiting<T> {
    /// Takes out what has to make room for one more of an address; nothing where no other address has that much more.
    fn make_room(&mut self, site: Site, cost: usize) -> Option<Vec<T>> {
        let of_site = self.sites.get(&site).map_or(0, |line| line.cost) + cost;
        let excess = (self.cost + cost).saturating_sub(MAX_COST);
        let (most, other) = self.largest.last().copied().unwrap_or((0, site));
        if of_site > MAX_COST_OF_SITE || excess > 0 && most < of_site + excess {
            return None;
        }
        let (mut displaced, mut freed) = (Vec::new(), 0);
        while freed < excess
            && let Some((cost, item)) = self.take(other, VecDeque::pop_back)
        {
            freed += cost;
            displaced.push(item);
        }
        Some(displaced)
    }

    fn push(&mut self, site: Site, cost: usize, item: T) {
        let line = self.sites.entry(site).or_insert_with(|| {
            self.turns.push_back(site);
            Line { items: VecDeque::new(), cost: 0 }
        });
        line.items.push_back((cost, item));
        self.largest.remove(&(line.cost, site));
        line.cost += cost;
        self.largest.insert((line.cost, site));
        self.cost += cost;
    }

    fn pop(&mut self) -> Option<T> {
        loop {
            let site = self.turns.pop_front()?;
            let taken = self.take(site, VecDeque::pop_front);
            if self.sites.get(&site).is_some_and(|line| line.items.is_empty()) {
                self.sites.remove(&site);
            } else {
                self.turns.push_back(site);
            }
            if let Some((_, item)) = taken {
                return Some(item);
            }
        }
    }

    /// Takes one out of an address's line.
    fn take(
        &mut self,
        site: Site,
        end: impl FnOnce(&mut VecDeque<(usize, T)>) -> Option<(usize, T)>,
    ) -> Option<(usize, T)> {
        let line = self.sites.get_mut(&site)?;
        let (cost, item) = end(&mut line.items)?;
        self.largest.remove(&(line.cost, site));
        line.cost -= cost;
        self.cost -= cost;
        if line.cost > 0 {
            self.largest.insert((line.cost, site));
        }
        Some((cost, item))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::Duration,
    };

    use gateway_core::{
        config::Auth,
        time::Now,
        token::{Key, TokenError},
    };

    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn site(number: u32) -> Site {
        Site::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    /// Lets an address bring as many as there is room for; how many, and whose made room.
    fn fill(waiting: &mut Waiting<u32>, number: u32, cost: usize) -> (usize, Vec<u32>) {
        let (mut count, mut displaced) = (0, Vec::new());
        while let Some(gone) = waiting.make_room(site(number), cost) {
            waiting.push(site(number), cost, number);
            displaced.extend(gone);
            count += 1;
        }
        (count, displaced)
    }

    #[test]
    fn addresses_take_turns_and_each_keeps_its_order() {
        let mut waiting = Waiting::default();
        for number in 0..5 {
            waiting.push(site(1), COST, (1, number));
        }
        waiting.push(site(2), COST, (2, 0));
        waiting.push(site(3), COST, (3, 0));
        let taken: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(taken, [(1, 0), (2, 0), (3, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!(
            (waiting.cost, waiting.sites.len(), waiting.turns.len(), waiting.largest.len()),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn an_address_fills_half_of_the_room_and_who_brings_less_than_others_always_gets_in() {
        let mut waiting = Waiting::default();
        assert_eq!([1, 2].map(|number| fill(&mut waiting, number, 65_536)), [(32, vec![]), (32, vec![])]);
        let (count, displaced) = fill(&mut waiting, 3, 65_536);
        assert_eq!((count, displaced.len()), (21, 21), "as many as the others have left");
        assert_eq!(waiting.largest.iter().map(|(cost, _)| cost / 65_536).collect::<Vec<_>>(), [21, 21, 22]);
        assert_eq!(fill(&mut waiting, 1, 65_536).0 + fill(&mut waiting, 2, 65_536).0, 0);
        assert_eq!(waiting.cost, MAX_COST);
    }

    #[test]
    fn the_last_ones_make_room_for_one_of_another_address_and_the_first_keep_their_turn() {
        let mut waiting = Waiting::default();
        for number in 0..16 {
            waiting.push(site(1), MAX_COST / 16, number);
        }
        assert_eq!(waiting.make_room(site(2), MAX_COST / 8), Some(vec![15, 14]));
        waiting.push(site(2), MAX_COST / 8, 100);
        let taken: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(taken, [0, 100].into_iter().chain(1..14).collect::<Vec<_>>());
    }

    #[test]
    fn an_address_whose_only_one_made_room_has_its_turn_with_its_next() {
        let mut waiting = Waiting::default();
        waiting.push(site(1), MAX_COST, 1);
        assert_eq!(waiting.make_room(site(2), COST), Some(vec![1]));
        waiting.push(site(2), COST, 2);
        waiting.push(site(1), COST, 3);
        assert_eq!([(); 3].map(|()| waiting.pop()), [Some(3), Some(2), None]);
        assert_eq!(
            (waiting.cost, waiting.sites.len(), waiting.turns.len(), waiting.largest.len()),
            (0, 0, 0, 0)
        );
    }

    #[tokio::test]
    async fn a_token_is_checked_and_who_goes_away_meanwhile_holds_up_nobody() {
        let checks = Checks::start(4).unwrap();
        let verifier = Arc::new(Verifier::new(vec![Key::hmac(b"secret").unwrap()], &Auth::default()));
        for _ in 0..100 {
            drop(checks.submit(site(1), &verifier, "nonsense"));
        }
        let checked = checks.submit(site(2), &verifier, "nonsense").unwrap().await.unwrap();
        assert!(checked.is("nonsense") && checked.is_wrong());
    }

    #[test]
    fn of_tokens_that_take_long_fewer_wait() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let keys = |count| Key::public(key.public_key_pem().repeat(count).as_bytes()).unwrap();
        let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES384), &(), &key).unwrap();
        let waiting = [1, 16].map(|count| {
            let verifier = Arc::new(Verifier::new(keys(count), &Auth::default()));
            let checks = Checks(Arc::default());
            std::iter::repeat_with(|| checks.submit(site(1), &verifier, &token))
                .take_while(Option::is_some)
                .count()
        });
        assert_eq!(waiting, [4, 64].map(|effort| MAX_COST_OF_SITE / (token.len() + COST * effort)));
    }

    #[tokio::test]
    async fn whose_token_made_room_is_told_to_come_again() {
        let verifier = Arc::new(Verifier::new(vec![Key::hmac(b"secret").unwrap()], &Auth::default()));
        // Without a thread that would take any.
        let checks = Checks(Arc::default());
        let token = "x".repeat(MAX_COST_OF_SITE / 16 - COST);
        let mut displaced = Vec::new();
        for number in [1, 2] {
            while let Some(receiver) = checks.submit(site(number), &verifier, &token) {
                displaced.push(receiver);
            }
        }
        assert_eq!(displaced.len(), 32);
        let _waits = checks.submit(site(3), &verifier, &token).unwrap();
        let mut told = displaced.into_iter().filter_map(|mut receiver| receiver.try_recv().ok());
        let now = Now { monotonic: Duration::ZERO, unix_seconds: 0 };
        assert_eq!(told.next().map(|checked| checked.connection(now)), Some(Err(TokenError::TooMany)));
        assert!(told.next().is_none());
    }

    #[tokio::test]
    async fn what_waits_when_it_ends_is_not_waited_for() {
        let checks = Checks::start(4).unwrap();
        let verifier = Arc::new(Verifier::new(vec![], &Auth::default()));
        let shared = checks.0.clone();
        let receiver = {
            let mut waiting = shared.waiting();
            let (checked, receiver) = oneshot::channel();
            waiting.push(site(1), COST, Check { verifier, token: String::new(), checked });
            waiting.is_over = true;
            receiver
        };
        drop((checks, shared));
        // Neither thread takes it, and the last of them drops it.
        assert!(receiver.await.is_err());
    }
}
