//! What is probed, in which order, and when a scan is over. No sockets, no clock: time is an argument, in microseconds.
//!
//! Every port is probed once in a round, in an order of the round's own; the next round has those that did not answer. It is over when
//! every port has answered, or when so few of those that would have answered can have been missed that it does not matter: with a
//! share p of the controls lost, a port that answers stays unseen in k rounds with a chance of p^k.

use super::rate::Rate;

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing has come.
    Silent = 0,
    Open = 1,
    Closed = 2,
    /// An ICMP error says that a filter does not let it through.
    Prohibited = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub target: u32,
    /// Its place among the ports.
    pub port: u32,
    /// It has answered before: this one measures the way.
    pub control: bool,
}

#[derive(Debug)]
pub struct Rounds {
    ports: usize,
    states: Vec<State>,
    targets: Vec<Standing>,
    /// The places of this round's probes; those behind `position` are over.
    order: Vec<u32>,
    position: usize,
    round: u32,
    pending: usize,
    /// Those that controls go to, and how many more may.
    answering: Vec<(u32, u32)>,
    answering_seen: u64,
    /// How many controls an open port gets.
    open_controls: u32,
    last_sent_us: u64,
    sent: u64,
    random: u64,
    rate: Rate,
    finished: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    answered: u32,
    sent: u32,
    controls: u32,
    controls_answered: u32,
    unreachable: bool,
}

impl Rounds {
    /// For `targets` times `ports` probes, MOST_PROBES at most.
    pub fn new(targets: usize, ports: usize, seed: u64, start: f64, ceiling: f64) -> Rounds {
        let count = (targets * ports).min(MOST_PROBES);
        let mut rounds = Rounds {
            ports: ports.max(1),
            states: vec![State::Silent; count],
            targets: vec![Standing::default(); targets],
            order: Vec::new(),
            position: 0,
            round: 0,
            pending: count,
            answering: Vec::new(),
            answering_seen: 0,
            open_controls: u32::MAX,
            last_sent_us: 0,
            sent: 0,
            random: seed,
            rate: Rate::new(start, ceiling),
            finished: count == 0,
        };
        rounds.begin();
        rounds
    }

    /// Ports that are open get so many controls at most: a connect takes a place in the listener's queue, which a program that does
    /// not accept never gives back.
    pub fn spare_open_ports(&mut self, most: u32) {
        self.open_controls = most.max(1);
    }

    /// How many probes may be taken now.
    pub fn due(&mut self, now_us: u64) -> usize {
        self.rate.judge(now_us);
        self.turn(now_us);
        if self.finished || self.position >= self.order.len() {
            return 0;
        }
        self.rate.due(now_us)
    }

    /// When `due` is worth asking again.
    pub fn next_us(&self) -> u64 {
        if self.position < self.order.len() {
            self.rate.next_us()
        } else {
            self.last_sent_us + self.rate.settle_us()
        }
    }

    /// The next probe. It counts as sent; `unsent` says if it was not.
    pub fn take(&mut self, now_us: u64) -> Option<Probe> {
        // By chance: every so many probes, they would always have the same place in a burst, and its fate.
        let control = self.position < self.order.len() && self.next_random().is_multiple_of(self.rate.control_share());
        if control && !self.answering.is_empty() {
            let chosen = self.next_random() as usize % self.answering.len();
            if let Some((place, left)) = self.answering.get_mut(chosen) {
                let place = *place;
                *left -= 1;
                if *left == 0 {
                    self.answering.swap_remove(chosen);
                }
                return Some(self.note(place, true, now_us));
            }
        }
        while let Some(&place) = self.order.get(self.position) {
            self.position += 1;
            let target = place as usize / self.ports;
            let wanted = self.states.get(place as usize) == Some(&State::Silent);
            if wanted && self.targets.get(target).is_some_and(|standing| !standing.unreachable) {
                return Some(self.note(place, false, now_us));
            }
        }
        None
    }

    /// The kernel had no room for it: it comes again.
    pub fn unsent(&mut self, probe: Probe) {
        self.rate.unsent(probe.control);
        self.sent -= 1;
        if let Some(standing) = self.targets.get_mut(probe.target as usize) {
            standing.sent -= 1;
            standing.controls -= u32::from(probe.control);
        }
        if !probe.control {
            self.order.push((probe.target as usize * self.ports + probe.port as usize) as u32);
        }
    }

    /// A port has answered a probe that was sent in the millisecond of `sent_us`. True if that is news.
    pub fn answered(&mut self, target: u32, port: u32, state: State, sent_us: u64, now_us: u64) -> bool {
        let place = target as usize * self.ports + port as usize;
        let (Some(known), Some(standing)) = (self.states.get_mut(place), self.targets.get_mut(target as usize)) else {
            return false;
        };
        if state == State::Prohibited || state == State::Silent {
            let news = state == State::Prohibited && *known == State::Silent;
            if news {
                *known = state;
                self.pending -= 1;
            }
            return news;
        }
        let before = std::mem::replace(known, if *known == State::Open { State::Open } else { state });
        let control = matches!(before, State::Open | State::Closed);
        self.rate.answered(control, sent_us, now_us);
        if control {
            standing.controls_answered = (standing.controls_answered + 1).min(standing.controls);
            return before != state && state == State::Open;
        }
        standing.answered += 1;
        if before == State::Silent {
            self.pending -= 1;
        }
        let most = if state == State::Open { self.open_controls } else { u32::MAX };
        self.remember(place as u32, most);
        true
    }

    /// Its ports are not probed any more, unless it has answered: then somebody on the way is wrong.
    pub fn unreachable(&mut self, target: u32) -> bool {
        let Some(standing) = self.targets.get_mut(target as usize) else { return false };
        if standing.answered > 0 || standing.unreachable {
            return false;
        }
        standing.unreachable = true;
        let first = target as usize * self.ports;
        let states = self.states.get(first..first + self.ports).unwrap_or_default();
        self.pending -= states.iter().filter(|state| **state == State::Silent).count();
        true
    }

    pub fn is_unreachable(&self, target: usize) -> bool {
        self.targets.get(target).is_some_and(|standing| standing.unreachable)
    }

    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    pub fn finished(&self) -> bool {
        self.finished
    }

    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// From 1.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// How many probes this round has, and how many of them are over.
    pub fn progress(&self) -> (usize, usize) {
        (self.order.len(), self.position)
    }

    /// Ports that have not answered.
    pub fn pending(&self) -> usize {
        self.pending
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// The share of controls that were lost.
    pub fn loss(&self) -> f64 {
        let (sent, lost) = self.rate.controls();
        if sent > 0.0 {
            lost / sent
        } else {
            0.0
        }
    }

    fn note(&mut self, place: u32, control: bool, now_us: u64) -> Probe {
        self.rate.sent(control, now_us);
        self.last_sent_us = now_us;
        self.sent += 1;
        let target = place as usize / self.ports;
        if let Some(standing) = self.targets.get_mut(target) {
            standing.sent += 1;
            standing.controls += u32::from(control);
        }
        Probe { target: target as u32, port: (place as usize % self.ports) as u32, control }
    }

    /// Ends the round when it is over, and begins the next one, or none.
    fn turn(&mut self, now_us: u64) {
        if self.finished {
            return;
        }
        if self.pending == 0 {
            self.finished = true;
        } else if self.position >= self.order.len() {
            self.rate.close(now_us);
            if now_us >= self.last_sent_us + self.rate.settle_us() {
                self.rate.judge(now_us + self.rate.patience_us());
                self.begin();
                self.rate.vary(now_us);
            }
        }
    }

    fn begin(&mut self) {
        let wanted: Vec<bool> = self.targets.iter().map(|standing| self.wants_round(standing)).collect();
        self.order.clear();
        self.position = 0;
        for (target, states) in self.states.chunks(self.ports).enumerate() {
            if wanted.get(target) == Some(&true) {
                let first = target * self.ports;
                let silent = states.iter().enumerate().filter(|(_, state)| **state == State::Silent);
                self.order.extend(silent.map(|(port, _)| (first + port) as u32));
            }
        }
        for last in (1..self.order.len()).rev() {
            let other = (self.next_random() % (last as u64 + 1)) as usize;
            self.order.swap(last, other);
        }
        if self.order.is_empty() {
            self.finished = true;
        } else {
            self.round += 1;
        }
    }

    /// Whether ports of that target that answer may still be unseen.
    fn wants_round(&self, standing: &Standing) -> bool {
        if standing.unreachable || self.round >= MOST_ROUNDS {
            return false;
        }
        if self.round < LEAST_ROUNDS {
            return true;
        }
        let (sent, lost) = self.rate.controls();
        let everywhere = (lost + 1.0) / (sent + 10.0);
        let lost = f64::from(standing.controls - standing.controls_answered);
        let loss = (lost + WEIGHT * everywhere) / (f64::from(standing.controls) + WEIGHT);
        let unseen = loss.powi(self.round as i32);
        f64::from(standing.answered).max(0.5) * unseen / (1.0 - unseen).max(0.01) > ENOUGH
    }

    /// A sample of those that answer, the same chance for each.
    fn remember(&mut self, place: u32, controls: u32) {
        self.answering_seen += 1;
        if self.answering.len() < REMEMBERED {
            self.answering.push((place, controls));
            return;
        }
        let slot = (self.next_random() % self.answering_seen) as usize;
        if let Some(known) = self.answering.get_mut(slot) {
            *known = (place, controls);
        }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): the order need not be secret.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A byte and, in a round, four more for each.
pub const MOST_PROBES: usize = 1 << 24;
const LEAST_ROUNDS: u32 = 2;
pub const MOST_ROUNDS: u32 = 12;
/// So many ports that answer may be expected to be missing from a target.
const ENOUGH: f64 = 0.001;
/// As so many controls counts what all targets say of the way to one.
const WEIGHT: f64 = 8.0;
const REMEMBERED: usize = 1_024;
