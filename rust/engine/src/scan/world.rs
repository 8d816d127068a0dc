//! Networks in which scans are tried, without sockets or time: who listens, who resets, what is lost, what is policed.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};

use super::rounds::{Rounds, State};

/// A listener who hears nothing says it again: so long after what he said before.
const SYN_ACKS_US: [u64; 6] = [1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000, 32_000_000];

struct World {
    ports: u32,
    open: BTreeSet<u32>,
    closed_reset: bool,
    /// Each way, in percent.
    loss: u64,
    /// SYNs per second that pass, in bursts of five.
    policer: Option<f64>,
    trip_us: u64,
    random: u64,
}

struct Outcome {
    open: BTreeSet<u32>,
    seconds: f64,
    sent: u64,
    round: u32,
    fastest: f64,
    loss: f64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            ports: 65_535,
            open: BTreeSet::new(),
            closed_reset: true,
            loss: 0,
            policer: None,
            trip_us: 200,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        while world.open.len() < 50 {
            let port = world.below(65_535) as u32;
            world.open.insert(port);
        }
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn scan(&mut self) -> Outcome {
        self.scan_with(10_000.0, 300_000.0)
    }

    fn scan_with(&mut self, start: f64, ceiling: f64) -> Outcome {
        let mut rounds = Rounds::new(1, self.ports as usize, self.random, start, ceiling);
        let mut underway: VecDeque<(u64, u64, u32, State)> = VecDeque::new();
        let (mut now_us, mut tokens, mut filled_us, mut fastest) = (0_u64, 5.0_f64, 0_u64, 0.0_f64);
        while !rounds.finished() {
            assert!(now_us < 600_000_000, "it does not end");
            while underway.front().is_some_and(|answer| answer.0 <= now_us) {
                let (_, sent_us, port, state) = underway.pop_front().unwrap();
                rounds.answered(0, port, state, sent_us / 1_000 * 1_000, now_us);
            }
            let due = rounds.due(now_us).min(64);
            fastest = fastest.max(rounds.rate().per_second());
            for _ in 0..due {
                let Some(probe) = rounds.take(now_us) else { break };
                let passed = self.below(100) >= self.loss;
                if let Some(rate) = self.policer {
                    tokens = (tokens + (now_us - filled_us) as f64 * rate / 1e6).min(5.0);
                    filled_us = now_us;
                    if !passed || tokens < 1.0 {
                        continue;
                    }
                    tokens -= 1.0;
                }
                let open = self.open.contains(&probe.port);
                if !passed || !(open || self.closed_reset) {
                    continue;
                }
                let state = if open { State::Open } else { State::Closed };
                let mut later_us = self.trip_us;
                for again_us in SYN_ACKS_US {
                    if self.below(100) >= self.loss {
                        let answer = (now_us + later_us, now_us, probe.port, state);
                        underway.insert(underway.partition_point(|other| other.0 <= answer.0), answer);
                        // What was answered is reset, which may be lost like anything else.
                        if self.below(100) >= self.loss {
                            break;
                        }
                    }
                    if !open {
                        break;
                    }
                    later_us += again_us;
                }
            }
            let answer_us = underway.front().map_or(u64::MAX, |answer| answer.0);
            now_us = rounds.next_us().min(answer_us).max(now_us + 50);
        }
        let states = rounds.states().iter().enumerate();
        Outcome {
            open: states.filter(|(_, state)| **state == State::Open).map(|(port, _)| port as u32).collect(),
            seconds: now_us as f64 / 1e6,
            sent: rounds.sent(),
            round: rounds.round(),
            fastest,
            loss: rounds.loss(),
        }
    }
}

/// In as many worlds as there are seeds, all is found; the slowest scan.
fn all_found(change: fn(&mut World)) -> Outcome {
    let mut slowest: Option<Outcome> = None;
    for seed in 1..=3 {
        let mut world = World::new(seed);
        change(&mut world);
        let outcome = world.scan();
        assert_eq!(outcome.open, world.open, "seed {seed}");
        if slowest.as_ref().is_none_or(|slowest| outcome.seconds > slowest.seconds) {
            slowest = Some(outcome);
        }
    }
    slowest.unwrap()
}

#[test]
fn a_clean_way_takes_one_round_at_full_rate() {
    let outcome = all_found(|_| {});
    assert_eq!(outcome.round, 1);
    assert!(outcome.fastest >= 300_000.0);
    assert!(outcome.sent < 65_535 * 11 / 10, "{}", outcome.sent);
    assert!(outcome.seconds < 0.6, "{}", outcome.seconds);
}

#[test]
fn loss_at_any_rate_does_not_slow_it() {
    let outcome = all_found(|world| world.loss = 5);
    assert!(outcome.fastest >= 100_000.0, "{}", outcome.fastest);
    assert!(outcome.seconds < 2.5, "{}", outcome.seconds);
    assert!((outcome.loss - 0.0975).abs() < 0.03, "{}", outcome.loss);
}

#[test]
fn what_listeners_repeat_does_not_slow_it() {
    let mut slowest = 0.0_f64;
    for seed in 1..=30 {
        let mut world = World::new(seed);
        world.loss = 5;
        let outcome = world.scan_with(10_000.0, 50_000.0);
        assert_eq!(outcome.open, world.open, "seed {seed}");
        slowest = slowest.max(outcome.seconds);
    }
    assert!(slowest < 3.0, "{slowest}");
}

#[test]
fn much_loss_takes_more_rounds() {
    let outcome = all_found(|world| world.loss = 30);
    assert!(outcome.round >= 8, "{}", outcome.round);
}

#[test]
fn silent_ports_are_asked_twice() {
    let outcome = all_found(|world| world.closed_reset = false);
    assert!((2..=3).contains(&outcome.round), "{}", outcome.round);
    assert!(outcome.fastest >= 100_000.0, "{}", outcome.fastest);
    assert!(outcome.seconds < 3.0, "{}", outcome.seconds);
}

#[test]
fn silent_ports_behind_loss_are_asked_more_often() {
    let outcome = all_found(|world| {
        world.closed_reset = false;
        world.loss = 5;
    });
    assert!(outcome.round >= 4, "{}", outcome.round);
}

#[test]
fn a_policer_is_not_overrun() {
    let outcome = all_found(|world| world.policer = Some(10_000.0));
    // What passes is 10,000 a second: most of what is sent does.
    assert!(outcome.sent < 65_535 * 3 / 2, "{}", outcome.sent);
    assert!(outcome.seconds < 9.0, "{}", outcome.seconds);
}

#[test]
fn a_policer_in_front_of_silent_ports() {
    let outcome = all_found(|world| {
        world.closed_reset = false;
        world.policer = Some(10_000.0);
    });
    assert!(outcome.seconds < 60.0, "{}", outcome.seconds);
}

#[test]
fn nobody_there_is_asked_slowly_and_given_up() {
    let mut world = World::new(1);
    world.open.clear();
    world.closed_reset = false;
    let outcome = world.scan();
    assert!(outcome.open.is_empty());
    assert!(outcome.fastest <= 20_000.0);
    assert_eq!(outcome.round, 3);
}

#[test]
fn a_long_way_is_waited_for() {
    let outcome = all_found(|world| world.trip_us = 180_000);
    assert_eq!(outcome.round, 1);
}

#[test]
fn the_ceiling_holds() {
    let mut world = World::new(2);
    world.ports = 1_000;
    world.open = BTreeSet::from([5, 999]);
    let outcome = world.scan_with(10_000.0, 500.0);
    assert_eq!(outcome.open, world.open);
    assert!(outcome.fastest <= 500.0);
    assert!(outcome.seconds >= 1.9);
}

#[test]
fn a_host_that_cannot_be_reached_is_left_alone() {
    let mut rounds = Rounds::new(2, 10, 1, 1_000.0, 1_000.0);
    assert!(rounds.unreachable(0));
    assert!(!rounds.unreachable(0));
    assert_eq!(rounds.pending(), 10);
    let mut asked = Vec::new();
    while let Some(probe) = rounds.take(0) {
        asked.push(probe);
    }
    assert!(asked.iter().all(|probe| probe.target == 1));
    assert_eq!(asked.len(), 10);
    assert!(rounds.answered(1, 3, State::Closed, 0, 100));
    assert!(!rounds.unreachable(1));
    assert!(rounds.is_unreachable(0) && !rounds.is_unreachable(1));
}

#[test]
fn what_was_not_sent_comes_again() {
    let mut rounds = Rounds::new(1, 3, 1, 1_000.0, 1_000.0);
    let first = rounds.take(0).unwrap();
    rounds.unsent(first);
    let ports: BTreeSet<u32> = std::iter::from_fn(|| rounds.take(0)).map(|probe| probe.port).collect();
    assert_eq!(ports, BTreeSet::from([0, 1, 2]));
    assert_eq!(rounds.sent(), 3);
}

#[test]
fn an_answer_counts_once_and_the_better_one_wins() {
    let mut rounds = Rounds::new(1, 2, 1, 1_000.0, 1_000.0);
    while rounds.take(0).is_some() {}
    assert!(rounds.answered(0, 0, State::Prohibited, 0, 10));
    assert!(!rounds.answered(0, 0, State::Prohibited, 0, 10));
    assert!(rounds.answered(0, 0, State::Open, 0, 10));
    assert!(!rounds.answered(0, 0, State::Open, 0, 10));
    assert!(!rounds.answered(0, 0, State::Closed, 0, 10));
    assert_eq!(rounds.states(), [State::Open, State::Silent]);
    assert_eq!(rounds.pending(), 1);
    assert!(!rounds.answered(0, 7, State::Open, 0, 10));
    assert!(!rounds.answered(9, 0, State::Open, 0, 10));
}

#[test]
fn open_ports_are_spared() {
    let mut rounds = Rounds::new(1, 5_000, 1, 10_000.0, 10_000.0);
    rounds.spare_open_ports(3);
    let first = rounds.take(0).unwrap();
    assert!(rounds.answered(0, first.port, State::Open, 0, 10));
    let again = std::iter::from_fn(|| rounds.take(20)).filter(|probe| probe.control).count();
    assert_eq!(again, 3);
}

#[test]
fn nothing_to_do_is_done() {
    assert!(Rounds::new(0, 5, 1, 1_000.0, 1_000.0).finished());
}
