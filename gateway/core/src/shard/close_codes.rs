//! The table of docs/protocol.md against what connections are closed with.

use std::collections::BTreeSet;

use super::connection::DRIPPING;
use crate::{centrifuge::codes::DisconnectCode, frame::FrameError, raw, transport::Goodbye};

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");

/// Code, reason and whom it is said to.
type Row = (u16, String, String);

fn documented() -> BTreeSet<Row> {
    let (_, section) = DOCUMENT.split_once("\n## Close codes\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
        let code = cells.next()?.parse().ok()?;
        Some((code, cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    rows.collect()
}

fn said() -> BTreeSet<Row> {
    use FrameError::*;
    let flaws = [
        Unmasked,
        ReservedBit,
        ReservedOpcode(3),
        PaddedLength,
        LongControl,
        FragmentedControl,
        UnexpectedContinuation,
        InterleavedMessage,
        InvalidClose,
        InvalidUtf8,
        InvalidDeflate,
        TooLarge { limit: 0 },
    ];
    let row = |goodbye: Goodbye, to: &str| (goodbye.code, goodbye.reason.to_owned(), to.to_owned());
    let mut rows = BTreeSet::from([row(Goodbye { code: 1000, reason: "" }, "all"), row(DRIPPING, "all")]);
    rows.extend(flaws.map(|flaw| row(Goodbye { code: flaw.close_code(), reason: "" }, "all")));
    let raw = [raw::SILENT, raw::SLOW, raw::FLOOD, raw::NOT_SERVED, raw::DENIED, raw::MOVED, raw::EXPIRED];
    rows.extend(raw.map(|goodbye| row(goodbye, "raw")));
    rows.extend(
        DisconnectCode::ALL
            .map(|code| row(Goodbye { code: code.code(), reason: code.reason() }, "centrifuge")),
    );
    rows
}

#[test]
fn the_table_of_close_codes_is_what_the_code_says() {
    assert_eq!(documented(), said());
    for (code, ..) in said() {
        // RFC 6455, section 7.4, and the codes registered since.
        assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "{code} may not be sent");
    }
}
