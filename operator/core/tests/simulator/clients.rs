//! Clients: where each is, and how often it was moved.

use crate::gateway::{ClientId, Second};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Connected,
    /// It tries again at this time.
    Away(Second),
    /// It wants no connection any more.
    Gone,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub place: Place,
    pub moves: u32,
}

#[derive(Default)]
pub struct Clients {
    pub all: Vec<Client>,
    away: Vec<ClientId>,
}

impl Clients {
    pub fn arrive(&mut self, count: usize, now: Second) {
        for _ in 0..count {
            self.away.push(self.all.len());
            self.all.push(Client { place: Place::Away(now), moves: 0 });
        }
    }

    pub fn lose(&mut self, client: ClientId, back: Second, moved: bool) {
        self.all[client].moves += u32::from(moved);
        self.wait(client, back);
    }

    pub fn wait(&mut self, client: ClientId, back: Second) {
        self.all[client].place = Place::Away(back);
        self.away.push(client);
    }

    /// Those whose time has come, first come first.
    pub fn come_back(&mut self, now: Second) -> Vec<ClientId> {
        let all = &self.all;
        self.away
            .extract_if(.., |client| matches!(all[*client].place, Place::Away(back) if back <= now))
            .collect()
    }

    pub fn connected(&mut self, client: ClientId) {
        self.all[client].place = Place::Connected;
    }

    pub fn leave(&mut self, client: ClientId) {
        self.all[client].place = Place::Gone;
        self.away.retain(|waiting| *waiting != client);
    }

    /// Those that want a connection.
    pub fn present(&self) -> impl Iterator<Item = ClientId> {
        self.all.iter().enumerate().filter(|(_, client)| client.place != Place::Gone).map(|(id, _)| id)
    }

    pub fn are_all_connected(&self) -> bool {
        self.away.is_empty()
    }
}
