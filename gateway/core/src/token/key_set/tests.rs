use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};

use super::*;
use crate::{
    config::{Auth, Jwks},
    time::Now,
    token::{Flaw, TokenError, Verifier},
};

const NOW: Now = Now { monotonic: Duration::ZERO, unix_seconds: 1_000 };
/// Four keys for signatures, and fourteen other things.
const SET: &[u8] = include_bytes!("set.json");
/// Tokens of the user `ada` by the name of the key that they name, or for what is special about them.
const SIGNED: &str = include_str!("signed.txt");

fn signed(name: &str) -> &'static str {
    SIGNED.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap()
}

fn auth() -> Auth {
    let url = "https://login.example.com/keys".to_owned();
    Auth { jwks: Some(Jwks { url, allow_http: false }), ..Auth::default() }
}

/// Whether a token by this name is good with these keys.
fn verify(name: &str, keys: Vec<Key>) -> Result<(), TokenError> {
    Verifier::new(keys, &auth())
        .check(signed(name))
        .connection(NOW)
        .map(|token| assert_eq!(&*token.user, "ada"))
}

fn published() -> Vec<Key> {
    KeySet::parse(SET).unwrap().keys
}

#[test]
fn a_set_has_the_keys_that_are_for_signatures_and_the_rest_is_passed_over() {
    let KeySet { keys, others, .. } = KeySet::parse(SET).unwrap();
    let names: Vec<_> = keys.iter().map(Key::id).collect();
    assert_eq!((names, others), (vec![Some("r1"), Some("e1"), Some("e2"), Some("o1")], 14));
}

#[test]
fn an_rsa_key_counts_that_is_long_enough_to_be_safe_and_short_enough_to_be_verified_with() {
    let counts = |modulus: &[u8], exponent: &[u8]| {
        let [n, e] = [modulus, exponent].map(|number| URL_SAFE_NO_PAD.encode(number));
        KeySet::parse(format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"{e}"}}]}}"#).as_bytes()).is_ok()
    };
    let usual: &[u8] = &[1, 0, 1];
    let lengths = [(255, false), (256, true), (512, true), (513, false), (1024, false)];
    for (bytes, expected) in lengths {
        assert_eq!(counts(&vec![0xff; bytes], usual), expected, "{bytes}");
    }
    assert!(counts(&[&[0][..], &[0xff; 512]].concat(), usual), "zeros before a number do not count");
    for exponent in [&[][..], &[1], &[0xff; 8]] {
        assert!(!counts(&[0xff; 256], exponent), "{exponent:?}");
    }
}

#[test]
fn a_point_counts_that_is_on_its_curve() {
    let set: serde_json::Value = serde_json::from_slice(SET).unwrap();
    for (index, name) in [(1, "e1"), (2, "e2"), (3, "o1")] {
        let mut key = set["keys"][index].clone();
        let counts = |key: &serde_json::Value| {
            KeySet::parse(serde_json::json!({"keys": [key]}).to_string().as_bytes()).is_ok()
        };
        assert!(key["kid"] == name && counts(&key));
        let bytes = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap().len();
        // No point of P-256 or P-384 beside the same y, and no y of Ed25519.
        key["x"] = URL_SAFE_NO_PAD.encode([&[2][..], &vec![0; bytes - 1]].concat()).into();
        assert!(!counts(&key), "{name}");
    }
}

#[test]
fn a_token_is_good_that_the_key_has_signed_that_it_names_or_any_where_it_names_none() {
    for name in ["r1", "e1", "e2", "o1", "nameless"] {
        assert_eq!(verify(name, published()), Ok(()), "{name}");
        let (head, signature) = signed(name).rsplit_once('.').unwrap();
        let altered = format!("{head}.{}", signature.chars().rev().collect::<String>());
        let refused = Verifier::new(published(), &auth()).check(&altered).connection(NOW);
        assert_eq!(refused, Err(TokenError::Invalid(Flaw::Signature)), "{name}");
    }
}

#[test]
fn a_key_verifies_with_the_algorithm_that_is_published_with_it_and_no_other() {
    assert_eq!(verify("ps256", published()), Err(TokenError::Invalid(Flaw::Signature)));
}

#[test]
fn a_token_that_names_a_key_the_set_has_not_is_no_forgery_but_comes_too_early() {
    let too_early = Err(TokenError::UnknownKey { is_tried: false });
    // Signed with the key `o1`, which it calls `o2`.
    assert_eq!(verify("renamed", published()), too_early);
    assert_eq!(verify("encryption", published()), too_early);
    for name in ["r1", "nameless"] {
        assert_eq!(verify(name, vec![]), too_early, "{name}, before the set is there");
    }
    let verifier = Verifier::new(published(), &Auth::default());
    let refused = verifier.check(signed("renamed")).connection(NOW);
    assert_eq!(refused, Err(TokenError::Invalid(Flaw::Signature)), "where no set is named, none is to come");
}

#[test]
fn a_token_that_only_a_secret_could_have_signed_is_a_forgery_whatever_it_names_since_no_set_has_secrets() {
    let header = Header { kid: Some("renamed".to_owned()), ..Header::default() };
    let forged = jsonwebtoken::encode(&header, &serde_json::json!({}), &EncodingKey::from_secret(b"wrong"));
    let forged = forged.unwrap();
    let secret = || Key::hmac(b"right").unwrap();
    for keys in [vec![], published(), vec![secret()], [vec![secret()], published()].concat()] {
        let refused = Verifier::new(keys, &auth()).check(&forged).connection(NOW);
        assert_eq!(refused, Err(TokenError::Invalid(Flaw::Signature)));
    }
}

#[test]
fn a_token_that_names_a_key_the_set_has_not_is_charged_where_keys_of_files_were_tried_in_vain() {
    let of_file = |pem: &[u8]| Key::public(pem).unwrap();
    let (alike, other) = (of_file(include_bytes!("../ed25519.pem")), of_file(include_bytes!("../rsa.pem")));
    for (of_files, is_tried) in [(vec![], false), (other, false), (alike, true)] {
        for fetched in [vec![], published()] {
            let keys = [of_files.clone(), fetched].concat();
            let checked = Verifier::new(keys, &auth()).check(signed("renamed"));
            assert_eq!(checked.is_wrong(), is_tried);
            assert_eq!(checked.connection(NOW), Err(TokenError::UnknownKey { is_tried }));
        }
    }
}

#[test]
fn keys_of_files_verify_beside_those_of_a_set_and_tokens_need_not_name_them() {
    let of_file = Key::public(include_bytes!("../ed25519.pem")).unwrap();
    let keys = || of_file.iter().cloned().chain(published()).collect::<Vec<_>>();
    let own = include_str!("../ed25519.jwt").trim_end();
    assert_eq!(&*Verifier::new(keys(), &auth()).check(own).connection(NOW).unwrap().user, "ada");
    for name in ["o1", "nameless"] {
        assert_eq!(verify(name, keys()), Ok(()), "{name}");
    }
}

#[test]
fn a_token_is_tried_with_few_keys_however_many_there_are_but_always_with_the_one_it_names() {
    // Sixty of them, of which the last is the one that has signed.
    let key = |name: &str, x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}"#);
    let set: serde_json::Value = serde_json::from_slice(SET).unwrap();
    let right = set["keys"][3]["x"].as_str().unwrap();
    let wrong = URL_SAFE_NO_PAD.encode([1; 32]);
    let mut keys: Vec<_> = (0..60).map(|number| key(&format!("k{number}"), &wrong)).collect();
    keys.push(key("o1", right));
    let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let keys = || KeySet::parse(set.as_bytes()).unwrap().keys;
    assert_eq!(verify("o1", keys()), Ok(()));
    assert_eq!(verify("nameless", keys()), Err(TokenError::Invalid(Flaw::Signature)));
}

#[test]
fn sets_are_the_same_whose_keys_for_signatures_are_whatever_else_there_is_and_in_whatever_order() {
    let set: serde_json::Value = serde_json::from_slice(SET).unwrap();
    let keys = set["keys"].as_array().unwrap();
    let identity = |keys: &[serde_json::Value]| {
        KeySet::parse(serde_json::json!({"keys": keys}).to_string().as_bytes()).unwrap().identity
    };
    let reversed: Vec<_> = keys.iter().rev().cloned().collect();
    for same in [&reversed, &keys[..4], &[&keys[..], &keys[..1]].concat()] {
        assert_eq!(identity(same), identity(keys));
    }
    for other in [&keys[..3], &keys[1..]] {
        assert_ne!(identity(other), identity(keys));
    }
    let mut renamed = keys.clone();
    renamed[0]["kid"] = "another".into();
    assert_ne!(identity(&renamed), identity(keys));
}

#[test]
fn of_keys_by_one_name_any_may_have_signed() {
    let set: serde_json::Value = serde_json::from_slice(SET).unwrap();
    let mut keys: Vec<_> = set["keys"].as_array().unwrap()[1..4].to_vec();
    let mut wrong = keys[2].clone();
    wrong["x"] = URL_SAFE_NO_PAD.encode([1; 32]).into();
    keys.insert(0, wrong);
    keys.iter_mut().for_each(|key| key["kid"] = "o1".into());
    for _ in 0..keys.len() {
        keys.rotate_left(1);
        let set = serde_json::json!({"keys": keys}).to_string();
        assert_eq!(verify("o1", KeySet::parse(set.as_bytes()).unwrap().keys), Ok(()));
    }
}

#[test]
fn what_is_no_set_is_refused_with_what_is_wrong_with_it() {
    let refusal = |text: &str| KeySet::parse(text.as_bytes()).err().map(|error| error.to_string());
    let says = |text: &str, words: &str| {
        let refusal = refusal(text).unwrap_or_default();
        assert!(refusal.contains(words), "{text}: {refusal:?}");
    };
    says("<html>", "no JWK set (RFC 7517): expected value");
    says("[]", "no JWK set");
    says(r#"{"key": []}"#, "missing field `keys`");
    says(r#"{"keys": 7}"#, "expected a sequence");
    says(r#"{"keys": []}"#, "none of its 0 keys is one for signatures");
    says(r#"{"keys": [{"kty":"oct","k":"AAAA"}]}"#, "none of its 1 keys");
    says(&format!(r#"{{"keys": [{}]}}"#, vec!["{}"; 65].join(",")), "it has 65 keys; at most 64 are taken");
}

#[test]
fn a_token_that_names_its_key_is_less_effort() {
    let keys = [published(), published()].concat();
    let efforts = ["e1", "r1"].map(|name| Verifier::new(keys.clone(), &auth()).effort(signed(name)));
    assert_eq!(efforts, [2, 2], "two of each name");
}
