//! Who may do what in which channel, whatever protocol asks.

use crate::config::{Audience, ChannelOptions, Entrants};

/// Of channels that need a token of their own. It stands before the name, or behind its namespace.
const PRIVATE: char = '$';
/// Ends the name of a namespace.
const NAMESPACE: char = ':';
/// Before the users of a channel that is theirs alone, and between them.
const USERS: char = '#';
const USER: char = ',';

/// What a channel's name says: `$` makes it private, `news:today` is of the namespace `news`, `talk#ada,bob` is for these users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelName<'a> {
    /// Whose options it has.
    pub namespace: Option<&'a str>,
    /// A token has to name it.
    pub is_private: bool,
    users: Option<&'a str>,
}

impl<'a> ChannelName<'a> {
    /// Takes a name apart.
    #[must_use]
    pub fn of(name: &'a str) -> Self {
        if !name.contains([PRIVATE, NAMESPACE, USERS]) {
            return Self { namespace: None, is_private: false, users: None };
        }
        let bare = name.strip_prefix(PRIVATE).unwrap_or(name);
        let users = bare.rsplit_once(USERS).map(|(_, users)| users);
        let topic = bare.split_once(USERS).map_or(bare, |(topic, _)| topic);
        let (namespace, rest) = match topic.split_once(NAMESPACE) {
            Some((namespace, rest)) => (Some(namespace), rest),
            None => (None, topic),
        };
        Self { namespace, is_private: bare.len() < name.len() || rest.starts_with(PRIVATE), users }
    }

    /// Whether a user may enter without a token for this channel; an anonymous one is the empty string.
    #[must_use]
    pub fn admits(self, user: &str) -> bool {
        !self.is_private
            && self.users.is_none_or(|users| !user.is_empty() && users.split(USER).any(|one| one == user))
    }
}

/// Whether a client may subscribe to a channel with these options without a token for it; an anonymous user is the empty string.
#[must_use]
pub fn may_enter(options: &ChannelOptions, channel: &str, user: &str) -> bool {
    let is_entrant = match options.subscribe {
        Entrants::Tokens => false,
        Entrants::Users => !user.is_empty(),
        Entrants::Clients => true,
    };
    is_entrant && ChannelName::of(channel).admits(user)
}

/// Whether a client belongs to an audience in a channel with these options.
#[must_use]
pub fn is_among(
    audience: Audience,
    options: &ChannelOptions,
    channel: &str,
    user: &str,
    is_subscribed: bool,
) -> bool {
    match audience {
        Audience::Server => false,
        Audience::Subscribers => is_subscribed,
        Audience::Users => !user.is_empty() && (is_subscribed || may_enter(options, channel, user)),
        Audience::Clients => is_subscribed || may_enter(options, channel, user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_namespace_whether_it_is_private_and_for_whom_it_is() {
        let name = |namespace, is_private, users| ChannelName { namespace, is_private, users };
        let cases = [
            ("chat", name(None, false, None)),
            ("news:today", name(Some("news"), false, None)),
            ("news:today:late", name(Some("news"), false, None)),
            ("$chat", name(None, true, None)),
            ("$news:today", name(Some("news"), true, None)),
            ("news:$today", name(Some("news"), true, None)),
            ("a$b", name(None, false, None)),
            ("#ada", name(None, false, Some("ada"))),
            ("talk#ada,bob", name(None, false, Some("ada,bob"))),
            ("news:talk#a:b", name(Some("news"), false, Some("a:b"))),
            ("a#b#ada", name(None, false, Some("ada"))),
            ("$news:talk#ada", name(Some("news"), true, Some("ada"))),
        ];
        for (channel, expected) in cases {
            assert_eq!(ChannelName::of(channel), expected, "{channel}");
        }
    }

    #[test]
    fn who_is_not_named_stays_out_and_anonymous_is_nobodys_name() {
        let admits = |channel, user| ChannelName::of(channel).admits(user);
        assert!(admits("chat", "") && admits("talk#ada,bob", "bob") && admits("news:#ada", "ada"));
        for (channel, user) in [
            ("talk#ada,bob", "eve"),
            ("talk#ada,bob", "ada,bob"),
            ("talk#ada,bob", "ad"),
            ("talk#", ""),
            ("talk#,ada", ""),
            ("#ada", ""),
            ("$chat", "ada"),
            ("$talk#ada", "ada"),
            ("news:$talk", "ada"),
        ] {
            assert!(!admits(channel, user), "{user:?} in {channel}");
        }
    }

    #[test]
    fn a_channel_is_entered_without_a_token_by_those_whom_both_its_options_and_its_name_admit() {
        for (subscribe, admitted) in [
            (Entrants::Tokens, [false, false, false, false]),
            (Entrants::Users, [false, true, true, false]),
            (Entrants::Clients, [true, true, true, false]),
        ] {
            let options = ChannelOptions { subscribe, ..ChannelOptions::default() };
            let cases = [("chat", ""), ("chat", "ada"), ("talk#ada", "ada"), ("$chat", "ada")];
            let may = cases.map(|(channel, user)| may_enter(&options, channel, user));
            assert_eq!(may, admitted, "{subscribe:?}");
        }
    }

    #[test]
    fn every_client_is_among_an_audience_only_where_every_client_may_enter() {
        let options = ChannelOptions::default();
        for (channel, user, outside, inside) in [
            ("chat", "", [false, false, false, true], [false, true, false, true]),
            ("chat", "ada", [false, false, true, true], [false, true, true, true]),
            ("$chat", "ada", [false; 4], [false, true, true, true]),
            ("talk#ada", "ada", [false, false, true, true], [false, true, true, true]),
            ("talk#ada", "eve", [false; 4], [false, true, true, true]),
        ] {
            let audiences = [Audience::Server, Audience::Subscribers, Audience::Users, Audience::Clients];
            let among = |inside| audiences.map(|one| is_among(one, &options, channel, user, inside));
            assert_eq!([among(false), among(true)], [outside, inside], "{user:?} in {channel}");
        }
    }
}
