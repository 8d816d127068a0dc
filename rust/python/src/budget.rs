//! How much one socket may do in one turn of the loop before the others have theirs.

/// Counts what a socket did since the turn began.
#[derive(Default)]
pub struct Budget {
    turn: u64,
    spent: usize,
}

impl Budget {
    /// Whether something is left for this `turn`; turn 0 is nobody's, and has no end.
    pub fn allows(&mut self, turn: u64) -> bool {
        if self.turn != turn || turn == 0 {
            self.turn = turn;
            self.spent = 0;
        }
        self.spent < PER_TURN
    }

    /// Notes an attempt that moved `bytes`.
    pub fn spend(&mut self, bytes: usize) {
        self.spent += PER_ATTEMPT + bytes;
    }
}

impl Budget {
    /// Notes a message that moved by itself, of which a turn may have more: they come in batches, and cost less than a stream's.
    pub fn spend_message(&mut self, bytes: usize) {
        self.spent += PER_ATTEMPT / 4 + bytes;
    }
}

/// 64 small messages, or two megabytes.
const PER_TURN: usize = 2 << 20;
const PER_ATTEMPT: usize = PER_TURN / 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_64_attempts_and_a_new_one_begins_afresh() {
        let mut budget = Budget::default();
        for _ in 0..64 {
            assert!(budget.allows(1));
            budget.spend(0);
        }
        assert!(!budget.allows(1));
        assert!(budget.allows(2));
    }

    #[test]
    fn large_reads_use_it_up_sooner() {
        let mut budget = Budget::default();
        budget.spend(PER_TURN);
        assert!(budget.allows(1), "what was spent before this turn does not count");
        budget.spend(PER_TURN);
        assert!(!budget.allows(1));
    }
}
