//! Writes JSON into a buffer that grows; nothing here can fail.

/// An object under construction.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// Appends an object with the members that `fill` adds.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        string(self.out, key);
        self.out.push(b':');
        self.out
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    /// An array with an object for each item.
    pub(super) fn array<T>(&mut self, key: &str, items: &[T], fill: impl Fn(&mut Object<'_>, &T)) {
        let out = self.key(key);
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            object(out, |o| fill(o, item));
        }
        out.push(b']');
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        string(self.key(key), value);
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key).extend_from_slice(value.to_string().as_bytes());
    }

    /// Absent means false.
    pub(super) fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.key(key).extend_from_slice(b"true");
        }
    }

    /// A JSON document, verbatim but for its line breaks.
    pub(super) fn raw(&mut self, key: &str, document: &[u8]) {
        single_line(self.key(key), document);
    }

    /// A string that `fill` appends, of characters that need no escape.
    pub(super) fn plain(&mut self, key: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let out = self.key(key);
        out.push(b'"');
        fill(out);
        out.push(b'"');
    }
}

/// A line break ends a reply, so none may be inside; in JSON it can only be white space between tokens.
fn single_line(out: &mut Vec<u8>, document: &[u8]) {
    let start = out.len();
    out.extend_from_slice(document);
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// Appends a string, escaped as RFC 8259, section 7 demands and no further.
fn string(out: &mut Vec<u8>, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        match special[0] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ 0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            byte => out.extend_from_slice(&[b'\\', byte]),
        }
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_string_reads_back_as_itself_from_a_single_line(key in any::<String>(), value in any::<String>()) {
            let mut out = Vec::new();
            object(&mut out, |o| o.string(&key, &value));
            prop_assert!(!out.contains(&b'\n'));
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, serde_json::json!({ key: value }));
        }
    }

    #[test]
    fn a_document_keeps_its_bytes_except_for_line_breaks() {
        let mut out = Vec::new();
        object(&mut out, |o| o.raw("data", b"{\r\n  \"a\": \"b\\nc\"\n}"));
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"data":{    "a": "b\nc" }}"#);
    }
}
