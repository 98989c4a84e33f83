//! A connection to Redis: commands go in, replies come out.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use gateway_core::resp::{Resp, RespDecoder};
use redis::Cmd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::failure::Failure;

const READ_SIZE: usize = 64 * 1024;

/// A TCP connection, with or without TLS around it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

pub(super) struct Connection {
    socket: Box<dyn Socket>,
    input: BytesMut,
    decoder: RespDecoder,
    output: Vec<u8>,
    written: usize,
    /// TLS holds what the socket did not take.
    unflushed: bool,
}

impl Connection {
    pub(super) fn new(socket: impl Socket + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            input: BytesMut::with_capacity(READ_SIZE),
            decoder: RespDecoder::default(),
            output: Vec::new(),
            written: 0,
            unflushed: false,
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.output.len() - self.written
    }

    pub(super) fn send(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.output);
    }

    /// Asks what everything else depends on.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Resp, Failure> {
        self.send(command);
        match <[Resp; 1]>::try_from(self.turn().await?) {
            Ok([Resp::Error(error)]) => Err(Failure::Refused(error)),
            Ok([reply]) => Ok(reply),
            Err(replies) => Err(Failure::Unexpected(format!("{} replies to one command", replies.len()))),
        }
    }

    /// Writes what waits and reads what comes, until there are replies. Nothing is lost when it is cancelled.
    pub(super) async fn turn(&mut self) -> Result<Vec<Resp>, Failure> {
        poll_fn(|context| self.poll_turn(context)).await
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<Resp>, Failure>> {
        // What Redis said last tells more than that it can't be written to.
        let written = self.poll_write(context);
        let read = self.poll_read(context);
        match (read, written) {
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            (read, _) => read,
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
        }
        if self.unflushed {
            self.output.clear();
            self.output.shrink_to(READ_SIZE);
            self.written = 0;
            ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<Resp>, Failure>> {
        loop {
            self.input.reserve(READ_SIZE);
            if ready!(pin!(self.socket.read_buf(&mut self.input)).poll(context))? == 0 {
                return Poll::Ready(Err(Failure::Closed));
            }
            let replies = self.decode()?;
            if !replies.is_empty() {
                return Poll::Ready(Ok(replies));
            }
        }
    }

    fn decode(&mut self) -> Result<Vec<Resp>, Failure> {
        let mut replies = Vec::new();
        while self.input.has_remaining()
            && let Some(reply) = self.decoder.decode(&mut self.input)?
        {
            replies.push(reply);
        }
        Ok(replies)
    }
}
