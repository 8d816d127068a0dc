#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use super::*;

fn limits() -> AdmissionLimits {
    AdmissionLimits {
        connections: 10_000,
        unproven: 512,
        source_connections: 64,
        source_unproven: 16,
        source_rate_per_second: 50,
        source_burst: 100,
        penalty: Duration::from_secs(10),
        penalty_most: Duration::from_secs(600),
        penalty_active: Duration::from_secs(15),
        penalty_sources: 65_536,
        trusted: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
    }
}

fn address(number: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from(0x0a00_0000 + number).into())
}

/// An admission with its clock.
struct Door {
    admission: Admission,
    now: Instant,
}

impl Door {
    fn new(limits: AdmissionLimits) -> Self {
        Self { admission: Admission::new(limits), now: Instant::now() }
    }

    fn admit(&mut self, from: Option<IpAddr>) -> Place {
        match self.admission.admit(from, self.now) {
            Verdict::Admitted(place) => place,
            Verdict::Refused(refusal) => panic!("{from:?}: {refusal:?}"),
        }
    }

    fn refuse(&mut self, from: Option<IpAddr>) -> Refusal {
        match self.admission.admit(from, self.now) {
            Verdict::Admitted(_) => panic!("{from:?} was admitted"),
            Verdict::Refused(refusal) => refusal,
        }
    }

    /// Admitted, and whoever had to go for it is gone.
    fn settle(&mut self, from: Option<IpAddr>) -> Place {
        let place = self.admit(from);
        while let Some(victim) = self.admission.victim(place) {
            self.admission.evicted(victim);
        }
        place
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn offend(&mut self, from: Option<IpAddr>, why: Offence) {
        let place = self.admit(from);
        self.admission.offended(place, why, self.now);
        self.admission.released(place);
    }

    fn count(&self, event: Event) -> u64 {
        self.admission.counters().of(event)
    }

    fn check(&self) {
        let admission = &self.admission;
        assert_eq!(admission.open(), admission.places.len());
        assert!(admission.unproven.iter().all(|place| admission.places.contains_key(place)));
        let by_source = admission.unproven.iter().filter_map(|place| Some((admission.source(*place)?, *place)));
        assert_eq!(by_source.collect::<BTreeSet<_>>(), admission.unproven_by_source);
        let places = admission.places.iter();
        admission
            .table
            .check(places.filter_map(|(place, source)| Some(((*source)?, admission.unproven.contains(place)))));
    }
}

#[test]
fn full_at_its_connections() {
    let mut door = Door::new(AdmissionLimits { connections: 3, ..limits() });
    let first = door.admit(None);
    door.admit(None);
    assert!(!door.admission.full());
    door.admit(None);
    assert!(door.admission.full());
    door.admission.released(first);
    assert!(!door.admission.full());
    assert_eq!(door.admission.open(), 2);
}

#[test]
fn the_oldest_unproven_goes_for_one_above_the_pool() {
    let mut door = Door::new(limits());
    let places: Vec<Place> = (0..512).map(|number| door.admit(address(number))).collect();
    assert_eq!(door.admission.victim(places[511]), None);
    let newest = door.admit(address(1000));
    assert_eq!(door.admission.victim(newest), Some(places[0]));
    // It turns out that it has proved itself: then there is room.
    door.admission.proven(places[0]);
    assert_eq!(door.admission.victim(newest), None);
    let newest = door.admit(address(1001));
    assert_eq!(door.admission.victim(newest), Some(places[1]));
    door.admission.evicted(places[1]);
    assert_eq!(door.admission.victim(newest), None);
    assert_eq!((door.admission.open(), door.admission.unproven(), door.count(Event::Evicted)), (513, 512, 1));
    door.check();
}

#[test]
fn the_pool_leaves_a_quarter_for_the_proven() {
    for (connections, pool) in [(64, 48), (100, 75), (10_000, 512)] {
        let mut door = Door::new(AdmissionLimits { connections, ..limits() });
        for number in 0..1000 {
            door.settle(address(number));
        }
        assert_eq!(door.admission.unproven(), pool);
    }
}

#[test]
fn a_small_listener_evicts_nobody_for_the_pool() {
    let mut door = Door::new(AdmissionLimits { connections: 63, unproven: 1, ..limits() });
    for number in 0..63 {
        door.settle(address(number));
    }
    assert!(door.admission.full());
    assert_eq!(door.admission.unproven(), 63);
}

#[test]
fn a_source_replaces_its_own_unproven() {
    let mut door = Door::new(limits());
    let other = door.admit(address(1));
    let places: Vec<Place> = (0..16).map(|_| door.settle(address(2))).collect();
    let newest = door.admit(address(2));
    assert_eq!(door.admission.victim(newest), Some(places[0]));
    door.admission.evicted(places[0]);
    assert_eq!(door.admission.victim(newest), None);
    assert_eq!(door.admission.oldest_unproven(), Some(other));
    door.check();
}

#[test]
fn a_source_with_all_its_connections_is_refused() {
    let mut door = Door::new(limits());
    let places: Vec<Place> = (0..64).map(|_| door.admit(address(1))).collect();
    for place in &places {
        door.admission.proven(*place);
    }
    assert_eq!(door.refuse(address(1)), Refusal::Source);
    door.admit(address(2));
    door.admission.released(places[5]);
    door.admit(address(1));
    assert_eq!(door.count(Event::RefusedSource), 1);
    assert_eq!(door.admission.worst_sources(16)[0].0, "10.0.0.1");
    door.check();
}

#[test]
fn a_source_with_all_its_connections_replaces_an_unproven_one() {
    let mut door = Door::new(limits());
    for _ in 0..63 {
        let place = door.admit(address(1));
        door.admission.proven(place);
    }
    let unproven = door.admit(address(1));
    let newest = door.admit(address(1));
    assert_eq!(door.admission.victim(newest), Some(unproven));
    door.admission.evicted(unproven);
    assert_eq!(door.admission.victim(newest), None);
    assert_eq!(door.admission.open(), 64);
}

#[test]
fn one_above_when_the_victim_had_proved_itself_and_no_more() {
    let mut door = Door::new(limits());
    for _ in 0..63 {
        let place = door.admit(address(1));
        door.admission.proven(place);
    }
    for _ in 0..10 {
        let Verdict::Admitted(newest) = door.admission.admit(address(1), door.now) else {
            continue;
        };
        while let Some(victim) = door.admission.victim(newest) {
            door.admission.proven(victim);
        }
    }
    assert_eq!(door.admission.open(), 65);
    assert_eq!(door.count(Event::RefusedSource), 8);
    door.check();
}

#[test]
fn the_rate_of_a_source() {
    let mut door = Door::new(AdmissionLimits { source_connections: 1000, ..limits() });
    for _ in 0..100 {
        door.settle(address(1));
    }
    assert_eq!(door.refuse(address(1)), Refusal::Rate);
    door.wait(19);
    assert_eq!(door.refuse(address(1)), Refusal::Rate);
    door.wait(1);
    door.settle(address(1));
    assert_eq!(door.refuse(address(1)), Refusal::Rate);
    door.settle(address(2));
    door.wait(1000);
    for _ in 0..50 {
        door.settle(address(1));
    }
    assert_eq!(door.refuse(address(1)), Refusal::Rate);
    assert_eq!(door.count(Event::RefusedRate), 4);
    // A long rest is worth one burst.
    door.wait(3_600_000);
    for _ in 0..100 {
        door.settle(address(1));
    }
    assert_eq!(door.refuse(address(1)), Refusal::Rate);
    door.check();
}

#[test]
fn penalties_add_up_and_run_out() {
    let mut door = Door::new(limits());
    door.offend(address(1), Offence::FirstMessage);
    door.settle(address(1)); // 10 s are not yet active.
    door.wait(5000);
    door.offend(address(1), Offence::Slow); // 5 + 10 = 15 s are.
    assert_eq!(door.refuse(address(1)), Refusal::Penalty);
    door.settle(address(2));
    door.wait(1);
    door.settle(address(1));
    assert_eq!(door.count(Event::RefusedPenalty), 1);
    assert_eq!((door.count(Event::FirstMessage), door.count(Event::Slow)), (1, 1));
    door.check();
}

#[test]
fn a_penalty_is_capped() {
    let mut door = Door::new(AdmissionLimits { source_unproven: 100, source_connections: 100, ..limits() });
    let places: Vec<Place> = (0..61).map(|_| door.admit(address(1))).collect();
    for place in places {
        door.admission.offended(place, Offence::Handshake, door.now);
        door.admission.released(place);
    }
    door.wait(585_000);
    assert_eq!(door.refuse(address(1)), Refusal::Penalty);
    door.wait(1);
    door.settle(address(1));
}

#[test]
fn idleness_and_memory_are_counted_without_penalty() {
    let mut door = Door::new(limits());
    for _ in 0..10 {
        door.offend(address(1), Offence::Idle);
        door.offend(address(1), Offence::Memory);
    }
    door.settle(address(1));
    assert_eq!((door.count(Event::Idle), door.count(Event::Memory)), (10, 10));
    for why in [Offence::Handshake, Offence::FirstMessage, Offence::Slow, Offence::WriteStalled, Offence::Abuse] {
        door.wait(3_600_000);
        door.offend(address(2), why);
        door.offend(address(2), why);
        assert_eq!(door.refuse(address(2)), Refusal::Penalty);
    }
}

#[test]
fn a_penalty_of_nothing_refuses_nobody() {
    let mut door = Door::new(AdmissionLimits { penalty: Duration::ZERO, penalty_active: Duration::ZERO, ..limits() });
    door.offend(address(1), Offence::Slow);
    door.settle(address(1));
}

#[test]
fn trusted_networks_are_exempt_per_source_and_count_in_all() {
    let mut door = Door::new(limits());
    for from in ["127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        let from = Some(from.parse().unwrap());
        for _ in 0..200 {
            door.offend(from, Offence::Handshake);
            door.settle(from);
        }
    }
    assert_eq!((door.admission.unproven(), door.count(Event::Evicted)), (512, 88));
    assert_eq!(door.count(Event::RefusedHandshake), 600);
    assert!(door.admission.worst_sources(16).is_empty());
    door.check();
}

#[test]
fn who_has_no_source_counts_in_all_only() {
    let mut door = Door::new(limits());
    for _ in 0..600 {
        door.settle(None);
    }
    assert_eq!(door.admission.unproven(), 512);
    assert!(door.admission.worst_sources(16).is_empty());
    door.check();
}

#[test]
fn an_ipv6_customer_is_one_source() {
    let mut door = Door::new(limits());
    for host in 0..100_u128 {
        door.settle(Some(IpAddr::V6((0x2001_0db8_u128 << 96 | host << 64 | 1).into())));
    }
    assert_eq!(door.refuse(Some("2001:db8:0:ff::".parse().unwrap())), Refusal::Rate);
    door.settle(Some("2001:db8:0:100::".parse().unwrap()));
    assert_eq!(door.admission.worst_sources(1)[0].0, "2001:db8::/56");
}

#[test]
fn places_that_are_gone_or_never_were_are_ignored() {
    let mut door = Door::new(limits());
    let place = door.admit(address(1));
    let kept = door.admit(address(1));
    door.admission.proven(kept);
    door.admission.proven(kept);
    for gone in [place, 99] {
        door.admission.released(gone);
        door.admission.released(gone);
        door.admission.evicted(gone);
        door.admission.proven(gone);
        door.admission.offended(gone, Offence::Slow, door.now);
        assert_eq!(door.admission.victim(gone), None);
    }
    assert_eq!((door.admission.open(), door.admission.unproven()), (1, 0));
    assert_eq!(door.admission.counters().total(), 0);
    assert_ne!(door.admit(address(1)), place);
    door.check();
}

#[test]
fn the_table_forgets_whose_penalty_ends_first() {
    let mut door = Door::new(AdmissionLimits { penalty_sources: 4, ..limits() });
    for number in 1..=3 {
        door.offend(address(number), Offence::Slow);
        door.offend(address(number), Offence::Slow);
    }
    // A thousand addresses without a penalty cannot wash one away.
    for number in 100..1100 {
        let place = door.admit(address(number));
        door.admission.released(place);
    }
    door.check();
    for number in 1..=3 {
        assert_eq!(door.refuse(address(number)), Refusal::Penalty);
    }
    assert_eq!(door.admission.table.known_sources(), 4);
    // Longer penalties can: the table is bounded, and the first to end goes first.
    for number in 4..=6 {
        for _ in 0..3 {
            let place = door.admission.admit(address(number), door.now);
            if let Verdict::Admitted(place) = place {
                door.admission.offended(place, Offence::Slow, door.now);
                door.admission.offended(place, Offence::Slow, door.now);
                door.admission.released(place);
            }
        }
    }
    door.check();
    assert_eq!(door.admission.table.known_sources(), 4);
}

#[test]
fn whoever_has_something_open_is_not_forgotten() {
    let mut door = Door::new(AdmissionLimits { penalty_sources: 1, ..limits() });
    let places: Vec<Place> = (0..500).map(|number| door.admit(address(number))).collect();
    assert_eq!(door.admission.table.known_sources(), 500);
    for place in places {
        door.admission.released(place);
        door.check();
    }
    assert_eq!(door.admission.table.known_sources(), 1);
}

#[test]
fn the_worst_sources_come_first() {
    let mut door = Door::new(limits());
    for number in 0..30 {
        for _ in 0..=number {
            door.offend(address(number), Offence::Idle);
        }
    }
    door.settle(address(99));
    let worst = door.admission.worst_sources(16);
    let expected: Vec<_> = (14..30).rev().map(|number| (format!("10.0.0.{number}"), number + 1)).collect();
    assert_eq!(
        worst.iter().map(|(text, counters)| (text.clone(), counters.of(Event::Idle))).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(door.admission.worst_sources(100).len(), 30);
    assert!(door.admission.worst_sources(0).is_empty());
}

#[test]
fn bounds_of_zero_are_one() {
    let mut door = Door::new(AdmissionLimits {
        connections: 0,
        unproven: 0,
        source_connections: 0,
        source_unproven: 0,
        source_rate_per_second: 0,
        source_burst: 0,
        penalty_sources: 0,
        ..limits()
    });
    let place = door.admit(address(1));
    assert!(door.admission.full());
    door.admission.released(place);
    door.check();
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn of<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len().max(1) as u64) as usize)
    }
}

/// The rules as one would say them, with lists, and with tokens where the table has a time.
struct Model {
    limits: AdmissionLimits,
    places: Vec<(Place, Option<IpAddr>, bool)>,
    sources: HashMap<IpAddr, ModelSource>,
}

struct ModelSource {
    tokens: f64,
    counted: Instant,
    penalised_until: Instant,
}

impl Model {
    fn of(&self, from: IpAddr) -> (usize, usize) {
        let places: Vec<_> = self.places.iter().filter(|(_, source, _)| *source == Some(from)).collect();
        (places.len(), places.iter().filter(|(_, _, unproven)| *unproven).count())
    }

    fn refusal(&mut self, from: IpAddr, now: Instant) -> Option<Refusal> {
        let (open, unproven) = self.of(from);
        let burst = f64::from(self.limits.source_burst);
        let source =
            self.sources.entry(from).or_insert(ModelSource { tokens: burst, counted: now, penalised_until: now });
        let earned = (now - source.counted).as_secs_f64() * f64::from(self.limits.source_rate_per_second);
        source.tokens = (source.tokens + earned).min(burst);
        source.counted = now;
        let penalty = source.penalised_until.saturating_duration_since(now);
        if !penalty.is_zero() && penalty >= self.limits.penalty_active {
            return Some(Refusal::Penalty);
        }
        if source.tokens < 1.0 - 1e-6 {
            return Some(Refusal::Rate);
        }
        let most = self.limits.source_connections;
        if open > most || open == most && unproven == 0 {
            return Some(Refusal::Source);
        }
        source.tokens -= 1.0;
        None
    }

    fn victim(&self, newest: Place) -> Option<Place> {
        let source = self.places.iter().find(|(place, _, _)| *place == newest).and_then(|(_, source, _)| *source);
        let unproven: Vec<_> = self.places.iter().filter(|(_, _, unproven)| *unproven).collect();
        if let Some(source) = source {
            let (open, own) = self.of(source);
            if open > self.limits.source_connections || own > self.limits.source_unproven {
                let own = unproven.iter().find(|(place, from, _)| *from == Some(source) && *place != newest);
                if let Some((place, _, _)) = own {
                    return Some(*place);
                }
            }
        }
        let crowded = unproven.len() > self.limits.unproven;
        unproven.iter().find(|(place, _, _)| crowded && *place != newest).map(|(place, _, _)| *place)
    }
}

#[test]
fn does_what_a_naive_model_does() {
    for seed in 1..=3 {
        let mut random = Random(seed);
        let limits = AdmissionLimits {
            connections: 80,
            unproven: 20,
            source_connections: 4,
            source_unproven: 2,
            source_rate_per_second: 1,
            source_burst: 4,
            penalty: Duration::from_secs(2),
            penalty_most: Duration::from_secs(5),
            penalty_active: Duration::from_secs(3),
            trusted: vec!["10.0.0.0/31".parse().unwrap()],
            ..limits()
        };
        let mut door = Door::new(limits.clone());
        let mut model = Model { limits, places: Vec::new(), sources: HashMap::new() };
        for _ in 0..5000 {
            door.wait(random.below(40));
            let number = random.below(24) as u32;
            let from = if number == 23 { None } else { address(number) };
            let chosen = random.of(&model.places).map(|(place, _, _)| *place).unwrap_or(u64::MAX);
            match random.below(8) {
                0..=3 => {
                    assert_eq!(door.admission.full(), model.places.len() >= model.limits.connections);
                    if door.admission.full() {
                        continue;
                    }
                    let source = from.filter(|_| number > 1);
                    let refusal = source.and_then(|source| model.refusal(source, door.now));
                    match (door.admission.admit(from, door.now), refusal) {
                        (Verdict::Refused(refusal), expected) => assert_eq!(Some(refusal), expected),
                        (Verdict::Admitted(place), expected) => {
                            assert_eq!(expected, None);
                            model.places.push((place, source, true));
                            while let Some(victim) = door.admission.victim(place) {
                                assert_eq!(model.victim(place), Some(victim));
                                let at = model.places.iter().position(|(place, _, _)| *place == victim).unwrap();
                                if random.below(3) == 0 {
                                    door.admission.proven(victim);
                                    model.places[at].2 = false;
                                } else {
                                    door.admission.evicted(victim);
                                    model.places.remove(at);
                                }
                            }
                            assert_eq!(model.victim(place), None);
                        }
                    }
                }
                4 => {
                    door.admission.released(chosen);
                    model.places.retain(|(place, _, _)| *place != chosen);
                }
                5 => {
                    door.admission.proven(chosen);
                    model.places.iter_mut().filter(|(place, _, _)| *place == chosen).for_each(|row| row.2 = false);
                }
                6 if random.below(4) == 0 => {
                    door.admission.offended(chosen, Offence::Slow, door.now);
                    door.admission.released(chosen);
                    let at = model.places.iter().position(|(place, _, _)| *place == chosen);
                    if let Some(source) = at.and_then(|at| model.places.remove(at).1) {
                        let source = model.sources.get_mut(&source).unwrap();
                        let until = source.penalised_until.max(door.now) + model.limits.penalty;
                        source.penalised_until = until.min(door.now + model.limits.penalty_most);
                    }
                }
                _ => {}
            }
            door.check();
            assert_eq!(door.admission.open(), model.places.len());
            assert_eq!(door.admission.unproven(), model.places.iter().filter(|(_, _, unproven)| *unproven).count());
            assert!(door.admission.unproven() <= 20);
        }
        for event in [Event::RefusedRate, Event::RefusedSource, Event::RefusedPenalty, Event::Evicted, Event::Slow] {
            assert!(door.count(event) > 0, "{event:?} never happened with seed {seed}");
        }
    }
}

#[test]
fn nothing_drifts_when_the_table_is_small_and_calls_are_senseless() {
    for seed in 1..=2 {
        let mut random = Random(seed);
        let mut door =
            Door::new(AdmissionLimits { connections: 64, penalty_sources: 5, source_connections: 4, ..limits() });
        for _ in 0..3000 {
            door.wait(random.below(3000));
            let place = (door.admission.next + 2).saturating_sub(random.below(60));
            match random.below(7) {
                0..=2 if !door.admission.full() => {
                    door.admission.admit(address(random.below(40) as u32), door.now);
                }
                3 => door.admission.released(place),
                4 => door.admission.evicted(place),
                5 => door.admission.proven(place),
                _ => door.admission.offended(place, Offence::Handshake, door.now),
            }
            door.check();
        }
        for place in 0..door.admission.next {
            door.admission.released(place);
        }
        door.check();
        assert_eq!((door.admission.open(), door.admission.unproven()), (0, 0));
        assert!(door.admission.table.known_sources() <= 5);
    }
}
