use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn replied(result: &Reply<'_>) -> String {
    written(|out| reply(out, 7, result))
}

fn pushed(what: &Push<'_>) -> String {
    written(|out| push(out, "chat", what))
}

fn position() -> StreamPosition {
    StreamPosition { epoch: "e1".into(), offset: 42 }
}

fn ada() -> ClientInfo {
    ClientInfo {
        client: "c-1".into(),
        user: "ada".into(),
        conn_info: Some(Bytes::from_static(br#"{"name":"Ada"}"#)),
        chan_info: None,
    }
}

fn publication_of(payload: Payload) -> Publication {
    Publication { offset: 3, payload, info: None, sender: None }
}

#[test]
fn a_connect_reply_tells_who_one_is_where_and_how_to_keep_the_connection() {
    let position = position();
    let news = SubscribeResult {
        data: Some(b"{\n\"a\":1}"),
        recoverable: true,
        positioned: true,
        position: Some(&position),
        ..Default::default()
    };
    let mut result = ConnectResult {
        client: "c-1",
        version: "0.1.0",
        node: "chat-1",
        ttl: Some(600),
        ping: 25,
        subs: &[("news", news)],
    };
    assert_eq!(
        replied(&Reply::Connect(result.clone())),
        concat!(
            r#"{"id":7,"connect":{"client":"c-1","version":"0.1.0","expires":true,"ttl":600,"#,
            r#""subs":{"news":{"recoverable":true,"positioned":true,"epoch":"e1","offset":42,"data":{ "a":1}}},"#,
            r#""ping":25,"pong":true,"node":"chat-1"}}"#
        )
    );
    (result.ttl, result.subs) = (None, &[]);
    assert_eq!(
        replied(&Reply::Connect(result)),
        r#"{"id":7,"connect":{"client":"c-1","version":"0.1.0","ping":25,"pong":true,"node":"chat-1"}}"#
    );
}

#[test]
fn a_subscribe_reply_brings_what_was_missed_or_says_that_it_could_not() {
    let position = position();
    let missed = [Arc::new(Publication {
        info: Some(ada()),
        ..publication_of(Payload::Json(Bytes::from_static(b"[1]")))
    })];
    let mut result = SubscribeResult {
        recoverable: true,
        positioned: true,
        position: Some(&position),
        was_recovering: true,
        recovered: true,
        publications: &missed,
        ttl: None,
        data: None,
    };
    assert_eq!(
        replied(&Reply::Subscribe(result.clone())),
        concat!(
            r#"{"id":7,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":42,"#,
            r#""was_recovering":true,"recovered":true,"publications":[{"data":[1],"offset":3,"#,
            r#""info":{"user":"ada","client":"c-1","conn_info":{"name":"Ada"}}}]}}"#
        )
    );
    (result.recovered, result.publications) = (false, &[]);
    let lost = replied(&Reply::Subscribe(result));
    assert!(lost.ends_with(r#""was_recovering":true}}"#), "{lost}");
    assert_eq!(replied(&Reply::Subscribe(SubscribeResult::default())), r#"{"id":7,"subscribe":{}}"#);
}

#[test]
fn every_other_reply_has_the_protocols_form() {
    let (position, clients) = (position(), [ada()]);
    let publications = [1, 2].map(|offset| {
        Arc::new(Publication { offset, ..publication_of(Payload::Json(Bytes::from_static(b"null"))) })
    });
    for (result, expected) in [
        (Reply::Unsubscribe, r#"{"id":7,"unsubscribe":{}}"#),
        (Reply::Publish, r#"{"id":7,"publish":{}}"#),
        (
            Reply::Presence(&clients),
            r#"{"id":7,"presence":{"presence":{"c-1":{"user":"ada","client":"c-1","conn_info":{"name":"Ada"}}}}}"#,
        ),
        (
            Reply::PresenceStats { clients: 3, users: 2 },
            r#"{"id":7,"presence_stats":{"num_clients":3,"num_users":2}}"#,
        ),
        (
            Reply::History { position: &position, publications: &publications },
            r#"{"id":7,"history":{"publications":[{"data":null,"offset":1},{"data":null,"offset":2}],"epoch":"e1","offset":42}}"#,
        ),
        (Reply::Ping, r#"{"id":7,"ping":{}}"#),
        (
            Reply::Refresh { client: "c-1", ttl: Some(60) },
            r#"{"id":7,"refresh":{"client":"c-1","expires":true,"ttl":60}}"#,
        ),
        (Reply::SubRefresh { ttl: None }, r#"{"id":7,"sub_refresh":{}}"#),
    ] {
        assert_eq!(replied(&result), expected);
    }
}

#[test]
fn an_error_says_whether_to_try_again() {
    assert_eq!(
        written(|out| error(out, 7, ErrorCode::Internal)),
        r#"{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}"#
    );
    assert_eq!(
        written(|out| error(out, 7, ErrorCode::TokenExpired)),
        r#"{"id":7,"error":{"code":109,"message":"token expired"}}"#
    );
}

#[test]
fn a_push_names_its_channel() {
    let info = r#"{"info":{"user":"ada","client":"c-1","conn_info":{"name":"Ada"}}}"#;
    assert_eq!(pushed(&Push::Join(&ada())), format!(r#"{{"push":{{"channel":"chat","join":{info}}}}}"#));
    assert_eq!(pushed(&Push::Leave(&ada())), format!(r#"{{"push":{{"channel":"chat","leave":{info}}}}}"#));
    assert_eq!(
        pushed(&Push::Unsubscribe(UnsubscribeCode::InsufficientState)),
        r#"{"push":{"channel":"chat","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
}

#[test]
fn json_is_embedded_and_what_came_raw_becomes_a_string() {
    for (payload, data) in [
        (Payload::Json(Bytes::from_static(br#"{"a": 1.0}"#)), r#"{"a": 1.0}"#),
        (Payload::Text(Bytes::from_static(br#"{"a":1}"#)), r#""{\"a\":1}""#),
        (Payload::Binary(Bytes::from_static(&[0xfb, 0xff, 0])), r#""+/8A""#),
    ] {
        let expected = format!(r#"{{"push":{{"channel":"chat","pub":{{"data":{data},"offset":3}}}}}}"#);
        assert_eq!(pushed(&Push::Publication(&publication_of(payload))), expected);
    }
    let unstored = Publication { offset: 0, ..publication_of(Payload::Json(Bytes::from_static(b"1"))) };
    assert_eq!(pushed(&Push::Publication(&unstored)), r#"{"push":{"channel":"chat","pub":{"data":1}}}"#);
}

proptest! {
    #[test]
    fn each_reply_is_one_line_of_json_whatever_is_inside(channel: String, user: String, text: String, count in 1..5_usize) {
        let value = serde_json::json!({ "text": &text });
        let pretty = Bytes::from(serde_json::to_vec_pretty(&value).unwrap());
        let info = ClientInfo { user: user.as_str().into(), ..ada() };
        let bodies = [Payload::Json(pretty), Payload::Text(text.clone().into())];
        let mut out = Vec::new();
        for body in bodies.iter().cycle().take(count) {
            let publication = Publication { info: Some(info.clone()), ..publication_of(body.clone()) };
            push(&mut out, &channel, &Push::Publication(&publication));
        }
        ping(&mut out);
        let lines: Vec<serde_json::Value> =
            out.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        prop_assert_eq!(lines.len(), count + 1);
        prop_assert_eq!(&lines[count], &serde_json::json!({}));
        for (index, line) in lines[..count].iter().enumerate() {
            prop_assert_eq!(&line["push"]["channel"], &channel);
            prop_assert_eq!(&line["push"]["pub"]["info"]["user"], &user);
            let data = if index % 2 == 0 { &value } else { &value["text"] };
            prop_assert_eq!(&line["push"]["pub"]["data"], data);
        }
    }
}
