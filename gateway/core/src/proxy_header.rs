//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): what a proxy writes before the
//! bytes of a client, so that it is known whose they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Section 2.1: a header of version 1 at most.
const V1_MAX: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2, before the addresses.
const V2_FIXED: usize = 16;

/// A header that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes that it takes.
    pub length: usize,
    /// The client's; none where the proxy speaks for itself, as in its health checks.
    pub client: Option<IpAddr>,
}

/// Neither version's header, or more than was sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a connection of a trusted proxy has to begin with a whole header of the PROXY protocol, version 1 or 2"
)]
pub struct BadProxyHeader;

/// Reads the header that begins a connection. A proxy sends it at once (section 2), so what is not whole is none.
///
/// # Errors
/// The bytes do not begin with a header.
pub fn parse(bytes: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    if bytes.starts_with(V2) { v2(bytes) } else { v1(bytes) }.ok_or(BadProxyHeader)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`, or `PROXY UNKNOWN` and anything.
fn v1(bytes: &[u8]) -> Option<ProxyHeader> {
    let end = bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n')?;
    let line = bytes[..end].strip_suffix(b"\r")?.strip_prefix(V1)?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let family = words.next()?;
    let client = match family {
        "UNKNOWN" => None,
        "TCP4" => Some(IpAddr::V4(words.next()?.parse().ok()?)),
        "TCP6" => Some(IpAddr::V6(words.next()?.parse().ok()?)),
        _ => return None,
    };
    if client.is_some() {
        let server: IpAddr = words.next()?.parse().ok()?;
        let ports: [Option<u16>; 2] = [(); 2].map(|()| words.next()?.parse().ok());
        let is_whole = ports.iter().all(Option::is_some) && words.next().is_none();
        if !is_whole || server.is_ipv4() != (family == "TCP4") {
            return None;
        }
    }
    Some(ProxyHeader { length: end + 1, client })
}

fn v2(bytes: &[u8]) -> Option<ProxyHeader> {
    let [command, family, high, low] = *bytes.get(V2.len()..V2_FIXED)?.first_chunk()?;
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    let addresses = bytes.get(V2_FIXED..length)?;
    let client = match (command, family) {
        // LOCAL: the proxy's own connection.
        (0x20, _) => None,
        (0x21, 0x11) => Some(Ipv4Addr::from(*addresses.get(..12)?.first_chunk::<4>()?).into()),
        (0x21, 0x21) => Some(Ipv6Addr::from(*addresses.get(..36)?.first_chunk::<16>()?).into()),
        // Of what is no TCP over IP there is no address to know.
        (0x21, _) => None,
        _ => return None,
    };
    Some(ProxyHeader { length, client })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn v2_header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, addresses].concat()
    }

    #[test]
    fn each_form_of_a_header_tells_the_client_and_where_the_request_begins() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 220, 4, 1, 187];
        let v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0; 16]].concat();
        let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
        let client4 = Some("192.0.2.1".parse().unwrap());
        let client6 = Some("2001:db8::1".parse().unwrap());
        let cases = [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(), client4),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), client6),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2_header(0x21, 0x11, &v4), client4),
            (v2_header(0x21, 0x11, &with_tlv), client4),
            (v2_header(0x21, 0x21, &[&v6[..], &[0; 4]].concat()), client6),
            (v2_header(0x20, 0x00, &[]), None),
            (v2_header(0x21, 0x31, &[0; 216]), None),
        ];
        for (header, client) in cases {
            let expected = ProxyHeader { length: header.len(), client };
            assert_eq!(parse(&[&header[..], REQUEST].concat()), Ok(expected), "{header:?}");
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Err(BadProxyHeader), "{end} bytes of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_none() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let texts = [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            "PROXY TCP4 2001:db8::1 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 2001:db8::1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 70000\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 x\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 56324 443\r\n",
            "proxy UNKNOWN\r\n",
            &long,
        ];
        for text in texts {
            assert_eq!(parse(text.as_bytes()), Err(BadProxyHeader), "{text}");
        }
        assert_eq!(parse(&v2_header(0x31, 0x11, &[0; 12])), Err(BadProxyHeader), "another version");
        assert_eq!(parse(&v2_header(0x22, 0x11, &[0; 12])), Err(BadProxyHeader), "another command");
        assert_eq!(parse(&v2_header(0x21, 0x11, &[0; 11])), Err(BadProxyHeader), "too short for addresses");
    }
}
