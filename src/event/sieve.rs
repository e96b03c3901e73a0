//! Whether a name may be among some: a Bloom filter with one look, for the many questions that are answered no.

/// The names that were put in, as far as 256 bits can tell them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sieve([u64; 4]);

impl Sieve {
    /// Puts a name in.
    pub(crate) fn add(&mut self, name: &str) {
        let (word, bit) = place(name);
        self.0[word] |= bit;
    }

    /// `false`: the name was not put in. `true`: look for it.
    pub(crate) fn may_hold(&self, name: &str) -> bool {
        let (word, bit) = place(name);
        self.0[word] & bit != 0
    }
}

/// Names of events differ in length and in their last letters, hardly in their first: `container_`, `proc.`.
fn place(name: &str) -> (usize, u64) {
    let bytes = name.as_bytes();
    let at = |back: usize| bytes.len().checked_sub(back).map_or(0, |place| u32::from(bytes[place]));
    let mixed = (at(1) | at(2) << 8 | at(4) << 16 | (bytes.len() as u32) << 24).wrapping_mul(0x9e37_79b1);
    ((mixed >> 30) as usize, 1 << (mixed >> 24 & 63))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_in_is_never_denied(names in prop::collection::vec(".{0,12}", 0..60)) {
            let mut sieve = Sieve::default();
            names.iter().for_each(|name| sieve.add(name));
            prop_assert!(names.iter().all(|name| sieve.may_hold(name)));
        }
    }

    #[test]
    fn most_of_what_was_not_put_in_is_denied() {
        let mut sieve = Sieve::default();
        (0..50).for_each(|n| sieve.add(&format!("proc.name[{n}]")));
        let wrong = (0..1_000).filter(|n| sieve.may_hold(&format!("label.of.another.kind.{n}"))).count();
        assert!(wrong < 300, "{wrong}");
    }
}
