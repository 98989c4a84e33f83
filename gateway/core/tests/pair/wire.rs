//! What is said in a conversation, as it is on the wire.

use serde_json::{Value, json};

use crate::{
    node::Frame,
    tokens::sign,
    vocabulary::{BRIEF, Channel, Command, Name, Sight, Token},
};

/// A command as a client writes it at that time.
pub fn line(id: u32, command: Command, unix_seconds: u64) -> String {
    let of = |method: &str, channel: Channel| json!({"id": id, method: {"channel": channel.name()}});
    let token = |token, channel| write_token(token, channel, unix_seconds);
    let line = match command {
        Command::Connect(kind) => json!({"id": id, "connect": {"token": token(kind, None)}}),
        Command::Subscribe { channel, token: kind, recover } => {
            let mut line = of("subscribe", channel);
            line["subscribe"]["token"] = token(kind, Some(channel)).into();
            if recover {
                line["subscribe"]["recover"] = true.into();
                line["subscribe"]["epoch"] = "e".into();
            }
            line
        }
        Command::Unsubscribe(channel) => of("unsubscribe", channel),
        Command::Publish(channel) => {
            let mut line = of("publish", channel);
            line["publish"]["data"] = 0.into();
            line
        }
        Command::Presence(channel) => of("presence", channel),
        Command::PresenceStats(channel) => of("presence_stats", channel),
        Command::History(channel) => of("history", channel),
        Command::Ping => json!({"id": id, "ping": {}}),
        Command::Rpc => json!({"id": id, "rpc": {"method": "m"}}),
        Command::Send => json!({"send": {"data": 0}}),
        Command::Refresh(kind) => json!({"id": id, "refresh": {"token": token(kind, None)}}),
        Command::SubRefresh { channel, token: kind } => {
            let mut line = of("sub_refresh", channel);
            line["sub_refresh"]["token"] = token(kind, Some(channel)).into();
            line
        }
        Command::Pong => json!({}),
        Command::Unheard => json!({"id": id, "unheard": {}}),
        Command::Malformed => return "{".to_owned(),
    };
    line.to_string()
}

/// A connection token, or a subscription token for a channel.
fn write_token(token: Token, channel: Option<Channel>, unix_seconds: u64) -> String {
    let name = if channel.is_some() { Name::Subscription(token) } else { Name::Connection(token) };
    let mut claims = json!({"sub": "ada", "jti": name.text()});
    if let Some(channel) = channel {
        claims["channel"] = json!(channel.name());
    }
    match token {
        Token::Absent => return String::new(),
        Token::Good => {}
        Token::Brief => claims["exp"] = json!(unix_seconds + BRIEF),
        Token::Nameless => claims["sub"] = json!(""),
        Token::Subscribing => claims["channels"] = json!(["$server", "news:server"]),
        Token::SubscribingToUnknown => claims["channels"] = json!(["unheard:of"]),
        Token::SubscribingToMany => claims["channels"] = json!(["a", "b", "c", "d", "e"]),
        Token::Expired => claims["exp"] = json!(1_000),
        Token::Forged => return format!("{}x", sign(&claims)),
        Token::Foreign if channel.is_some() => claims["sub"] = json!("eve"),
        Token::Foreign => claims["nbf"] = json!(9_000_000_000_u64),
        Token::Misplaced => claims["channel"] = json!("elsewhere"),
    }
    sign(&claims)
}

/// What a client sees of a frame.
pub fn sights(frame: &Frame) -> Vec<Sight> {
    match frame {
        Frame::Close(code, _) => vec![Sight::Close(*code)],
        Frame::Compressed(message) => sights(message),
        frame => frame.lines().iter().map(sight).collect(),
    }
}

fn sight(line: &Value) -> Sight {
    const METHODS: [&str; 10] = [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "presence_stats",
        "history",
        "ping",
        "refresh",
        "sub_refresh",
    ];
    let push = &line["push"];
    let channel = || push["channel"].as_str().expect("a channel").to_owned();
    if push["pub"].is_object() {
        return Sight::Publication(channel());
    }
    if push["unsubscribe"].is_object() {
        let code = push["unsubscribe"]["code"].as_u64().expect("a code");
        return Sight::Unsubscribed(channel(), code);
    }
    let id = u32::try_from(line["id"].as_u64().expect("an id")).expect("one of ours");
    if line["error"].is_object() {
        return Sight::Error(id, line["error"]["code"].as_u64().expect("a code"));
    }
    let method = METHODS.into_iter().find(|method| line[method].is_object());
    Sight::Reply(id, method.unwrap_or_else(|| panic!("no answer: {line}")))
}
