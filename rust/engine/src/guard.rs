//! When a connection must be cut: it sends no first message, nothing at all, too little, or takes nothing of what it is sent. No clock
//! and no socket in here: `now` is an argument, and what moved is found by comparing counters with those of the last check.
//!
//! To be checked about twice a second. What counts against a peer is *watched* time: between two checks, at most `UNSEEN` of it. If the
//! program blocked its event loop for 20 s, the peer could not be heard, so those are 2 s for it, and the first check afterwards cuts
//! nobody: what the peer sent meanwhile is still in the kernel. For the first three rules it is also only the time in which the
//! application waited to receive, at both checks: a peer that waits for a slow answer is no idler.
//!
//! The promises, with checks every 0.5 s, for an application that waits all along:
//! - first message: cut at `first_message` after the accept, at most one check later, however busily the peer drips.
//! - idle: cut when neither direction moved for `idle`, at most two checks later.
//! - slow: inside a message time is divided into windows of `slow_window`, the first from the check that found the message begun; one in
//!   which fewer than `slowest_bytes_per_second * slow_window` bytes came is the last. A peer that is always as fast as that is never cut;
//!   one that becomes slower is within two windows and two checks.
//! - write stalled: cut when something was queued and the kernel took nothing for `write_stalled`, at most two checks later.
//!
//! What it cannot see:
//! - whether the bytes mean anything: a peer that sends a byte of garbage a minute is not idle, and one at 501 B/s is not slow.
//! - who moved: an application that sends into a dead connection keeps it from being idle while the kernel takes it. TCP_USER_TIMEOUT
//!   and write stalled end that.
//! - where a message ends, if the next has begun by the next check: a peer that is always inside some small message is measured as if
//!   it were one.
//! - bytes that the kernel acknowledged and the engine has not read.

use std::time::{Duration, Instant};

/// A bound of `Duration::MAX` or 0 = never.
#[derive(Debug, Clone, Copy)]
pub struct GuardLimits {
    pub first_message: Duration,
    pub idle: Duration,
    pub slow_window: Duration,
    pub write_stalled: Duration,
    pub slowest_bytes_per_second: u64,
}

/// How a connection stands at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Bytes that came, since the connection began.
    pub received: u64,
    /// Bytes that the kernel took, since the connection began.
    pub sent: u64,
    /// The application waits to receive; or the engine does, for a handshake.
    pub waiting: bool,
    /// A message has begun to arrive and is not whole.
    pub inside: bool,
    /// Something is queued in the process.
    pub unsent: bool,
    /// At least one message was received whole.
    pub messages: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    FirstMessage,
    Idle,
    Slow,
    WriteStalled,
}

/// One connection's. Times are nanoseconds of watched time: half the size of a `Duration`.
pub struct Guard {
    checked: Instant,
    /// The counters at the last check.
    received: u64,
    sent: u64,
    /// Waited for the first message.
    waited: u64,
    /// Waited since something moved.
    quiet: u64,
    /// In this window of a message, and what had come before it.
    window: u64,
    window_received: u64,
    /// Since the kernel took something.
    stalled: u64,
    accepted: bool,
    /// What held at the last check.
    waiting: bool,
    inside: bool,
    unsent: bool,
    /// The last check came late, and cut nobody for that.
    spared: bool,
}

impl Guard {
    /// `accepted`: the peer called. Of peers that were called only a stalled write is held against them.
    pub fn new(accepted: bool, now: Instant) -> Self {
        Self {
            checked: now,
            received: 0,
            sent: 0,
            waited: 0,
            quiet: 0,
            window: 0,
            window_received: 0,
            stalled: 0,
            accepted,
            waiting: true, // The clock runs from the accept, and the first check finds whether the application was so quick.
            inside: false,
            unsent: false,
            spared: false,
        }
    }

    /// Whether it must be cut now. After a cut it goes on saying so until something moves.
    pub fn check(&mut self, facts: &Facts, limits: &GuardLimits, now: Instant) -> Option<Cut> {
        let passed = now.saturating_duration_since(self.checked);
        self.pass(facts, nanoseconds(passed.min(UNSEEN)));
        if self.window >= nanoseconds(limits.slow_window) && self.enough(facts, limits) {
            self.open_window(facts.received);
        }
        self.remember(facts, now);
        // Never twice: a program whose every turn is that long must not keep its peers for ever.
        self.spared = passed > UNSEEN && !self.spared;
        let over = self.rules(facts, limits).into_iter().flatten().find(|(_, passed, bound)| passed >= bound);
        over.map(|(cut, _, _)| cut).filter(|_| !self.spared)
    }

    /// When to check again at the latest, for a caller that sleeps until something happens; None when time alone changes nothing.
    pub fn due(&self, facts: &Facts, limits: &GuardLimits, now: Instant) -> Option<Instant> {
        let left =
            self.rules(facts, limits).into_iter().flatten().map(|(_, passed, bound)| bound.saturating_sub(passed));
        // Sleeping is watching only as long as the sleep is shorter than what counts.
        left.min().map(|left| now + Duration::from_nanos(left).min(UNSEEN / 2))
    }

    fn pass(&mut self, facts: &Facts, step: u64) {
        let waited = if facts.waiting && self.waiting { step } else { 0 };
        let moved = facts.received != self.received || facts.sent != self.sent;
        self.waited += waited;
        self.quiet = if moved { 0 } else { self.quiet + waited };
        self.stalled = if facts.unsent && self.unsent && facts.sent == self.sent { self.stalled + step } else { 0 };
        if facts.inside && self.inside {
            self.window += waited;
        } else {
            // What came before this check of a message that began since the last one is counted in its favour.
            self.open_window(self.received);
        }
    }

    /// The rules that hold at the moment: what each cuts for, the time that has passed, and its bound.
    fn rules(&self, facts: &Facts, limits: &GuardLimits) -> [Option<(Cut, u64, u64)>; 4] {
        let listening = self.accepted && facts.waiting;
        let rule = |holds: bool, cut, passed, bound: Duration| {
            (holds && bound != Duration::MAX && !bound.is_zero()).then(|| (cut, passed, nanoseconds(bound)))
        };
        [
            rule(listening && !facts.messages, Cut::FirstMessage, self.waited, limits.first_message),
            rule(
                listening && facts.inside && limits.slowest_bytes_per_second > 0,
                Cut::Slow,
                self.window,
                limits.slow_window,
            ),
            rule(listening, Cut::Idle, self.quiet, limits.idle),
            rule(facts.unsent, Cut::WriteStalled, self.stalled, limits.write_stalled),
        ]
    }

    fn remember(&mut self, facts: &Facts, now: Instant) {
        self.checked = now;
        self.received = facts.received;
        self.sent = facts.sent;
        self.waiting = facts.waiting;
        self.inside = facts.inside;
        self.unsent = facts.unsent;
    }

    fn open_window(&mut self, received: u64) {
        self.window = 0;
        self.window_received = received;
    }

    fn enough(&self, facts: &Facts, limits: &GuardLimits) -> bool {
        let came = u128::from(facts.received.saturating_sub(self.window_received));
        came * NANOSECONDS >= u128::from(limits.slowest_bytes_per_second) * limits.slow_window.as_nanos()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The longest that a check may come after the last one for the time between to count in full.
const UNSEEN: Duration = Duration::from_secs(2);
const NANOSECONDS: u128 = 1_000_000_000;
