//! Why there is no connection to Redis, for the log and for whoever reads the cluster's status.

use std::{io, time::Duration};

use gateway_core::{control::BackplaneTrouble, resp::Malformed};
use tokio_rustls::rustls;

use super::{server::InvalidRedis, tls::TlsFailure};

/// For all of the way to a connection.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Why a connection is not to be had, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A file is not as it should be.
    #[error(transparent)]
    Invalid(#[from] InvalidRedis),
    #[error("{0} within {CONNECT_WITHIN:?}")]
    TimedOut(Step),
    #[error(transparent)]
    Tls(TlsFailure),
    #[error(
        "the connection was closed before the login; where it is a port for TLS, write rediss:// instead of redis://"
    )]
    ClosedBeforeLogin,
    /// An error of Redis's, in its words.
    #[error("{}{}", .0, remedy(.0))]
    Refused(String),
    #[error("Redis closed the connection")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Socket(io::Error),
    /// Something else than what was asked for.
    #[error("{0}")]
    Unexpected(String),
    /// This node ended it.
    #[error("{0}")]
    GivenUp(&'static str),
}

/// What took too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Step {
    #[error("the files with the credentials could not be read")]
    Files,
    #[error("no connection")]
    Socket,
    #[error("no handshake; is it a port for TLS? None")]
    Tls,
    #[error("no answer")]
    Login,
}

impl Failure {
    /// Its kind, by which the operator names it.
    pub(super) fn trouble(&self) -> BackplaneTrouble {
        match self {
            Self::Tls(failure) => failure.trouble(),
            Self::Refused(error) if is_denied(error) => BackplaneTrouble::AccessDenied,
            _ => BackplaneTrouble::Unreachable,
        }
    }

    /// Other credentials might have helped.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Refused(error) if is_denied(error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::Tls(tls.into()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Socket(error),
        }
    }
}

/// Whether Redis said that this gateway may not do so, in a command or in the middle of a script (which 7.0 says in other words than 7.2).
pub(super) fn is_denied(error: &str) -> bool {
    let code = error.split(' ').next().unwrap_or_default();
    ["WRONGPASS", "NOAUTH", "NOPERM"].contains(&code)
        || error.contains("The user executing the script can't")
        || error.contains("ACL failure in script")
}

fn remedy(error: &str) -> &'static str {
    match error.split(' ').next() {
        Some("WRONGPASS") => {
            " (the password is that of --redis-password-file, or of --redis-url without one)"
        }
        Some("NOAUTH") => " (give --redis-password-file)",
        _ if is_denied(error) => " (docs/operations.md lists what the user of a gateway needs)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_denies_is_told_from_what_it_can_t_do_and_comes_with_a_remedy() {
        let denied = [
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOAUTH Authentication required.",
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:1.",
            "ERR ACL failure in script: User gw has no permissions to run the 'xadd' command",
        ];
        for error in denied {
            let failure = Failure::Refused(error.to_owned());
            assert!(failure.is_denied(), "{error}");
            assert_eq!(failure.trouble(), BackplaneTrouble::AccessDenied);
            assert!(failure.to_string().starts_with(&format!("{error} (")), "{failure}");
        }
        for error in ["OOM command not allowed", "LOADING Redis is loading", "ERR unknown command"] {
            let failure = Failure::Refused(error.to_owned());
            assert_eq!(
                (failure.trouble(), failure.to_string()),
                (BackplaneTrouble::Unreachable, error.to_owned())
            );
        }
    }
}
