//! Frames on their way to one socket.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Write},
};

use bytes::{Buf as _, Bytes};

/// Frames of one system call at most; the kernel takes 1,024.
const MAX_SLICES: usize = 64;
/// Bytes of one system call, roughly: a frame that crosses the line still goes along.
const MAX_BYTES: usize = 16 * 1024;
/// What a frame costs in memory besides its bytes: its place in the queue, which grows by doubling, and its allocation.
const FRAME_COST: usize = 96;
/// First byte of a pong.
const PONG: u8 = 0x8A;

/// Frames in order, shared with other recipients; the first one may be partly written.
#[derive(Debug, Default)]
pub struct OutQueue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The first frame has lost bytes at its start, so it has to be finished before anything else may follow.
    cut: bool,
}

/// Where a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The queue is empty.
    All,
    /// The socket takes no more for now.
    Blocked,
}

impl OutQueue {
    /// Appends a frame.
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Appends what another queue holds, which has to be uncut, to one whose socket is full. Of pongs in a row only the last one is
    /// kept: it answers for all (RFC 6455, section 5.5.3).
    pub fn append(&mut self, other: &mut Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        for frame in other.frames.drain(..) {
            let may_replace = self.frames.len() > usize::from(self.cut);
            if is_pong(&frame)
                && let Some(last) = self.frames.back_mut().filter(|last| may_replace && is_pong(last))
            {
                self.bytes -= last.len();
                *last = frame;
            } else {
                self.frames.push_back(frame);
            }
        }
    }

    /// Bytes waiting.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that what waits takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.bytes + self.frames.len() * FRAME_COST
    }

    /// Drops every frame that has not begun to be written, so that a close frame reaches a slow client soon.
    pub fn discard(&mut self) {
        self.frames.truncate(usize::from(self.cut));
        self.bytes = self.frames.front().map_or(0, Bytes::len);
    }

    /// Writes as much as the socket takes, many frames per call.
    pub fn write_to(&mut self, socket: &mut impl Write) -> io::Result<Written> {
        while !self.frames.is_empty() {
            let (offered, written) = match self.write_once(socket) {
                Ok(progress) => progress,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(error) => return Err(error),
            };
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.advance(written);
            // A short write says the same as EAGAIN, one call earlier.
            if written < offered {
                return Ok(Written::Blocked);
            }
        }
        Ok(Written::All)
    }

    fn write_once(&self, socket: &mut impl Write) -> io::Result<(usize, usize)> {
        if let [only] = self.frames.as_slices().0
            && self.frames.len() == 1
        {
            return Ok((only.len(), socket.write(only)?));
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let (mut count, mut offered) = (0, 0);
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
            count += 1;
            offered += frame.len();
            if offered >= MAX_BYTES {
                break;
            }
        }
        Ok((offered, socket.write_vectored(&slices[..count])?))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                self.cut |= written > 0;
                first.advance(written);
                return;
            }
            written -= first.len();
            self.cut = false;
            self.frames.pop_front();
        }
    }
}

/// Whether an uncut frame is a pong.
fn is_pong(frame: &[u8]) -> bool {
    frame.first() == Some(&PONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes per call, and counts the calls.
    struct Pipe {
        room: Vec<usize>,
        got: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let Some(room) = self.room.pop() else { return Err(ErrorKind::WouldBlock.into()) };
            let all = slices.iter().flat_map(|s| s.iter().copied());
            let before = self.got.len();
            self.got.extend(all.take(room));
            Ok(self.got.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue(frames: &[&'static [u8]]) -> OutQueue {
        let mut queue = OutQueue::default();
        for frame in frames {
            queue.push(Bytes::from_static(frame));
        }
        queue
    }

    #[test]
    fn frames_that_wait_together_go_out_in_one_call() {
        let mut queue = queue(&[b"ab", b"cd", b"ef"]);
        let mut pipe = Pipe { room: vec![100], got: vec![] };
        assert_eq!(queue.write_to(&mut pipe).unwrap(), Written::All);
        assert_eq!((pipe.got.as_slice(), pipe.room.len(), queue.bytes()), (&b"abcdef"[..], 0, 0));
    }

    #[test]
    fn a_full_socket_gets_the_rest_later_in_order() {
        let mut queue = queue(&[b"ab", b"cd", b"ef"]);
        let mut pipe = Pipe { room: vec![3], got: vec![] };
        assert_eq!(queue.write_to(&mut pipe).unwrap(), Written::Blocked);
        assert_eq!(queue.bytes(), 3);
        pipe.room.push(100);
        assert_eq!(queue.write_to(&mut pipe).unwrap(), Written::All);
        assert_eq!(pipe.got, b"abcdef");
    }

    #[test]
    fn discarding_keeps_the_rest_of_a_frame_that_has_begun() {
        let mut queue = queue(&[b"ab", b"cdef", b"gh"]);
        let mut pipe = Pipe { room: vec![3], got: vec![] };
        assert_eq!(queue.write_to(&mut pipe).unwrap(), Written::Blocked);
        queue.discard();
        queue.push(Bytes::from_static(b"!"));
        pipe.room.push(100);
        assert_eq!(queue.write_to(&mut pipe).unwrap(), Written::All);
        assert_eq!(pipe.got, b"abcdef!");
    }

    #[test]
    fn of_pongs_in_a_row_a_full_socket_keeps_the_last_unless_it_has_begun() {
        let mut waiting = queue(&[b"\x8A\x01a"]);
        let mut pipe = Pipe { room: vec![1], got: vec![] };
        assert_eq!(waiting.write_to(&mut pipe).unwrap(), Written::Blocked);
        for run in [&[&b"\x8A\x01b"[..], b"\x8A\x01c"][..], &[b"\x8A\x01d", b"m", b"\x8A\x01e"]] {
            waiting.append(&mut queue(run));
        }
        assert_eq!((waiting.bytes(), waiting.frames.len()), (2 + 3 + 1 + 3, 4));
        pipe.room.push(100);
        assert_eq!(waiting.write_to(&mut pipe).unwrap(), Written::All);
        assert_eq!(pipe.got, b"\x8A\x01a\x8A\x01dm\x8A\x01e");
    }

    #[test]
    fn an_empty_message_is_not_free() {
        let mut waiting = OutQueue::default();
        for _ in 0..1_000 {
            waiting.append(&mut queue(&[b"\x81\x00"]));
        }
        assert!(waiting.cost() >= 1_000 * size_of::<Bytes>(), "{}", waiting.cost());
    }

    #[test]
    fn discarding_drops_frames_that_have_not_begun() {
        let mut queue = queue(&[b"ab", b"cd"]);
        queue.discard();
        assert_eq!((queue.bytes(), queue.frames.len()), (0, 0));
    }
}
