//! A stream of bytes as a socket gives it: in pieces.

/// An input in three parts: a byte of options, three bytes that say how long the pieces are, and the stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// For the target to choose by.
    pub options: u8,
    lengths: [u8; 3],
    /// All of it.
    pub whole: &'a [u8],
}

impl<'a> Stream<'a> {
    /// Nothing when the input is too short.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Option<Self> {
        let (&[options, a, b, c], whole) = input.split_first_chunk()?;
        Some(Self { options, lengths: [a, b, c], whole })
    }

    /// The stream again, in pieces of 1 to 64 bytes: `@` stands for 1, `A` for 2, `?` for 64.
    pub fn pieces(self) -> impl Iterator<Item = &'a [u8]> {
        let mut lengths = self.lengths.into_iter().cycle();
        let mut rest = self.whole;
        std::iter::from_fn(move || {
            let length = usize::from(lengths.next()? & 63) + 1;
            let (piece, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
