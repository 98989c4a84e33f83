//! What clients ask about streams and presence, and what they are told.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::{
    backplane::{BackplaneError, ClientInfo, Outcome},
    resp::Resp,
};

use super::{
    actor::Actor,
    chores::START,
    pending::Pending,
    reads::Read,
    requests::{self, History},
};

/// A question whose answer may be large.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    Read(Arc<str>, History),
    List { channel: Arc<str>, limit: u32 },
    Count(Arc<str>),
}

/// A question on its way, and what was read for it so far.
#[derive(Debug)]
pub(super) struct Asked {
    read: Read<Question>,
    clients: BTreeMap<Arc<str>, ClientInfo>,
    bytes: usize,
}

impl Actor {
    /// Asks what is next, as far as enough is not on its way.
    pub(super) async fn ask_next(&mut self) {
        while self.commands.is_up()
            && let Some(read) = self.reads.pop()
        {
            self.ask(Asked { read, clients: BTreeMap::new(), bytes: 0 }, START).await;
        }
    }

    /// Tells those who wait for an answer.
    pub(super) async fn answer(&mut self, asked: Asked, result: &Result<Outcome, BackplaneError>) {
        for waiter in self.reads.answered(asked.read) {
            self.inboxes.complete(waiter, result.clone()).await;
        }
    }

    pub(super) async fn on_answer(&mut self, asked: Asked, reply: Resp) {
        let result = match &asked.read.question {
            Question::Read(_, history) => {
                let page = requests::page(reply).ok_or(BackplaneError::Unanswered);
                page.and_then(|page| requests::history(history, page))
            }
            Question::Count(_) => requests::counted(reply).ok_or(BackplaneError::Unanswered),
            &Question::List { limit, .. } => return self.on_members(asked, limit, reply).await,
        };
        self.answer(asked, &result).await;
    }

    async fn ask(&mut self, asked: Asked, cursor: &str) {
        let command = match &asked.read.question {
            Question::Read(channel, history) => {
                // It may be about what was published a moment ago.
                self.send_waiting(channel);
                self.scripts.history(channel, history)
            }
            Question::List { channel, .. } => self.scripts.members(channel, cursor),
            Question::Count(channel) => self.scripts.presence_stats(channel),
        };
        if let Err(Pending::Answer(asked)) = self.commands.send(&command, Pending::Answer(Box::new(asked))) {
            self.answer(*asked, &Err(BackplaneError::Unavailable)).await;
        }
    }

    /// Takes a page of a channel's members.
    async fn on_members(&mut self, mut asked: Asked, limit: u32, reply: Resp) {
        let Some((cursor, members)) = requests::members(reply) else {
            return self.answer(asked, &Err(BackplaneError::Unanswered)).await;
        };
        for (node, info) in members {
            let bytes = info.bytes();
            if !self.expired.contains(&node) && asked.clients.insert(info.client.clone(), info).is_none() {
                asked.bytes += bytes;
            }
        }
        if asked.bytes > limit as usize {
            return self.answer(asked, &Err(BackplaneError::TooLarge)).await;
        }
        if cursor != START {
            return self.ask(asked, &cursor).await;
        }
        let clients = std::mem::take(&mut asked.clients).into_values().collect();
        self.answer(asked, &Ok(Outcome::Listed { clients })).await;
    }
}
