//! The loop: one epoll, the pairs and forwards that hang on it, their timers, and the queue of those that have
//! more to do than one turn allows.

use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;

use super::accept::Forwarder;
use super::dial::Dial;
use super::pair::{Owner, Pair, Step};
use super::pump::Kit;
use super::slots::{Key, Slots};
use super::{Report, Side};

pub(super) struct Turn {
    pub(super) epoll: OwnedFd,
    pub(super) slots: Slots<Entry>,
    pub(super) ready: VecDeque<Key>,
    pub(super) timers: Timers,
    /// The report of the pair whose owner is the caller.
    pub(super) report: Option<Report>,
    kit: Kit,
}

pub(super) enum Entry {
    Pair(Box<Pair>),
    Dial(Box<Dial>),
    Forward(Box<Forwarder>),
}

/// What ended a wait.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turned {
    pub woken: bool,
    pub interrupted: bool,
}

impl Turn {
    pub fn new() -> Result<Turn, Errno> {
        Ok(Turn {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            slots: Slots::new(),
            ready: VecDeque::new(),
            timers: Timers::default(),
            report: None,
            kit: Kit::new(),
        })
    }

    /// Has the eventfd `waker` end waits.
    pub fn add_waker(&mut self, waker: &OwnedFd) -> Result<(), Errno> {
        // Edge-triggered: each write is an edge, so it need not be read.
        epoll::add(&self.epoll, waker, EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET)
    }

    /// Waits for something to do, at most for `longest`, and does one share of it.
    pub fn run(&mut self, longest: Option<Duration>) -> Result<Turned, Errno> {
        if self.slots.is_empty() {
            self.kit.close_pipes();
        }
        let wait = self.wait(longest);
        let mut events = [MaybeUninit::uninit(); EVENTS_PER_TURN];
        let events = match epoll::wait(&self.epoll, &mut events[..], wait.as_ref()) {
            Err(Errno::INTR) => return Ok(Turned { interrupted: true, woken: false }),
            waited => waited?.0,
        };
        let mut turned = Turned::default();
        for &mut Event { flags, data } in events {
            if data.u64() == WAKER {
                turned.woken = true;
            } else {
                self.note(data.u64(), flags);
            }
        }
        self.fire();
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.work(key);
            }
        }
        Ok(turned)
    }

    /// Starts a pair; None if there is no place for it.
    pub fn start(&mut self, pair: Pair) -> Option<Key> {
        let key = self.slots.reserve()?;
        self.start_at(key, pair);
        Some(key)
    }

    pub fn start_at(&mut self, key: Key, mut pair: Pair) {
        pair.watch(&self.epoll, key);
        if pair.has_work() {
            pair.queued = true;
            self.ready.push_back(key);
        }
        self.slots.put(key, Entry::Pair(Box::new(pair)));
    }

    /// Ends a pair before its time and gives its report to its owner.
    pub fn stop(&mut self, key: Key) {
        if let Some(Entry::Pair(_)) = self.slots.get(key) {
            self.end_pair(key);
        }
    }

    /// Ends everything: pairs give their report, forwarded connections are reset.
    pub fn stop_all(&mut self) {
        let keys: Vec<(Key, bool)> =
            self.slots.entries().map(|(key, entry)| (key, matches!(entry, Entry::Forward(_)))).collect();
        for (key, _) in keys.iter().filter(|(_, forward)| *forward) {
            self.stop_forward(*key, Duration::ZERO);
        }
        for (key, _) in keys {
            self.stop(key);
        }
    }

    pub fn queue(&mut self, key: Key) {
        let queued = match self.slots.get(key) {
            Some(Entry::Pair(pair)) => &mut pair.queued,
            Some(Entry::Forward(forwarder)) => &mut forwarder.queued,
            _ => return,
        };
        if !std::mem::replace(queued, true) {
            self.ready.push_back(key);
        }
    }

    fn note(&mut self, token: u64, flags: EventFlags) {
        let (key, part) = Key::of_token(token);
        match self.slots.get(key) {
            Some(Entry::Pair(pair)) => pair.note(&self.epoll, key, part, flags),
            Some(Entry::Forward(forwarder)) => forwarder.note(part),
            Some(Entry::Dial(_)) => return self.dialled(key, flags),
            None => return,
        }
        self.queue(key);
    }

    fn work(&mut self, key: Key) {
        match self.slots.get(key) {
            Some(Entry::Pair(_)) => self.work_pair(key),
            Some(Entry::Forward(_)) => self.accept(key),
            _ => {}
        }
    }

    fn work_pair(&mut self, key: Key) {
        let Some(Entry::Pair(pair)) = self.slots.get(key) else {
            return;
        };
        pair.queued = false;
        let step = pair.step(&self.epoll, key, &mut self.kit);
        pair.prove();
        if pair.failure.is_some() && pair.timer.is_none() && step != Step::Over {
            pair.timer = Some(self.timers.set(Instant::now() + FLUSH_AFTER_FAILURE, key));
        }
        match step {
            Step::Waiting => {}
            Step::More => self.queue(key),
            Step::Over => self.end_pair(key),
        }
    }

    fn end_pair(&mut self, key: Key) {
        let Some(Entry::Pair(mut pair)) = self.slots.free(key) else {
            return;
        };
        self.timers.cancel(pair.timer.take());
        if let Owner::Forward(forward) = pair.owner {
            self.end_connection(forward, *pair);
            return;
        }
        pair.unwatch(&self.epoll);
        let report = pair.report();
        match &pair.owner {
            Owner::Job(completion) => completion.report(report),
            _ => self.report = Some(report),
        }
    }

    fn fire(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(key) = self.timers.expired(now) {
            match self.slots.get(key) {
                Some(Entry::Pair(_)) => self.end_pair(key),
                Some(Entry::Dial(_)) => self.dial_timer(key, now),
                Some(Entry::Forward(_)) => self.forward_timer(key, now),
                None => {}
            }
        }
    }

    fn wait(&self, longest: Option<Duration>) -> Option<Timespec> {
        if !self.ready.is_empty() {
            return Some(Timespec::default());
        }
        let timer = self.timers.next().map(|due| due.saturating_duration_since(Instant::now()));
        let wait = match (timer, longest) {
            (Some(timer), Some(longest)) => timer.min(longest),
            (timer, longest) => timer.or(longest)?,
        };
        // Over an hour is no use, and more than the old system call can say.
        Timespec::try_from(wait.min(Duration::from_secs(3600))).ok()
    }
}

/// A timer that is set; give it back to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    due: Instant,
    number: u64,
}

impl Timer {
    pub fn due(self) -> Instant {
        self.due
    }
}

#[derive(Default)]
pub(super) struct Timers {
    set: BTreeMap<Timer, Key>,
    number: u64,
}

impl Timers {
    pub fn set(&mut self, due: Instant, key: Key) -> Timer {
        self.number += 1;
        let timer = Timer { due, number: self.number };
        self.set.insert(timer, key);
        timer
    }

    pub fn cancel(&mut self, timer: Option<Timer>) {
        timer.map(|timer| self.set.remove(&timer));
    }

    fn expired(&mut self, now: Instant) -> Option<Key> {
        let first = self.set.first_entry()?;
        (first.key().due <= now).then(|| first.remove())
    }

    fn next(&self) -> Option<Instant> {
        self.set.first_key_value().map(|(timer, _)| timer.due)
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// Sides that get no relaying: everything they brought goes back to their owner.
pub(super) fn unstarted(a: Side, b: Side, failure: super::Failure) -> Report {
    let (unsent_a, unsent_b) = (a.unsent.len(), b.unsent.len());
    let mut leftover_a = a.unsent;
    leftover_a.extend(b.received);
    let mut leftover_b = b.unsent;
    leftover_b.extend(a.received);
    Report {
        failure: Some(failure),
        leftover_a,
        leftover_b,
        unsent_a,
        unsent_b,
        ended_a: a.ended,
        ended_b: b.ended,
        finished_a: a.finished,
        finished_b: b.finished,
        ..Report::default()
    }
}

const WAKER: u64 = u64::MAX;
const EVENTS_PER_TURN: usize = 256;
/// How long the other side may take for what a failed side had sent.
const FLUSH_AFTER_FAILURE: Duration = Duration::from_secs(5);
