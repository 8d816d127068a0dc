//! How fast a scan may send. Time is an argument, in microseconds since the start.
//!
//! Most ports of a filtered host never answer, so silence says nothing of the way. Every so many probes goes to a port that has
//! answered before, a *control*: what is lost of those is lost on the way. Loss that is there at any rate (a bad link) is no reason
//! to be slow; loss that grows with the rate (a queue, a policer) is. So the loss is kept by rate, and one that is higher than that of
//! half the rate and less makes it go down to what was delivered; else it goes up: doubled at first, later in growing steps.

use std::collections::VecDeque;

#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    ceiling: f64,
    credit: f64,
    credited_us: u64,
    epochs: VecDeque<Epoch>,
    /// Controls by the rate that they were sent at, in steps of half an octave.
    heard: [Share; STEPS],
    /// The millisecond of the last probe.
    last_us: u64,
    /// Epochs that began before this were sent at another rate.
    changed_us: u64,
    doubling: bool,
    calm: u32,
    trip: Trip,
    controls: Share,
}

/// Probes that were sent at one rate.
#[derive(Debug)]
struct Epoch {
    begun_us: u64,
    ended_us: Option<u64>,
    sent: u32,
    controls: Share,
    trip: Share,
}

/// Of how many, how many. For controls: answered. For round trips: their sum in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    all: f64,
    part: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trip {
    known: bool,
    least_us: u64,
    /// Of late: it fades.
    longest_us: u64,
}

impl Rate {
    pub fn new(start: f64, ceiling: f64) -> Rate {
        Rate {
            per_second: start.clamp(LEAST, ceiling.max(LEAST)),
            ceiling: ceiling.max(LEAST),
            credit: 1.0,
            credited_us: 0,
            epochs: VecDeque::new(),
            heard: [Share::default(); STEPS],
            last_us: 0,
            changed_us: 0,
            doubling: true,
            calm: 0,
            trip: Trip::default(),
            controls: Share::default(),
        }
    }

    /// How many probes may go out now.
    pub fn due(&mut self, now_us: u64) -> usize {
        let passed = now_us.saturating_sub(self.credited_us) as f64 / 1e6;
        self.credited_us = self.credited_us.max(now_us);
        // What could not be sent in time is not made up for by a burst: policers count those.
        let most = (self.per_second * LATEST_SECONDS).max(2.0);
        self.credit = (self.credit + passed * self.per_second).min(most);
        self.credit.max(0.0) as usize
    }

    /// When it is worth looking again: a few probes are sent at once, no more often than timers can tell.
    pub fn next_us(&self) -> u64 {
        let wanted = (self.per_second * QUANTUM_SECONDS).clamp(1.0, AT_ONCE);
        let missing = (wanted - self.credit).max(0.0);
        self.credited_us + (missing / self.per_second * 1e6).ceil() as u64
    }

    /// A probe goes out.
    pub fn sent(&mut self, control: bool, now_us: u64) {
        self.credit -= 1.0;
        // A probe says in which millisecond it was sent: an epoch has whole ones.
        let begin_us = now_us / 1_000 * 1_000;
        let full = self.epochs.back().is_none_or(|epoch| {
            let age_us = now_us.saturating_sub(epoch.begun_us);
            let enough = epoch.controls.all >= EPOCH_CONTROLS || age_us >= EPOCH_LONGEST_US;
            let changed = epoch.begun_us < self.changed_us;
            begin_us > self.last_us && (changed || (age_us >= EPOCH_US && enough))
        });
        self.last_us = begin_us;
        if full {
            if let Some(epoch) = self.epochs.back_mut() {
                epoch.ended_us = Some(begin_us);
            }
            self.epochs.push_back(Epoch {
                begun_us: begin_us,
                ended_us: None,
                sent: 0,
                controls: Share::default(),
                trip: Share::default(),
            });
        }
        if let Some(epoch) = self.epochs.back_mut() {
            epoch.sent += 1;
            epoch.controls.all += f64::from(u8::from(control));
        }
    }

    /// A probe did not leave after all.
    pub fn unsent(&mut self, control: bool) {
        self.credit += 1.0;
        if let Some(epoch) = self.epochs.back_mut() {
            epoch.sent = epoch.sent.saturating_sub(1);
            epoch.controls.all -= f64::from(u8::from(control));
        }
    }

    /// A port answered a probe that was sent in the millisecond of `sent_us`. What comes a second late is said again by a listener whose
    /// first answer, or our word that it came, was lost: no round trip, and no proof that the way was free.
    pub fn answered(&mut self, control: bool, sent_us: u64, now_us: u64) {
        let took_us = now_us.saturating_sub(sent_us);
        let trip = &mut self.trip;
        if trip.known && took_us >= trip.least_us + REPEATED_US {
            return;
        }
        trip.least_us = if trip.known { trip.least_us.min(took_us) } else { took_us };
        trip.longest_us = trip.longest_us.max(took_us);
        trip.known = true;
        // Newest first: answers are quick.
        if let Some(epoch) = self.epochs.iter_mut().rev().find(|epoch| epoch.begun_us <= sent_us) {
            epoch.trip.all += 1.0;
            epoch.trip.part += took_us as f64;
            if control {
                epoch.controls.part = (epoch.controls.part + 1.0).min(epoch.controls.all);
            }
        }
    }

    /// Looks at what has become of probes whose answers must have come by now.
    pub fn judge(&mut self, now_us: u64) {
        while let Some(epoch) = self.epochs.front() {
            let Some(ended_us) = epoch.ended_us else { break };
            let whole = epoch.controls.all > 0.0 && epoch.controls.part >= epoch.controls.all;
            if !whole && now_us < ended_us + self.patience_us() {
                break;
            }
            if let Some(epoch) = self.epochs.pop_front() {
                self.weigh(&epoch, ended_us, now_us);
            }
        }
    }

    /// Closes what is being measured, at the end of a round.
    pub fn close(&mut self, now_us: u64) {
        if let Some(epoch) = self.epochs.back_mut() {
            epoch.ended_us = epoch.ended_us.or(Some(now_us.max(epoch.begun_us + 1)));
        }
    }

    /// Begins a round at another rate than the last one was sent with.
    pub fn vary(&mut self, now_us: u64) {
        self.change(self.per_second * ROUND_FACTOR, now_us);
    }

    /// After so long a probe has no answer any more, as far as the rate is concerned.
    pub fn patience_us(&self) -> u64 {
        if self.trip.known {
            (self.trip.longest_us * 3 / 2 + 5_000).clamp(10_000, LONGEST_WAIT_US)
        } else {
            300_000
        }
    }

    /// After so long the last probe of a round has none.
    pub fn settle_us(&self) -> u64 {
        if self.trip.known {
            (self.trip.longest_us * 3 + 50_000).clamp(60_000, LONGEST_WAIT_US)
        } else {
            SILENT_WAIT_US
        }
    }

    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// One of how many probes should be a control.
    pub fn control_share(&self) -> u64 {
        if self.doubling {
            16
        } else {
            24
        }
    }

    /// Of all controls, how many were sent and lost.
    pub fn controls(&self) -> (f64, f64) {
        (self.controls.all, self.controls.all - self.controls.part)
    }

    fn weigh(&mut self, epoch: &Epoch, ended_us: u64, now_us: u64) {
        let seconds = ended_us.saturating_sub(epoch.begun_us).max(1) as f64 / 1e6;
        let actual = f64::from(epoch.sent) / seconds;
        // It fades, or one late answer would make everything slow for good.
        self.trip.longest_us -= (self.trip.longest_us - self.trip.least_us.min(self.trip.longest_us)) / 16;
        let controls = epoch.controls;
        self.controls.add(controls.all, controls.part);
        let base = self.base(actual);
        if controls.all > 0.0 {
            self.heard[step(actual)].add_fading(controls.all, controls.part);
        }
        // Sent at another rate than the present one: nothing follows.
        if epoch.begun_us < self.changed_us {
            return;
        }
        if controls.all < LEAST_CONTROLS {
            if self.controls.all == 0.0 && self.per_second < BLIND {
                self.change((self.per_second * 1.5).min(BLIND), now_us);
            }
            return;
        }
        let loss = controls.lost();
        let doubt = 2.5 * ((loss * (1.0 - loss)).max(0.02) / controls.all).sqrt();
        let bearable = base.map_or(UNKNOWN_LOSS, |base| base + TOLERANCE) + doubt;
        let late_us = epoch.trip.part / epoch.trip.all.max(1.0);
        let queued = self.trip.known && late_us > 2.0 * self.trip.least_us as f64 + QUEUED_US;
        // Where nothing is known of lower rates: a loss that was no higher at higher ones is not theirs, either.
        let everywhere = base.is_none() && self.above(actual).is_some_and(|above| loss > above - TOLERANCE - doubt);
        if loss > bearable && !everywhere {
            let delivered = actual * (1.0 - loss) / (1.0 - base.unwrap_or(0.0)).max(0.1);
            self.calm = 0;
            self.doubling = false;
            self.change(delivered.clamp(actual * 0.3, actual * 0.95), now_us);
        } else if queued {
            self.calm = 0;
            self.doubling = false;
            self.change(actual * 0.75, now_us);
        } else if actual > 0.7 * self.per_second {
            // A sender that cannot go faster must not be allowed to.
            let factor = if self.doubling { 2.0 } else { 1.0 + (0.02 * f64::from(self.calm + 1)).min(0.5) };
            self.calm += 1;
            self.change(self.per_second * factor, now_us);
        }
    }

    /// The loss that there is at half this rate and below; None if that is not known.
    fn base(&self, rate: f64) -> Option<f64> {
        let mut below = Share::default();
        for share in &self.heard[..step(rate).saturating_sub(1)] {
            below.add(share.all, share.part);
        }
        (below.all >= 2.0 * LEAST_CONTROLS).then(|| below.lost())
    }

    /// The loss that there is at twice this rate and above.
    fn above(&self, rate: f64) -> Option<f64> {
        let mut above = Share::default();
        for share in self.heard.get(step(rate) + 2..).unwrap_or_default() {
            above.add(share.all, share.part);
        }
        (above.all >= LEAST_CONTROLS).then(|| above.lost())
    }

    fn change(&mut self, per_second: f64, now_us: u64) {
        self.per_second = per_second.clamp(LEAST.min(self.ceiling), self.ceiling);
        self.changed_us = now_us;
    }
}

impl Share {
    fn add(&mut self, all: f64, part: f64) {
        self.all += all;
        self.part += part;
    }

    /// The way may change: what was long ago counts less.
    fn add_fading(&mut self, all: f64, part: f64) {
        if self.all > REMEMBERED_CONTROLS {
            self.all /= 2.0;
            self.part /= 2.0;
        }
        self.add(all, part);
    }

    fn lost(&self) -> f64 {
        1.0 - self.part / self.all.max(1.0)
    }
}

fn step(rate: f64) -> usize {
    ((rate.max(1.0).log2() * 2.0) as usize).min(STEPS - 1)
}

/// Probes per second that anything bears.
const LEAST: f64 = 100.0;
/// As long as nobody answers at all, nothing would tell of a queue that overflows.
const BLIND: f64 = 20_000.0;
const STEPS: usize = 44;
const EPOCH_US: u64 = 10_000;
const EPOCH_LONGEST_US: u64 = 200_000;
const EPOCH_CONTROLS: f64 = 24.0;
const LEAST_CONTROLS: f64 = 8.0;
const REMEMBERED_CONTROLS: f64 = 1_000.0;
const TOLERANCE: f64 = 0.05;
const UNKNOWN_LOSS: f64 = 0.3;
/// A listener waits for a second at least before it repeats itself (RFC 6298 §2.1), which timers may cut a little short.
const REPEATED_US: u64 = 900_000;
const QUEUED_US: f64 = 25_000.0;
const LONGEST_WAIT_US: u64 = 1_500_000;
const SILENT_WAIT_US: u64 = 1_000_000;
const ROUND_FACTOR: f64 = 0.7;
const QUANTUM_SECONDS: f64 = 0.000_25;
const LATEST_SECONDS: f64 = 0.001_5;
const AT_ONCE: f64 = 64.0;
