//! What was used before: token hashes and nonces, each until it would have expired anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A bounded memory of used things. When it is full of things still valid, nothing more is let in.
#[derive(Debug)]
pub struct Seen {
    used: Mutex<HashMap<[u8; 32], i64>>,
    limit: usize,
}

/// What became of a claim to be the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is the first.
    First,
    /// It was used before.
    Again,
    /// There is no room to remember it: refuse, and say to come back.
    Full,
}

impl Seen {
    /// Room for so many.
    pub fn new(limit: usize) -> Self {
        Self { used: Mutex::new(HashMap::new()), limit }
    }

    /// Takes `what`, which ends at `until`; Unix seconds.
    pub fn take(&self, what: [u8; 32], until: i64, now: i64) -> Use {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(&what).is_some_and(|until| *until > now) {
            return Use::Again;
        }
        if used.len() >= self.limit {
            used.retain(|_, until| *until > now);
            if used.len() >= self.limit {
                return Use::Full;
            }
        }
        used.insert(what, until);
        Use::First
    }

    /// Gives back what was taken, when nothing was released for it.
    pub fn give_back(&self, what: &[u8; 32]) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_until_it_ends_and_never_more_than_there_is_room() {
        let seen = Seen::new(2);
        assert_eq!(seen.take([1; 32], 100, 10), Use::First);
        assert_eq!(seen.take([1; 32], 100, 99), Use::Again);
        assert_eq!(seen.take([2; 32], 50, 10), Use::First);
        assert_eq!(seen.take([3; 32], 50, 10), Use::Full);
        assert_eq!(seen.take([3; 32], 90, 60), Use::First);
        seen.give_back(&[3; 32]);
        assert_eq!(seen.take([3; 32], 90, 60), Use::First);
    }
}
