use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::{
    BigUint, RsaPublicKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use serde_json::{Value, json};

use super::*;
use crate::time::Now;

const NOW: Now = Now { monotonic: Duration::ZERO, unix_seconds: 1_000 };
const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// Public keys, and a token of the user `ada` signed with the private half of each.
const RSA: (&[u8], &str) = (include_bytes!("rsa.pem"), include_str!("rsa.jwt"));
const EC: (&[u8], &str) = (include_bytes!("ec.pem"), include_str!("ec.jwt"));
const ED25519: (&[u8], &str) = (include_bytes!("ed25519.pem"), include_str!("ed25519.jwt"));

fn verifier() -> Verifier {
    Verifier::new(vec![Key::hmac(SECRET).unwrap()], &Auth::default())
}

fn sign_with(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn sign(claims: &Value) -> String {
    sign_with(Algorithm::HS256, SECRET, claims)
}

fn connection(claims: &Value) -> Result<ConnectionToken, TokenError> {
    verifier().check(&sign(claims)).connection(NOW)
}

fn invalid<T>(flaw: Flaw) -> Result<T, TokenError> {
    Err(TokenError::Invalid(flaw))
}

#[test]
fn a_connection_token_says_who_until_when_and_where() {
    let claims = json!({
        "sub": "ada", "exp": 1_600, "iat": 900, "info": {"name": "Ada"}, "jti": "x",
        "channels": ["news", "chat"], "subs": {"chat": {"info": {"color": 1}, "b64data": "eyJ0IjoxfQ=="}},
    });
    let expected = ConnectionToken {
        id: Some("x".into()),
        user: "ada".into(),
        info: Some(Bytes::from_static(br#"{"name":"Ada"}"#)),
        expires_at: Some(1_600),
        subscriptions: vec![
            ServerSubscription {
                channel: "chat".into(),
                info: Some(Bytes::from_static(br#"{"color":1}"#)),
                data: Some(Bytes::from_static(br#"{"t":1}"#)),
            },
            ServerSubscription { channel: "news".into(), info: None, data: None },
        ],
    };
    assert_eq!(connection(&claims), Ok(expected));
}

#[test]
fn every_hmac_algorithm_verifies_with_the_secret_and_no_other() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let claims = json!({"sub": "ada"});
        let signed = sign_with(algorithm, SECRET, &claims);
        assert_eq!(&*verifier().check(&signed).connection(NOW).unwrap().user, "ada");
        let forged = sign_with(algorithm, b"another secret", &claims);
        assert_eq!(verifier().check(&forged).connection(NOW), invalid(Flaw::Signature));
    }
}

#[test]
fn a_public_key_verifies_what_its_private_key_signed() {
    for (key, token) in [RSA, EC, ED25519] {
        let keys = [Key::hmac(SECRET).unwrap()].into_iter().chain(Key::public(key).unwrap());
        let verifier = Verifier::new(keys.collect(), &Auth::default());
        assert_eq!(&*verifier.check(token.trim_end()).connection(NOW).unwrap().user, "ada");
        let (head, signature) = token.trim_end().rsplit_once('.').unwrap();
        let altered = format!("{head}.{}", signature.chars().rev().collect::<String>());
        assert_eq!(verifier.check(&altered).connection(NOW), invalid(Flaw::Signature));
    }
}

#[test]
fn while_keys_are_exchanged_tokens_of_the_old_and_of_the_new_one_are_good() {
    let hmac = |secret: &[u8]| Key::hmac(secret).unwrap();
    let verifier = Verifier::new(vec![hmac(b"the new secret"), hmac(SECRET)], &Auth::default());
    let verify = |secret: &[u8]| {
        let token = sign_with(Algorithm::HS256, secret, &json!({"sub": "ada"}));
        verifier.check(&token).connection(NOW).map(|token| token.user.to_string())
    };
    assert_eq!(verify(SECRET), Ok("ada".to_owned()));
    assert_eq!(verify(b"the new secret"), Ok("ada".to_owned()));
    assert_eq!(verify(b"another secret"), invalid(Flaw::Signature));
}

#[test]
fn one_file_holds_public_keys_of_all_kinds_one_after_the_other() {
    let file = [RSA.0, b"\nThe next one:\n", EC.0, ED25519.0, b"\n"].concat();
    let verifier = Verifier::new(Key::public(&file).unwrap(), &Auth::default());
    for (_, token) in [RSA, EC, ED25519] {
        assert_eq!(&*verifier.check(token.trim_end()).connection(NOW).unwrap().user, "ada");
    }
    assert_eq!(Key::public(&[RSA.0, b"and a line"].concat()).err(), Some(KeyError::NotAPublicKey));
}

#[test]
fn only_public_keys_are_slow() {
    assert!(!verifier().is_slow());
    assert!(Verifier::new(Key::public(ED25519.0).unwrap(), &Auth::default()).is_slow());
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    for (key, _) in [RSA, EC, ED25519] {
        let verifier = Verifier::new(Key::public(key).unwrap(), &Auth::default());
        let confused = sign_with(Algorithm::HS256, key, &json!({"sub": "admin"}));
        assert_eq!(verifier.check(&confused).connection(NOW), invalid(Flaw::Signature));
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    // {"alg":"none","typ":"JWT"} . {"sub":"admin"}
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZG1pbiJ9.";
    assert_eq!(verifier().check(unsigned).connection(NOW), invalid(Flaw::Malformed));
    let mut stripped = sign(&json!({"sub": "admin"}));
    stripped.truncate(stripped.rfind('.').unwrap() + 1);
    assert_eq!(verifier().check(&stripped).connection(NOW), invalid(Flaw::Signature));
    assert_eq!(verifier().check("").connection(NOW), invalid(Flaw::Malformed));
}

#[test]
fn a_token_that_asks_for_an_extension_is_refused() {
    let header = Header { crit: Some(vec!["b64".to_owned()]), ..Header::new(Algorithm::HS256) };
    let token =
        jsonwebtoken::encode(&header, &json!({"sub": "ada"}), &EncodingKey::from_secret(SECRET)).unwrap();
    assert_eq!(verifier().check(&token).connection(NOW), invalid(Flaw::Extension));
    let mut header = Header::new(Algorithm::HS256);
    header.extras.insert("b64", false);
    let token =
        jsonwebtoken::encode(&header, &json!({"sub": "ada"}), &EncodingKey::from_secret(SECRET)).unwrap();
    assert_eq!(verifier().check(&token).connection(NOW), invalid(Flaw::Extension));
}

#[test]
fn a_claim_that_is_null_is_one_that_is_absent() {
    let absent = connection(&json!({"sub": "ada"}));
    let null = json!({
        "sub": "ada", "exp": null, "nbf": null, "aud": null, "iss": null, "expire_at": null, "info": null,
        "b64info": null, "channels": null, "subs": null, "channel": null,
    });
    assert!(absent.is_ok());
    assert_eq!(connection(&null), absent);
    assert_eq!(&*connection(&json!({"sub": null})).unwrap().user, "");
}

#[test]
fn a_token_that_is_revoked_by_its_name_is_good_for_nothing_and_others_are_as_good_as_before() {
    let auth = Auth { revoked_tokens: ["stolen".to_owned()].into(), ..Auth::default() };
    let verifier = Verifier::new(vec![Key::hmac(SECRET).unwrap()], &auth);
    let check = |claims: Value| verifier.check(&sign(&claims));
    let stolen = || check(json!({"sub": "ada", "jti": "stolen", "exp": 2_000}));
    assert_eq!(stolen().connection(NOW), invalid(Flaw::Revoked));
    assert_eq!(stolen().entry("chat", NOW), invalid(Flaw::Revoked));
    let subscription = check(json!({"sub": "ada", "channel": "chat", "jti": "stolen"}));
    assert_eq!(subscription.subscription("chat", "ada", NOW), invalid(Flaw::Revoked));
    for other in [json!({"sub": "ada", "jti": "other"}), json!({"sub": "ada"}), json!({"sub": "stolen"})] {
        assert_eq!(check(other).connection(NOW).map(|_| ()), Ok(()));
    }
}

#[test]
fn what_a_token_says_of_itself_that_is_for_others_changes_nothing_here() {
    let plain = connection(&json!({"sub": "ada"}));
    let meta =
        json!({"sub": "ada", "iat": 1, "typ": "access", "scope": "a b", "azp": 7, "meta": {"tenant": [1]}});
    assert_eq!(connection(&meta), plain);
}

#[test]
fn a_subscription_token_opens_no_connection() {
    assert_eq!(connection(&json!({"sub": "ada", "channel": "chat"})), invalid(Flaw::Purpose));
}

#[test]
fn a_token_expires_in_the_second_it_names() {
    assert_eq!(connection(&json!({"exp": 1_001})).unwrap().expires_at, Some(1_001));
    assert_eq!(connection(&json!({"exp": 1_000})), Err(TokenError::Expired));
    assert_eq!(connection(&json!({"exp": 999.5})), Err(TokenError::Expired));
}

#[test]
fn expire_at_outlives_the_token_and_zero_never_ends() {
    assert_eq!(connection(&json!({"exp": 1_001, "expire_at": 5_000})).unwrap().expires_at, Some(5_000));
    assert_eq!(connection(&json!({"exp": 1_001, "expire_at": 0})).unwrap().expires_at, None);
    assert_eq!(connection(&json!({"exp": 900, "expire_at": 0})), Err(TokenError::Expired));
    for past in [json!(900), json!(-1), json!(0.5)] {
        assert_eq!(connection(&json!({"expire_at": past})), Err(TokenError::Expired), "{past}");
    }
}

#[test]
fn a_token_for_later_or_of_another_shape_is_invalid() {
    assert_eq!(connection(&json!({"nbf": 1_011})), invalid(Flaw::NotYetValid));
    assert_eq!(connection(&json!({"nbf": 1_010})).map(|_| ()), Ok(()), "clocks differ by some seconds");
    assert_eq!(connection(&json!({"sub": 42})), invalid(Flaw::Malformed));
    assert_eq!(connection(&json!({"exp": "tomorrow"})), invalid(Flaw::Malformed));
    assert_eq!(connection(&json!({"b64info": "bm90IGpzb24="})), invalid(Flaw::Malformed));
    assert_eq!(connection(&json!({"channels": [""]})), invalid(Flaw::Channel));
}

#[test]
fn a_signed_token_with_a_claim_twice_is_malformed_and_not_forged() {
    let claims = RawValue::from_string(r#"{"aud":"chat","aud":"shop"}"#.to_owned()).unwrap();
    let token = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    assert_eq!(verifier().check(&token).connection(NOW), invalid(Flaw::Malformed));
}

#[test]
fn audience_and_issuer_have_to_be_those_that_are_configured() {
    let auth =
        Auth { audience: Some("chat".to_owned()), issuer: Some("login".to_owned()), ..Auth::default() };
    let verifier = Verifier::new(vec![Key::hmac(SECRET).unwrap()], &auth);
    let verify = |claims: Value| verifier.check(&sign(&claims)).connection(NOW).map(|_| ());
    assert_eq!(verify(json!({"aud": "chat", "iss": "login"})), Ok(()));
    assert_eq!(verify(json!({"aud": ["shop", "chat"], "iss": "login"})), Ok(()));
    assert_eq!(verify(json!({"aud": "shop", "iss": "login"})), invalid(Flaw::Audience));
    assert_eq!(verify(json!({"iss": "login"})), invalid(Flaw::Audience));
    assert_eq!(verify(json!({"aud": "chat", "iss": "me"})), invalid(Flaw::Issuer));
    assert_eq!(verify(json!({"aud": "chat"})), invalid(Flaw::Issuer));
}

#[test]
fn a_subscription_token_is_good_for_its_channel_and_user() {
    let token = sign(&json!({"sub": "ada", "channel": "chat", "exp": 2_000, "info": [1], "jti": "t1"}));
    let verify = |channel, user, seconds| {
        verifier().check(&token).subscription(channel, user, Now { unix_seconds: seconds, ..NOW })
    };
    let expected = SubscriptionToken {
        id: Some("t1".into()),
        info: Some(Bytes::from_static(b"[1]")),
        expires_at: Some(2_000),
    };
    assert_eq!(verify("chat", "ada", 1_000), Ok(expected));
    assert_eq!(verify("news", "ada", 1_000), invalid(Flaw::Channel));
    assert_eq!(verify("chat", "bob", 1_000), invalid(Flaw::User));
    assert_eq!(verify("chat", "ada", 2_000), Err(TokenError::Expired));
    let connection_token = sign(&json!({"sub": "ada"}));
    assert_eq!(verifier().check(&connection_token).subscription("chat", "ada", NOW), invalid(Flaw::Channel));
}

#[test]
fn a_client_of_one_channel_enters_what_admits_its_user_or_what_its_token_is_for() {
    let (user, channel) = (json!({"sub": "ada", "exp": 2_000}), json!({"sub": "ada", "channel": "$chat"}));
    let entry = |claims: &Value, channel| verifier().check(&sign(claims)).entry(channel, NOW);
    let token = |user: &str, expires_at, names_channel| {
        Ok(EntryToken { id: None, user: Arc::from(user), expires_at, names_channel })
    };
    assert_eq!(entry(&user, "chat"), token("ada", Some(2_000), false));
    assert_eq!(entry(&user, "talk#ada"), token("ada", Some(2_000), false));
    assert_eq!(entry(&channel, "$chat"), token("ada", None, true));
    for (claims, other) in [(&user, "$chat"), (&user, "talk#bob"), (&channel, "chat"), (&channel, "$news")] {
        assert_eq!(entry(claims, other), invalid(Flaw::Channel), "{claims} in {other}");
    }
    assert_eq!(entry(&json!({"sub": "ada", "exp": 1_000}), "chat"), Err(TokenError::Expired));
}

#[test]
fn an_rsa_key_that_is_too_long_to_verify_with_is_refused_before_the_first_token_is() {
    let read = |bytes: usize| {
        let modulus = BigUint::from_bytes_be(&vec![0xff; bytes]);
        let key = RsaPublicKey::new_with_max_size(modulus, 65_537_u32.into(), 8 * bytes).unwrap();
        Key::public(key.to_public_key_pem(LineEnding::LF).unwrap().as_bytes()).map(|keys| keys.len())
    };
    assert_eq!([256, 512, 513].map(read), [Ok(1), Ok(1), Err(KeyError::UnfitKey)]);
}

#[test]
fn what_is_no_key_is_refused_with_the_remedy() {
    assert_eq!(Key::hmac(b"").err(), Some(KeyError::EmptySecret));
    for no_key in [&b"secret"[..], b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        assert_eq!(Key::public(no_key).err(), Some(KeyError::NotAPublicKey));
    }
}

#[test]
fn the_effort_of_a_check_is_known_before_it_is_made() {
    let ec = |count| Key::public(&EC.0.repeat(count)).unwrap();
    let [one, few, many] = [1, 3, 40].map(|count| Verifier::new(ec(count), &Auth::default()));
    let header = |algorithm: &str| {
        let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
    };
    let efforts = [&one, &few, &many].map(|verifier| {
        ["ES256", "ES384", "RS256", "HS256"].map(|algorithm| verifier.effort(&header(algorithm)))
    });
    assert_eq!(efforts, [[1, 4, 1, 1], [3, 12, 1, 1], [16, 64, 1, 1]]);
    assert_eq!(many.effort("nonsense"), 1);
}
