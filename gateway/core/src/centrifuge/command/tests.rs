use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn all(message: &str) -> Vec<Result<Command<'_>, CommandError>> {
    Commands::new(message, 10).collect()
}

/// The only command of a message, as its id and the `Debug` text of its method.
fn one(message: &str) -> (u32, String) {
    let [Ok(command)] = &all(message)[..] else { panic!("{message} is not one command: {:?}", all(message)) };
    (command.id, format!("{:?}", command.method))
}

fn refused(message: &str) -> (CommandError, Answer) {
    let [Err(error)] = all(message)[..] else { panic!("{message} is not refused: {:?}", all(message)) };
    (error, error.answer())
}

const BAD_REQUEST: Answer = Answer::Disconnect(DisconnectCode::BadRequest);

#[test]
fn a_connect_of_the_javascript_client_is_understood_and_its_extensions_ignored() {
    let text = r#"{"connect":{"token":"t.o.k","data":{"a":[1]},"name":"js","version":"5.2","headers":{"x":"y"},"flag":1,
        "subs":{"news":{"recover":true,"offset":7,"epoch":"e1"}}},"id":1,"future":[{}]}"#
        .replace('\n', "");
    let commands = all(&text);
    let [Ok(Command { id: 1, method: Method::Connect(connect) })] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((&*connect.token, &*connect.name, &*connect.version), ("t.o.k", "js", "5.2"));
    assert_eq!(connect.data.map(RawValue::get), Some(r#"{"a":[1]}"#));
    let news = &connect.subs["news"];
    assert_eq!((news.recover, news.offset, &*news.epoch), (true, 7, "e1"));
}

#[test]
fn a_subscribe_borrows_what_needs_no_unescaping() {
    let text = r#"{"id":2,"subscribe":{"channel":"chat","token":"tok\u0065n","recover":true,"offset":18446744073709551615,
        "epoch":"xyz","positioned":true,"recoverable":true,"join_leave":true,"data":null,"delta":"fossil","flag":1}}"#
        .replace('\n', "");
    let commands = all(&text);
    let [Ok(Command { id: 2, method: Method::Subscribe(s) })] = &commands[..] else { panic!("{commands:?}") };
    assert!(matches!((&s.channel, &s.token), (Cow::Borrowed("chat"), Cow::Owned(token)) if token == "token"));
    assert_eq!((s.recover, s.offset, &*s.epoch), (true, u64::MAX, "xyz"));
    assert!(s.positioned && s.recoverable && s.join_leave);
    assert_eq!(s.data.map(RawValue::get), Some("null"));
}

#[test]
fn a_field_that_is_null_is_one_that_is_absent() {
    let fields = [
        ("connect", r#"{"token":null,"name":null,"version":null,"subs":null}"#),
        ("refresh", r#"{"token":null}"#),
        ("rpc", r#"{"method":null}"#),
    ];
    for (method, nulls) in fields {
        let command = |request: &str| one(&format!(r#"{{"id":1,"{method}":{request}}}"#));
        assert_eq!(command(nulls), command("{}"));
    }
    let with_channel = [
        (
            "subscribe",
            r#","token":null,"recover":null,"offset":null,"epoch":null,"positioned":null,"join_leave":null"#,
        ),
        ("history", r#","limit":null,"since":null,"reverse":null"#),
        ("history", r#","since":{"offset":null,"epoch":null}"#),
        ("sub_refresh", r#","token":null"#),
    ];
    for (method, nulls) in with_channel {
        let command = |rest: &str| one(&format!(r#"{{"id":1,"{method}":{{"channel":"c"{rest}}}}}"#));
        let absent = if nulls.contains("offset\":null,\"epoch\":null}") { r#","since":{}"# } else { "" };
        assert_eq!(command(nulls), command(absent), "{method}");
    }
}

#[test]
fn every_method_has_its_fields() {
    for (text, method) in [
        (r#"{"id":1,"unsubscribe":{"channel":"c"}}"#, r#"Unsubscribe(ChannelRequest { channel: "c" })"#),
        (r#"{"id":1,"presence":{"channel":"c"}}"#, r#"Presence(ChannelRequest { channel: "c" })"#),
        (r#"{"id":1,"presence_stats":{"channel":"c"}}"#, r#"PresenceStats(ChannelRequest { channel: "c" })"#),
        (
            r#"{"id":1,"publish":{"channel":"c","data":{"b": 1}}}"#,
            r#"Publish(Publish { channel: "c", data: RawValue({"b": 1}) })"#,
        ),
        (
            r#"{"id":1,"history":{"channel":"c","limit":-1,"since":{"offset":3,"epoch":"e"},"reverse":true}}"#,
            r#"History(History { channel: "c", limit: -1, since: Some(Since { offset: 3, epoch: "e" }), reverse: true })"#,
        ),
        (
            r#"{"id":1,"history":{"channel":"c"}}"#,
            r#"History(History { channel: "c", limit: 0, since: None, reverse: false })"#,
        ),
        (r#"{"id":1,"ping":{}}"#, "Ping"),
        (r#"{"id":1,"rpc":{"method":"m","data":2}}"#, r#"Rpc(Rpc { method: "m", data: Some(RawValue(2)) })"#),
        (r#"{"id":1,"refresh":{"token":"t"}}"#, r#"Refresh(Refresh { token: "t" })"#),
        (
            r#"{"id":1,"sub_refresh":{"channel":"c","token":"t"}}"#,
            r#"SubRefresh(SubRefresh { channel: "c", token: "t" })"#,
        ),
    ] {
        assert_eq!(one(text), (1, method.to_owned()));
    }
    assert_eq!(one(r#"{"send":{"data":[]}}"#), (0, "Send(Send { data: Some(RawValue([])) })".to_owned()));
    assert_eq!(one("{}"), (0, "Pong".to_owned()));
}

#[test]
fn a_message_holds_a_command_a_line_up_to_the_limit() {
    let ids = |message: &str| -> Vec<Result<u32, CommandError>> {
        Commands::new(message, 3).map(|command| command.map(|c| c.id)).collect()
    };
    assert_eq!(ids("{\"id\":1,\"ping\":{}}\n\n  \n{}\r\n{\"id\":2,\"ping\":{}}\n"), [Ok(1), Ok(0), Ok(2)]);
    assert_eq!(ids("{}\n{}\n{}\n{}"), [Ok(0), Ok(0), Ok(0), Err(CommandError::TooMany)]);
    assert_eq!(ids(""), []);
}

#[test]
fn a_command_that_breaks_the_protocol_ends_the_connection() {
    for (text, error) in [
        ("hello", CommandError::Malformed),
        ("[]", CommandError::Malformed),
        ("7", CommandError::Malformed),
        ("{} {}", CommandError::Malformed),
        (r#"{"id":-1,"ping":{}}"#, CommandError::Malformed),
        (r#"{"id":4294967296,"ping":{}}"#, CommandError::Malformed),
        (r#"{"id":1,"subscribe":{"channel":5}}"#, CommandError::Malformed),
        (r#"{"id":1,"subscribe":{"channel":"c","offset":1.5}}"#, CommandError::Malformed),
        (r#"{"id":1,"publish":{"channel":"c"}}"#, CommandError::Malformed),
        (r#"{"id":1,"ping":{},"ping":{}}"#, CommandError::Malformed),
        (r#"{"id":1,"ping":{},"presence":{"channel":"c"}}"#, CommandError::Ambiguous),
        (r#"{"id":1,"publish":{"channel":"c","data":1},"ping":{}}"#, CommandError::Ambiguous),
        (r#"{"ping":{}}"#, CommandError::MissingId),
        (r#"{"id":0,"publish":{"channel":"c","data":1}}"#, CommandError::MissingId),
        (r#"{"subscribe":{"channel":""}}"#, CommandError::MissingId),
    ] {
        assert_eq!(refused(text), (error, BAD_REQUEST), "{text}");
    }
}

#[test]
fn a_command_that_makes_no_sense_gets_an_error_and_the_connection_goes_on() {
    let reply = |code| Answer::Reply { id: 9, code };
    let refused = |text: &str| refused(text).1;
    assert_eq!(refused(r#"{"id":9}"#), reply(ErrorCode::MethodNotFound));
    assert_eq!(refused(r#"{"id":9,"teleport":{}}"#), reply(ErrorCode::MethodNotFound));
    let long = "x".repeat(MAX_CHANNEL_LENGTH + 1);
    for name in ["", "tab\\t", "caf\u{e9}", &long] {
        for method in ["subscribe", "unsubscribe", "presence", "presence_stats", "history", "sub_refresh"] {
            assert_eq!(
                refused(&format!(r#"{{"id":9,"{method}":{{"channel":"{name}"}}}}"#)),
                reply(ErrorCode::BadRequest)
            );
        }
        assert_eq!(
            refused(&format!(r#"{{"id":9,"publish":{{"channel":"{name}","data":1}}}}"#)),
            reply(ErrorCode::BadRequest)
        );
        assert_eq!(
            refused(&format!(r#"{{"id":9,"connect":{{"subs":{{"{name}":{{}}}}}}}}"#)),
            reply(ErrorCode::BadRequest)
        );
    }
}

#[test]
fn nesting_is_judged_outside_of_strings() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"id":1,"publish":{{"channel":"c","data":{open}"[[\"[[["{close}}}}}"#)
    };
    assert_eq!(one(&nested(MAX_DEPTH - 2)).0, 1);
    assert_eq!(refused(&nested(MAX_DEPTH - 1)), (CommandError::TooDeep, BAD_REQUEST));
    assert_eq!(refused(&r#"{"a":"#.repeat(100_000)).0, CommandError::TooDeep);
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(\\{|\\}|\\[|\\]|\"|:|,|\n|id|1|subscribe|channel|ping|data|null|[ -~]){0,40}") {
        prop_assert!(Commands::new(&text, 5).count() <= 41);
    }

    #[test]
    fn a_published_document_comes_out_as_it_went_in(document in "[ -~\u{e9}]{0,40}") {
        let document = serde_json::json!({ "text": document }).to_string();
        let text = format!(r#"{{"id":1,"publish":{{"channel":"c","data":{document}}}}}"#);
        let commands = all(&text);
        let [Ok(Command { id: 1, method: Method::Publish(publish) })] = &commands[..] else { panic!("{commands:?}") };
        prop_assert_eq!(publish.data.get(), document);
    }
}

#[test]
fn lines_of_whitespace_are_no_commands_and_any_other_that_is_no_object_is_malformed() {
    let ids: Vec<_> = all("\n \t\r\n\n  {\"id\":1,\"ping\":{}}\r\n\n\n{\"id\":2,\"ping\":{}} \n\n")
        .into_iter()
        .map(|command| command.unwrap().id)
        .collect();
    assert_eq!((ids, all(&"\n".repeat(65_536)).len()), (vec![1, 2], 0));
    assert_eq!(refused("\n\u{c}\n"), (CommandError::Malformed, BAD_REQUEST));
}
