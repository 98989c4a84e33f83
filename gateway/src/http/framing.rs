//! What the stream of a connection and its service have to tell each other, so that no request begins where another one ends only for
//! this reader.

use std::{cell::Cell, rc::Rc};

use gateway_core::head::{BadHead, HeadScanner, check_coding, check_host};
use hyper::{
    Request,
    body::{Body as _, Incoming},
};

/// Between the two of one connection; they share it.
#[derive(Clone, Debug, Default)]
pub struct Framing(Rc<Cell<Next>>);

/// What the next bytes of a connection are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// A head, as far as it was read.
    Head(HeadScanner),
    /// A head has ended, and the service has not said yet what follows.
    Unknown(Result<(), BadHead>),
    /// So many bytes of a body, and then a head.
    Body(u64),
    /// Nothing that has to be looked at.
    Rest,
}

impl Default for Next {
    fn default() -> Self {
        Self::Head(HeadScanner::default())
    }
}

impl Framing {
    pub(super) fn next(&self) -> Next {
        self.0.get()
    }

    pub(super) fn set(&self, next: Next) {
        self.0.set(next);
    }

    /// A request has arrived whose head has ended: what follows it is known from now on.
    ///
    /// # Errors
    /// Somebody else may have read another request, or where its body ends is not known. The connection has to end with the answer.
    pub fn begin(&self, request: &Request<Incoming>) -> Result<(), BadHead> {
        let verdict = match self.next() {
            Next::Unknown(verdict) => verdict,
            _ => Ok(()),
        };
        self.set(match request.body().size_hint().exact() {
            Some(0) => Next::default(),
            Some(length) => Next::Body(length),
            None => Next::Rest,
        });
        let headers = request.headers();
        verdict.and_then(|()| check_host(request.version(), headers)).and_then(|()| check_coding(headers))
    }

    /// Whether the connection can hold no further request, since where it would begin is not watched.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self.next(), Next::Rest)
    }
}
