//! A set of shards.

/// Shards by index, all below [`ShardSet::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u128);

impl ShardSet {
    /// Shards that a set can tell apart.
    pub const MAX: usize = 128;

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds a shard.
    pub fn insert(&mut self, shard: u16) {
        self.0 |= bit(shard);
    }

    /// Takes a shard out.
    pub fn remove(&mut self, shard: u16) {
        self.0 &= !bit(shard);
    }

    /// The shards, ascending.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let shard = u16::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest - 1;
            Some(shard)
        })
    }
}

fn bit(shard: u16) -> u128 {
    1u128.checked_shl(u32::from(shard)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_yields_what_was_inserted_and_not_removed_in_order() {
        let mut set = ShardSet::default();
        for shard in [127, 3, 0, 3] {
            set.insert(shard);
        }
        set.remove(0);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 127]);
        set.remove(3);
        set.remove(127);
        assert!(set.is_empty());
    }
}
