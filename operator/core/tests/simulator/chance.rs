//! Chance that depends on nothing but a seed and on what it is asked about: a history that is made shorter keeps the chances of the rest.

#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below `bound`, which is not 0.
    pub fn below(self, bound: usize, about: [i64; 3]) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.number(about) % bound).unwrap()
    }

    pub fn happens(self, percent: u8, about: [i64; 3]) -> bool {
        self.below(100, about) < usize::from(percent)
    }

    /// SplitMix64 over what it is asked about.
    fn number(self, about: [i64; 3]) -> u64 {
        about.iter().fold(self.0, |state, part| {
            let mut mixed = (state ^ part.cast_unsigned()).wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }
}
