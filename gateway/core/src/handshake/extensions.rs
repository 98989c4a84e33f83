//! Negotiating permessage-deflate (RFC 7692, section 7.1), the only extension that is spoken here.

use http::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS},
};
use smallvec::SmallVec;

use super::{BadHandshake, is_token};

/// Both sides start anew with each message: whoever keeps nothing between messages may ask the same of the other side.
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// The same for a client that names the window, which then has to be named as well.
const AGREED_WITH_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";
/// The window that messages are compressed with.
const WINDOW_BITS: u8 = 15;

type Parameters<'a> = SmallVec<[(&'a str, Option<String>); 4]>;

/// The answer to the first offer of a client that can be met, if there is one.
///
/// # Errors
/// What the client offers is no list of extensions (RFC 6455, section 9.1).
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Option<HeaderValue>, BadHandshake> {
    let mut agreed = None;
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let value = value.to_str().map_err(|_| BadHandshake::Extensions)?;
        // No token holds a comma or a semicolon, not even in quotes.
        for offer in value.split(',').map(str::trim).filter(|offer| !offer.is_empty()) {
            let (name, parameters) = parse(offer).ok_or(BadHandshake::Extensions)?;
            if agreed.is_none() && name == "permessage-deflate" {
                agreed = answer(&parameters);
            }
        }
    }
    Ok(agreed.map(HeaderValue::from_static))
}

fn parse(offer: &str) -> Option<(&str, Parameters<'_>)> {
    let mut parts = offer.split(';').map(str::trim);
    let name = parts.next().filter(|name| is_token(name))?;
    let mut parameters = Parameters::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquote(value.trim_start())?)),
            None => (part, None),
        };
        let is_valid = is_token(name) && value.as_deref().is_none_or(is_token);
        is_valid.then(|| parameters.push((name, value)))?;
    }
    Some((name, parameters))
}

/// A token, or what a quoted string stands for (RFC 9110, section 5.6.4).
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let mut text = String::new();
    let mut characters = quoted.strip_suffix('"')?.chars();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(text)
}

/// What is agreed on; nothing when the offer asks for what is not to be had, or for what does not exist.
fn answer(parameters: &Parameters<'_>) -> Option<&'static str> {
    let mut agreed = AGREED;
    for (index, (name, value)) in parameters.iter().enumerate() {
        let is_repeated = parameters[..index].iter().any(|(earlier, _)| earlier == name);
        let can_be_met = match (*name, value.as_deref()) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => true,
            // Any window can be read with the largest.
            ("client_max_window_bits", Some(bits)) => window_bits(bits).is_some(),
            ("server_max_window_bits", Some(bits)) => {
                agreed = AGREED_WITH_WINDOW;
                window_bits(bits) == Some(WINDOW_BITS)
            }
            _ => false,
        };
        if is_repeated || !can_be_met {
            return None;
        }
    }
    Some(agreed)
}

/// 8 to 15, without leading zeros (section 7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let bits = text.parse::<u8>().ok().filter(|bits| (8..=15).contains(bits))?;
    (bits.to_string() == text).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(offers: &[&'static str]) -> Result<Option<String>, BadHandshake> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
        }
        Ok(negotiate(&headers)?.map(|agreed| agreed.to_str().unwrap().to_owned()))
    }

    #[test]
    fn compression_is_agreed_on_without_context_takeover_in_both_directions() {
        for offers in [
            &["permessage-deflate"][..],
            &["permessage-deflate; client_max_window_bits"],
            &["permessage-deflate;client_max_window_bits=8 ; server_no_context_takeover"],
            &["permessage-deflate; client_no_context_takeover; client_max_window_bits = \"1\\0\""],
            &["x-webkit-deflate-frame, permessage-deflate"],
            &["", " , permessage-deflate", "permessage-deflate; server_max_window_bits=15"],
            // The first one asks for what is not to be had.
            &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
            &["permessage-deflate; x=1", "x; y=\"z\"", "permessage-deflate"],
        ] {
            assert_eq!(negotiated(offers), Ok(Some(AGREED.to_owned())), "{offers:?}");
        }
        let window = ["permessage-deflate; server_max_window_bits=15; client_max_window_bits"];
        assert_eq!(negotiated(&window), Ok(Some(AGREED_WITH_WINDOW.to_owned())));
    }

    #[test]
    fn an_offer_that_cannot_be_met_is_declined() {
        for offers in [
            &[][..],
            &["permessage-bzip2"],
            &["Permessage-Deflate"],
            &["permessage-deflate; server_max_window_bits"],
            &["permessage-deflate; server_max_window_bits=8"],
            &["permessage-deflate; server_max_window_bits=16"],
            &["permessage-deflate; client_max_window_bits=7"],
            &["permessage-deflate; client_max_window_bits=016"],
            &["permessage-deflate; client_max_window_bits=+9"],
            &["permessage-deflate; client_max_window_bits=09"],
            &["permessage-deflate; client_no_context_takeover=1"],
            &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
            &["permessage-deflate; unknown"],
        ] {
            assert_eq!(negotiated(offers), Ok(None), "{offers:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_no_handshake() {
        for offers in [
            &["permessage deflate"][..],
            &["permessage-deflate; "],
            &["permessage-deflate; =1"],
            &["permessage-deflate; a="],
            &["permessage-deflate; a=\"\""],
            &["permessage-deflate; a=\"b"],
            &["permessage-deflate; a=\"b\\"],
            &["permessage-deflate; a=\"b,c\""],
            &["permessage-deflate; a=b=c"],
            &["permessage-deflate", "{}"],
            &[";"],
        ] {
            assert_eq!(negotiated(offers), Err(BadHandshake::Extensions), "{offers:?}");
        }
    }
}
