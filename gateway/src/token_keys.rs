//! Keys of clients' tokens that are exchanged while the gateway runs: their files are looked at again and again, since the way in which
//! a Secret's volume changes, by a symbolic link to another directory, is seen like that on every file system.

use std::{io, os::unix::fs::MetadataExt as _, path::Path, rc::Rc, time::Duration};

use tokio::{task::spawn_blocking, time::MissedTickBehavior};

use crate::{
    policies::{ExchangeError, Policies},
    settings::{SettingsError, TokenKeyFiles, TokenKeys},
};

/// Between two looks. A file that has changed is read once it looks the same twice, so that none is read that is being written.
const LOOK: Duration = Duration::from_secs(2);

/// What tells one content of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Whether what is looked at is to be read now.
#[derive(Debug)]
struct Watch<V> {
    seen: V,
    read: V,
}

impl<V: PartialEq> Watch<V> {
    /// Takes what is seen now.
    fn look(&mut self, now: V) -> bool {
        let is_settled = self.seen == now;
        self.seen = now;
        is_settled && self.seen != self.read
    }

    /// What was seen last has been read.
    fn done(&mut self)
    where
        V: Clone,
    {
        self.read = self.seen.clone();
    }
}

/// Has the policy exchanged whenever the keys in these files are others than these. Keys that can't be read are told of, and the ones
/// before them stay in force.
pub async fn follow(files: TokenKeyFiles, mut in_force: TokenKeys, policies: Rc<Policies>) {
    let mut watch = Watch { seen: None, read: None };
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // A file system may be slow, and this thread answers probes.
        let paths = files.clone();
        let versions = spawn_blocking(move || paths.paths().map(|path| Version::of(path).ok()).collect());
        let versions: Vec<_> = versions.await.unwrap_or_default();
        if !watch.look(Some(versions)) {
            continue;
        }
        let paths = files.clone();
        let Ok(read) = spawn_blocking(move || paths.read()).await else { continue };
        match exchange(&policies, read, &mut in_force).await {
            Err(ExchangeError::Busy) => continue,
            Err(ExchangeError::Keys(error)) => tracing::warn!("keys of tokens stay as they are: {error}"),
            Err(ExchangeError::Invalid(error)) => tracing::warn!("keys of tokens stay as they are: {error}"),
            Ok(()) => {}
        }
        watch.done();
    }
}

async fn exchange(
    policies: &Rc<Policies>,
    read: Result<TokenKeys, SettingsError>,
    in_force: &mut TokenKeys,
) -> Result<(), ExchangeError> {
    let read = read?;
    if read != *in_force {
        policies.clone().exchange_keys(read.parse()?).await?;
        tracing::info!("keys of tokens read again");
        *in_force = read;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_read_once_when_it_has_settled() {
        let mut watch = Watch { seen: 'a', read: 'a' };
        let looks = "aabcccbbbaa".chars().map(|now| {
            let is_due = watch.look(now);
            if is_due {
                watch.done();
            }
            if is_due { 'x' } else { '-' }
        });
        assert_eq!(looks.collect::<String>(), "----x--x--x");
    }
}
