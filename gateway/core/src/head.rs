//! The head of an HTTP request (RFC 9112): where its bytes end, and what would let two readers see two different requests in them.
//! Whoever stands between a client and this server reads them too, and an attacker lives on the difference.

use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{HOST, TRANSFER_ENCODING},
};
use memchr::memchr_iter;

/// Why a request is refused, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// RFC 9112, section 2.2 lets a reader take LF for a line's end; not all of them do.
    #[error("a line of the request's head ends with LF alone; end it with CR LF")]
    BareLf,
    /// RFC 9112, section 6.1.
    #[error("the request has both Content-Length and Transfer-Encoding; send one of them")]
    TwoLengths,
    /// RFC 9112, section 6.1: where such a body ends is known to those alone who understand it.
    #[error("the body is in a transfer coding that is not read here; send it as chunked alone")]
    Coding,
    /// RFC 9112, section 3.2.
    #[error("the request has no Host, or more than one; send exactly one")]
    Host,
}

impl BadHead {
    /// The answer's status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        if self == Self::Coding { StatusCode::NOT_IMPLEMENTED } else { StatusCode::BAD_REQUEST }
    }
}

/// As much of a line as has to be looked at.
const LINE_START: usize = b"transfer-encoding:".len();

/// Finds the end of a head in bytes that come in any pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Of a line that came in pieces: its start, its length so far, and whether that ends with CR.
    line: [u8; LINE_START],
    length: usize,
    after_cr: bool,
    /// A line that is not empty has ended.
    begun: bool,
    has_bare_lf: bool,
    has_content_length: bool,
    has_transfer_encoding: bool,
}

impl HeadScanner {
    /// How many of these bytes belong to the head, when it ends in them.
    pub fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut start = 0;
        for newline in memchr_iter(b'\n', bytes) {
            let end = &bytes[start..newline];
            start = newline + 1;
            let was_last = if self.length == 0 {
                self.end_line(end, end.len(), end.ends_with(b"\r"))
            } else {
                self.take(end);
                let (line, length, after_cr) = (self.line, self.length, self.after_cr);
                (self.length, self.after_cr) = (0, false);
                self.end_line(&line[..length.min(LINE_START)], length, after_cr)
            };
            if was_last {
                return Some(start);
            }
        }
        self.take(&bytes[start..]);
        None
    }

    /// What is wrong with a head that has ended.
    ///
    /// # Errors
    /// It can be read in two ways.
    pub fn verdict(&self) -> Result<(), BadHead> {
        if self.has_bare_lf {
            Err(BadHead::BareLf)
        } else if self.has_content_length && self.has_transfer_encoding {
            Err(BadHead::TwoLengths)
        } else {
            Ok(())
        }
    }

    fn take(&mut self, part: &[u8]) {
        let Some(last) = part.last() else { return };
        self.after_cr = *last == b'\r';
        if self.length < LINE_START {
            let kept = part.len().min(LINE_START - self.length);
            self.line[self.length..self.length + kept].copy_from_slice(&part[..kept]);
        }
        self.length += part.len();
    }

    /// Judges a line by its start; whether it was the line after the last one.
    fn end_line(&mut self, start: &[u8], length: usize, after_cr: bool) -> bool {
        self.has_bare_lf |= !after_cr;
        let is_empty = length == usize::from(after_cr);
        self.has_content_length |= is_field(start, b"content-length:");
        self.has_transfer_encoding |= is_field(start, b"transfer-encoding:");
        // Empty lines before a request are skipped (RFC 9112, section 2.2).
        let ended = is_empty && self.begun;
        self.begun |= !is_empty;
        ended
    }
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    // Most lines are told apart by where their name ends.
    line.get(name.len() - 1) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name)
}

/// Whether a request names exactly one host, as HTTP/1.1 demands; older requests may name none.
///
/// # Errors
/// It does not.
pub fn check_host(version: Version, headers: &HeaderMap) -> Result<(), BadHead> {
    match headers.get_all(HOST).iter().count() {
        1 => Ok(()),
        0 if version < Version::HTTP_11 => Ok(()),
        _ => Err(BadHead::Host),
    }
}

/// Whether a body is in no other transfer coding than chunks.
///
/// # Errors
/// It is in another one.
pub fn check_coding(headers: &HeaderMap) -> Result<(), BadHead> {
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_none_or(is_chunked) && codings.next().is_none() {
        Ok(())
    } else {
        Err(BadHead::Coding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where a head that comes in these pieces ends, and what is wrong with it.
    fn scan(pieces: &[&[u8]]) -> Option<(usize, Result<(), BadHead>)> {
        let mut scanner = HeadScanner::default();
        let mut before = 0;
        for piece in pieces {
            if let Some(end) = scanner.scan(piece) {
                return Some((before + end, scanner.verdict()));
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn a_head_ends_with_its_empty_line_and_what_follows_is_not_its() {
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n"]), Some((27, Ok(()))));
        assert_eq!(scan(&[b"\r\n\r\nGET / HTTP/1.1\r\n\r\nx"]), Some((22, Ok(()))));
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\nHost: a\r\n"]), None);
    }

    #[test]
    fn each_flaw_is_seen_wherever_it_is() {
        let cases: [(&[u8], BadHead); 5] = [
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", BadHead::BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", BadHead::BareLf),
            (b"\nGET / HTTP/1.1\r\n\r\n", BadHead::BareLf),
            (
                b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                BadHead::TwoLengths,
            ),
            (
                b"GET / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\ncontent-length:1\r\n\r\n",
                BadHead::TwoLengths,
            ),
        ];
        for (head, flaw) in cases {
            assert_eq!(scan(&[head]), Some((head.len(), Err(flaw))), "{:?}", String::from_utf8_lossy(head));
        }
        let alike =
            b"GET / HTTP/1.1\r\nX-Content-Length: 1\r\nContent-Length: 1\r\nTransfer-Encodings: x\r\n\r\n";
        assert_eq!(scan(&[alike]), Some((alike.len(), Ok(()))));
    }

    proptest! {
        #[test]
        fn a_head_reads_the_same_in_whatever_pieces_it_comes(
            lines in prop::collection::vec("(Content-Length: 1|Transfer-Encoding: chunked|[a-zA-Z:]{1,40})(\r\n|\n)", 1..6),
            cuts in prop::collection::vec(0_usize..300, 0..8),
        ) {
            let text = format!("{}\r\nbody", lines.concat());
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(scan(&pieces), scan(&[bytes]));
            // By the letter of the text, for which the scanner's state is not asked.
            let flaw = if text.replace("\r\n", "").contains('\n') {
                Err(BadHead::BareLf)
            } else if text.contains("\r\nContent-Length:") | text.starts_with("Content-Length:")
                && text.contains("\r\nTransfer-Encoding:") | text.starts_with("Transfer-Encoding:")
            {
                Err(BadHead::TwoLengths)
            } else {
                Ok(())
            };
            prop_assert_eq!(scan(&[bytes]), Some((bytes.len() - 4, flaw)));
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let headers = |count| {
            let mut headers = HeaderMap::new();
            for _ in 0..count {
                headers.append(HOST, "a".parse().unwrap());
            }
            headers
        };
        assert_eq!(check_host(Version::HTTP_11, &headers(1)), Ok(()));
        assert_eq!(check_host(Version::HTTP_10, &headers(0)), Ok(()));
        for (version, count) in [(Version::HTTP_11, 0), (Version::HTTP_11, 2), (Version::HTTP_10, 2)] {
            assert_eq!(check_host(version, &headers(count)), Err(BadHead::Host), "{version:?} {count}");
        }
    }
}
