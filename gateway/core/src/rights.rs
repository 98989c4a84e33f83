//! Who may do what in which channel, whatever protocol asks.

use crate::config::Publishers;

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

/// Whether a client may publish to a channel whose options name these publishers.
#[must_use]
pub fn may_publish(publishers: Publishers, channel: &str, user: &str, is_subscribed: bool) -> bool {
    match publishers {
        Publishers::Server => false,
        Publishers::Subscribers => is_subscribed,
        Publishers::Clients => is_subscribed || ChannelName::of(channel).admits(user),
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
    fn every_client_may_publish_only_where_every_client_may_enter() {
        for (channel, user, outside, inside) in [
            ("chat", "", true, true),
            ("$chat", "ada", false, true),
            ("talk#ada", "ada", true, true),
            ("talk#ada", "eve", false, true),
        ] {
            let may = |publishers, inside| may_publish(publishers, channel, user, inside);
            assert_eq!(
                [may(Publishers::Clients, false), may(Publishers::Clients, true)],
                [outside, inside],
                "{user:?} in {channel}"
            );
            assert_eq!([may(Publishers::Subscribers, false), may(Publishers::Server, true)], [false, false]);
        }
    }
}
