#![no_main]
//! Tokens: whatever their header, claims and signature, none is accepted that another check refuses, and none is called forged that it
//! finds signed.
//!
//! An input is a byte that chooses what signs, and then lines: the header, the claims, and changes to the finished token, two bytes
//! each. With the choice `x` all that follows is the token.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway_core::{
    config::Auth,
    time::Now,
    token::{ConnectionToken, Flaw, Key, TokenError, Verifier},
};
use hmac::Hmac;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::RawValue};
use sha2::{Sha256, Sha384, Sha512};

const NOW: u64 = 1_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const AUDIENCE: &str = "chat";
const NAMED: [&str; 6] = ["aud", "channel", "exp", "expire_at", "nbf", "sub"];

/// Public keys of the gateway's own tests, and the only token that exists of each one's private half.
const RSA: (&[u8], &str) = (
    include_bytes!("../../gateway/core/src/token/rsa.pem"),
    include_str!("../../gateway/core/src/token/rsa.jwt"),
);
const EC: (&[u8], &str) = (
    include_bytes!("../../gateway/core/src/token/ec.pem"),
    include_str!("../../gateway/core/src/token/ec.jwt"),
);

/// Seconds that clocks may differ by.
const LEEWAY: f64 = 10.0;

/// With every kind of key; the second asks for an audience.
static VERIFIERS: LazyLock<[Verifier; 2]> = LazyLock::new(|| {
    [None, Some(AUDIENCE.to_owned())].map(|audience| {
        let public = Key::public(&[RSA.0, EC.0].concat()).expect("two keys");
        let keys = std::iter::once(Key::hmac(SECRET).expect("a secret")).chain(public);
        Verifier::new(keys.collect(), &Auth { audience, ..Auth::default() })
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let Ok(token) = String::from_utf8(token(choice, rest)) else { return };
    let now = Now { monotonic: Duration::ZERO, unix_seconds: NOW };
    for (verifier, audience) in VERIFIERS.iter().zip([None, Some(AUDIENCE)]) {
        let result = verifier.check(&token).connection(now);
        let claims = checked(&token);
        match result {
            Ok(accepted) => {
                let claims = claims.unwrap_or_else(|| panic!("accepted though it is not signed: {token}"));
                check_claims(&claims, &accepted, audience);
            }
            Err(TokenError::Invalid(Flaw::Signature)) => {
                assert!(claims.is_none() || is_changed_ec(&token), "called forged: {token}");
            }
            Err(_) => {}
        }
        let channel = verifier.check(&token).subscription("news", "ada", now);
        assert!(
            channel.is_err()
                || checked(&token)
                    .is_some_and(|claims| claims["channel"] == "news" && claims["sub"] == "ada")
        );
    }
});

/// Puts a token together.
fn token(choice: u8, rest: &[u8]) -> Vec<u8> {
    if choice == b'x' {
        return rest.to_vec();
    }
    let mut lines = rest.splitn(3, |byte| *byte == b'\n');
    let [header, claims, changes] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let signed = match choice {
        b'r' | b'c' if header.is_empty() => {
            let (_, token) = if choice == b'r' { RSA } else { EC };
            token.trim_end().rsplit_once('.').expect("a token").0.to_owned()
        }
        _ => format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)),
    };
    let signature = match choice {
        b'2' => hmac::<Hmac<Sha256>>(SECRET, &signed),
        b'3' => hmac::<Hmac<Sha384>>(SECRET, &signed),
        b'5' => hmac::<Hmac<Sha512>>(SECRET, &signed),
        // What everybody may know.
        b'w' => hmac::<Hmac<Sha256>>(b"secret", &signed),
        b'p' => hmac::<Hmac<Sha256>>(RSA.0, &signed),
        b'e' => hmac::<Hmac<Sha256>>(EC.0, &signed),
        b'r' => RSA.1.trim_end().rsplit_once('.').expect("a token").1.to_owned(),
        b'c' => EC.1.trim_end().rsplit_once('.').expect("a token").1.to_owned(),
        b't' => hmac::<Hmac<Sha256>>(SECRET, &signed).split_at(changes.len().min(43)).0.to_owned(),
        _ => String::new(),
    };
    let mut token = format!("{signed}.{signature}").into_bytes();
    for change in changes.chunks_exact(2) {
        let at = usize::from(change[0]) * (token.len() - 1) / 255;
        token[at] = change[1];
    }
    token
}

fn hmac<M: hmac::Mac + hmac::digest::KeyInit>(key: &[u8], signed: &str) -> String {
    let mac = <M as hmac::Mac>::new_from_slice(key).expect("any length will do");
    URL_SAFE_NO_PAD.encode(mac.chain_update(signed).finalize().into_bytes())
}

/// The claims, if the token is signed (RFC 7515, section 5.2). Of private keys there is one signature each.
fn checked(token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let bytes = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let is_signed = match header["alg"].as_str()? {
        "HS256" => verify::<Hmac<Sha256>>(signed, &bytes),
        "HS384" => verify::<Hmac<Sha384>>(signed, &bytes),
        "HS512" => verify::<Hmac<Sha512>>(signed, &bytes),
        // Of an ECDSA signature there are two forms, which begin alike.
        "ES256" => {
            EC.1.starts_with(&format!("{signed}.")) && bytes.len() == 64 && EC.1.contains(&signature[..42])
        }
        _ => token == RSA.1.trim_end(),
    };
    // An extension that has to be understood is understood by nobody here (section 4.1.11).
    if !is_signed || header.get("crit").is_some() || header.get("b64").is_some() {
        return None;
    }
    named_claims(&URL_SAFE_NO_PAD.decode(claims).ok()?)
}

/// The claims that are looked at here. Of the others nothing is asked but that they are JSON, in which a number may be of any size.
fn named_claims(json: &[u8]) -> Option<Value> {
    let claims: BTreeMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
    claims
        .into_iter()
        .filter(|(name, _)| NAMED.contains(&name.as_str()))
        .map(|(name, claim)| Some((name, serde_json::from_str::<Value>(claim.get()).ok()?)))
        .collect()
}

fn verify<M: hmac::Mac + hmac::digest::KeyInit>(signed: &str, signature: &[u8]) -> bool {
    let mac = <M as hmac::Mac>::new_from_slice(SECRET).expect("any length will do");
    mac.chain_update(signed).verify_slice(signature).is_ok()
}

/// It may be the other form of the only EC token, or nothing of worth.
fn is_changed_ec(token: &str) -> bool {
    let (signed, _) = EC.1.rsplit_once('.').expect("a token");
    token.starts_with(signed) && token != EC.1.trim_end()
}

/// RFC 7519, sections 4.1 and 2 (NumericDate), and Centrifugo's `expire_at`, of which 0 stands for never.
fn check_claims(claims: &Value, accepted: &ConnectionToken, audience: Option<&str>) {
    let now = NOW as f64;
    let date = |name: &str| {
        claims.get(name).filter(|date| !date.is_null()).map(|date| date.as_f64().expect("a number"))
    };
    assert!(date("exp").is_none_or(|exp| exp > now), "expired: {claims}");
    assert!(date("nbf").is_none_or(|nbf| nbf <= now + LEEWAY), "not yet valid: {claims}");
    assert_eq!(claims["sub"].as_str().unwrap_or_default(), &*accepted.user);
    let ends = match date("expire_at") {
        Some(0.0) => None,
        Some(at) => Some(at),
        None => date("exp"),
    };
    assert!(ends.is_none_or(|at| at > now), "over already: {claims}");
    assert_eq!(ends.map(|at| at as u64), accepted.expires_at, "{claims}");
    assert!(claims["channel"].is_null(), "a subscription token: {claims}");
    if let Some(audience) = audience {
        let is_named = claims["aud"] == audience
            || claims["aud"].as_array().is_some_and(|all| all.contains(&audience.into()));
        assert!(is_named, "for others: {claims}");
    }
}
