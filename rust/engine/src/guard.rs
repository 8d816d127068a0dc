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
//!   which fewer than `slowest_bytes_per_second * slow_window` bytes came is the last. A peer that sends so many in every span of that
//!   length is never cut; one that becomes slower is within two windows and two checks.
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

    /// When to check again at the latest, for a caller that has just checked and sleeps until something happens; None when time alone
    /// changes nothing.
    pub fn due(&self, facts: &Facts, limits: &GuardLimits, now: Instant) -> Option<Instant> {
        let left =
            self.rules(facts, limits).into_iter().flatten().map(|(_, passed, bound)| bound.saturating_sub(passed));
        // Sleeping is watching only as long as the sleep is shorter than what counts.
        left.min().map(|left| now.max(self.checked + Duration::from_nanos(left).min(UNSEEN / 2)))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GuardLimits = GuardLimits {
        first_message: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        slow_window: Duration::from_secs(10),
        write_stalled: Duration::from_secs(30),
        slowest_bytes_per_second: 500,
    };
    const TICK: u64 = 500;

    /// A guard, its clock, and the facts that it is shown.
    struct Watch {
        guard: Guard,
        limits: GuardLimits,
        facts: Facts,
        start: Instant,
        now: Instant,
    }

    impl Watch {
        fn new(facts: Facts) -> Self {
            let now = Instant::now();
            Self { guard: Guard::new(true, now), limits: LIMITS, facts, start: now, now }
        }

        /// Past the first message.
        fn talking(facts: Facts) -> Self {
            Self::new(Facts { messages: true, ..facts })
        }

        fn after(&mut self, milliseconds: u64) -> Option<Cut> {
            self.now += Duration::from_millis(milliseconds);
            self.guard.check(&self.facts, &self.limits, self.now)
        }

        /// Checks each tick, after `each` has changed the facts, until a cut: which, and after how many milliseconds from here.
        fn cut(&mut self, longest: u64, mut each: impl FnMut(&mut Facts)) -> Option<(Cut, u64)> {
            (1..=longest / TICK).find_map(|tick| {
                each(&mut self.facts);
                self.after(TICK).map(|cut| (cut, tick * TICK))
            })
        }

        fn nothing(&mut self, milliseconds: u64) -> Option<(Cut, u64)> {
            self.cut(milliseconds, |_| {})
        }

        fn due(&self) -> Option<Duration> {
            self.guard.due(&self.facts, &self.limits, self.now).map(|due| due - self.now)
        }
    }

    const WAITING: Facts = Facts { waiting: true, received: 0, sent: 0, inside: false, unsent: false, messages: false };

    #[test]
    fn is_small() {
        assert_eq!(size_of::<Guard>(), 80);
    }

    #[test]
    fn the_first_message_has_its_time_to_the_tick() {
        let mut watch = Watch::new(WAITING);
        assert_eq!(watch.nothing(9500), None);
        assert_eq!(watch.after(499), None);
        assert_eq!(watch.after(1), Some(Cut::FirstMessage));
        assert_eq!(watch.after(1), Some(Cut::FirstMessage));
    }

    #[test]
    fn dripping_does_not_help_the_first_message() {
        let mut watch = Watch::new(Facts { inside: true, ..WAITING });
        assert_eq!(watch.cut(60_000, |facts| facts.received += 1000), Some((Cut::FirstMessage, 10_000)));
    }

    #[test]
    fn a_first_message_in_time_ends_that_rule() {
        let mut watch = Watch::new(WAITING);
        assert_eq!(watch.nothing(9500), None);
        watch.facts = Facts { received: 5, messages: true, ..WAITING };
        assert_eq!(watch.nothing(60_000), None);
    }

    #[test]
    fn an_application_that_does_not_wait_stops_the_clock() {
        let mut watch = Watch::new(WAITING);
        assert_eq!(watch.nothing(5000), None);
        watch.facts.waiting = false;
        assert_eq!(watch.nothing(600_000), None);
        watch.facts.waiting = true;
        // The check that finds it waiting again starts the clock.
        assert_eq!(watch.nothing(60_000), Some((Cut::FirstMessage, 5500)));
    }

    #[test]
    fn idle_to_the_tick_and_any_movement_starts_anew() {
        let moves: [fn(&mut Facts); 2] = [|facts| facts.received += 1, |facts| facts.sent += 1];
        for moved in moves {
            let mut watch = Watch::talking(WAITING);
            assert_eq!(watch.nothing(299_500), None);
            moved(&mut watch.facts);
            assert_eq!(watch.after(TICK), None);
            assert_eq!(watch.nothing(299_500), None);
            assert_eq!(watch.after(499), None);
            assert_eq!(watch.after(1), Some(Cut::Idle));
            moved(&mut watch.facts);
            assert_eq!(watch.after(1), None);
        }
    }

    #[test]
    fn who_waits_for_a_slow_answer_is_not_idle() {
        let mut watch = Watch::talking(Facts { waiting: false, ..WAITING });
        assert_eq!(watch.nothing(3_600_000), None);
        watch.facts.waiting = true;
        assert_eq!(watch.nothing(600_000), Some((Cut::Idle, 300_500)));
    }

    #[test]
    fn slow_at_one_byte_below_the_rate() {
        // In the first window one check's bytes are a gift: those that came before the message was seen.
        for (bytes, expected) in [(230, Some((Cut::Slow, 10_500))), (249, Some((Cut::Slow, 20_500))), (250, None)] {
            let mut watch = Watch::talking(Facts { inside: true, ..WAITING });
            assert_eq!(watch.cut(60_000, |facts| facts.received += bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn fast_first_and_slow_later_is_cut_within_two_windows() {
        let mut watch = Watch::talking(Facts { inside: true, ..WAITING });
        watch.facts.received = 1_000_000;
        let (cut, after) = watch.cut(60_000, |facts| facts.received += 1).unwrap_or((Cut::Idle, 0));
        assert_eq!((cut, after), (Cut::Slow, 20_500));
        // Slow from the middle of a window.
        let mut watch = Watch::talking(Facts { inside: true, ..WAITING });
        assert_eq!(watch.cut(25_000, |facts| facts.received += 300), None);
        let cut = watch.cut(60_000, |_| {});
        assert!(cut.is_some_and(|(cut, after)| cut == Cut::Slow && after <= 21_000), "{cut:?}");
    }

    #[test]
    fn between_messages_nobody_is_slow() {
        let mut watch = Watch::talking(Facts { inside: true, ..WAITING });
        for _ in 0..100 {
            watch.facts.inside = true;
            watch.facts.received += 10;
            assert_eq!(watch.nothing(9500), None);
            watch.facts.inside = false;
            watch.facts.received += 10;
            assert_eq!(watch.nothing(TICK), None);
        }
    }

    #[test]
    fn backpressure_makes_nobody_slow() {
        let mut watch = Watch::talking(Facts { inside: true, waiting: false, ..WAITING });
        assert_eq!(watch.nothing(600_000), None);
        watch.facts.waiting = true;
        assert_eq!(watch.nothing(60_000), Some((Cut::Slow, 10_500)));
    }

    #[test]
    fn write_stalled_to_the_tick() {
        let mut watch = Watch::talking(Facts { waiting: false, unsent: true, ..WAITING });
        assert_eq!(watch.nothing(30_000), None);
        assert_eq!(watch.after(499), None);
        assert_eq!(watch.after(1), Some(Cut::WriteStalled));
        // The kernel takes a byte: anew.
        watch.facts.sent += 1;
        assert_eq!(watch.nothing(30_000), None);
        assert_eq!(watch.after(500), Some(Cut::WriteStalled));
        watch.facts.unsent = false;
        assert_eq!(watch.nothing(600_000), None);
    }

    #[test]
    fn a_peer_that_was_called_is_only_held_to_reading() {
        let mut watch = Watch::new(Facts { inside: true, unsent: true, ..WAITING });
        watch.guard = Guard::new(false, watch.now);
        assert_eq!(watch.nothing(3_600_000), Some((Cut::WriteStalled, 30_500)));
        watch.facts.unsent = false;
        assert_eq!(watch.nothing(3_600_000), None);
        assert_eq!(watch.due(), None);
    }

    #[test]
    fn never_is_never() {
        for never in [Duration::MAX, Duration::ZERO] {
            let mut watch = Watch::new(Facts { inside: true, unsent: true, ..WAITING });
            watch.limits = GuardLimits {
                first_message: never,
                idle: never,
                slow_window: never,
                write_stalled: never,
                slowest_bytes_per_second: 500,
            };
            assert_eq!(watch.nothing(36_000_000), None);
            assert_eq!(watch.due(), None);
        }
        let mut watch = Watch::talking(Facts { inside: true, ..WAITING });
        watch.limits.slowest_bytes_per_second = 0;
        assert_eq!(watch.nothing(3_600_000), Some((Cut::Idle, 300_000)));
    }

    #[test]
    fn time_without_a_look_counts_two_seconds_and_cuts_nobody() {
        let mut watch = Watch::new(WAITING);
        assert_eq!(watch.nothing(9500), None);
        // The program blocked its loop; the message is in the kernel, and read before the next check.
        assert_eq!(watch.after(20_000), None);
        watch.facts = Facts { received: 10, messages: true, ..WAITING };
        assert_eq!(watch.after(TICK), None);

        let mut watch = Watch::talking(WAITING);
        assert_eq!(watch.after(20_000), None);
        assert_eq!(watch.nothing(297_500), None);
        assert_eq!(watch.after(TICK), Some(Cut::Idle));

        let mut watch = Watch::talking(Facts { unsent: true, waiting: false, ..WAITING });
        assert_eq!(watch.nothing(TICK), None);
        assert_eq!(watch.after(60_000), None);
        assert_eq!(watch.nothing(27_500), None);
        assert_eq!(watch.after(TICK), Some(Cut::WriteStalled));
    }

    #[test]
    fn a_loop_that_is_always_late_cuts_all_the_same() {
        let mut watch = Watch::new(WAITING);
        let turns = (1..100).find(|_| watch.after(5000).is_some());
        assert_eq!(turns, Some(6)); // 2 s each: due in the fifth, spared then.
                                    // Two seconds are no gap.
        let mut watch = Watch::new(WAITING);
        assert_eq!((1..100).find(|_| watch.after(2000).is_some()), Some(5));
    }

    #[test]
    fn a_clock_that_steps_back_harms_nobody() {
        let mut watch = Watch::new(WAITING);
        watch.now += Duration::from_secs(5);
        assert_eq!(watch.guard.check(&watch.facts, &watch.limits, watch.now), None);
        assert_eq!(watch.guard.check(&watch.facts, &watch.limits, watch.start), None);
        assert_eq!(watch.nothing(5000), None);
    }

    #[test]
    fn a_sleeper_is_told_when_to_look() {
        let mut watch = Watch::new(WAITING);
        let mut looks = 0;
        while watch.guard.check(&watch.facts, &watch.limits, watch.now).is_none() {
            let sleep = watch.due().unwrap_or(Duration::MAX);
            assert!(!sleep.is_zero() && sleep <= Duration::from_secs(1));
            watch.now += sleep;
            looks += 1;
        }
        assert_eq!((watch.now - watch.start, looks), (Duration::from_secs(10), 10));
        // Who did not check has to do it now.
        watch.now += Duration::from_secs(5);
        assert_eq!(watch.due(), Some(Duration::ZERO));
        // The application does something else, and nothing is queued: time alone changes nothing.
        watch.facts = Facts { waiting: false, ..watch.facts };
        assert_eq!(watch.due(), None);
        let mut watch = Watch::talking(Facts { unsent: true, waiting: false, ..WAITING });
        assert_eq!(watch.nothing(29_800), None);
        assert_eq!(watch.due(), Some(Duration::from_secs(1)));
        assert_eq!(watch.after(TICK), None);
        assert_eq!(watch.after(300), None);
        assert_eq!(watch.due(), Some(Duration::from_millis(200)));
    }

    /// xorshift64*.
    fn random(state: &mut u64, below: u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }

    /// Whatever happens: nobody is cut before his time by the wall clock, and after a quiet spell of the bound and three checks
    /// whoever has it coming is cut.
    #[test]
    fn never_early_and_never_missed() {
        for seed in 1..=20_u64 {
            let mut state = seed;
            let mut watch = Watch::new(WAITING);
            let (mut moved, mut sent) = (watch.now, watch.now);
            for _ in 0..3000 {
                match random(&mut state, 40) {
                    0 => watch.facts.received += random(&mut state, 10_000),
                    1 => {
                        watch.facts.sent += 1;
                        sent = watch.now;
                    }
                    2 => watch.facts.waiting = !watch.facts.waiting,
                    3 => watch.facts.inside = !watch.facts.inside,
                    4 => {
                        watch.facts.unsent = !watch.facts.unsent;
                        sent = watch.now;
                    }
                    5 => watch.facts.messages |= random(&mut state, 10) == 0,
                    _ => {}
                }
                let counters = (watch.facts.received, watch.facts.sent);
                if counters != (watch.guard.received, watch.guard.sent) {
                    moved = watch.now;
                }
                let gap = if random(&mut state, 50) == 0 { 30_000 } else { random(&mut state, 1500) };
                let cut = watch.after(gap);
                let lived = watch.now - watch.start;
                match cut {
                    Some(Cut::FirstMessage) => assert!(!watch.facts.messages && lived >= LIMITS.first_message),
                    Some(Cut::Idle) => assert!(watch.facts.waiting && watch.now - moved >= LIMITS.idle),
                    Some(Cut::Slow) => assert!(watch.facts.inside && watch.facts.waiting),
                    Some(Cut::WriteStalled) => assert!(watch.facts.unsent && watch.now - sent >= LIMITS.write_stalled),
                    None => {}
                }
                assert!(cut.is_none() || gap <= 2000 || !watch.guard.spared);
            }
            watch.facts = Facts { waiting: true, inside: false, unsent: false, ..watch.facts };
            assert!(watch.nothing(301_500).is_some());
        }
    }
}
