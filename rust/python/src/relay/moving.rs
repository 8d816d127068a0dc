//! Two streams whose bytes are moved where they are, because one of them is under TLS: what the kernel has is ciphertext, which the relay
//! thread cannot use. Both stay registered with their loop, whose news of either makes a step here.
//!
//! Nothing is ever in hand: a chunk is read from one side only when the other has room, and is that side's before the step ends. So
//! whoever stops it finds every byte in one of the two.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use socketkit_engine::relay::Which;
use socketkit_engine::stream::Received;
use socketkit_engine::Errno;

use super::{End, Outcome, RelayShared, Stage};
use crate::blocking::{self, Watch};
use crate::failure::os_error;
use crate::reactor::Remote;
use crate::stream::lending::{Returned, Room};
use crate::stream::{with_scratch, StreamShared};

impl RelayShared {
    pub(super) fn start_moving(self: &Arc<Self>, py: Python<'_>, finished_a: bool, finished_b: bool) -> PyResult<()> {
        for stream in [&self.a, &self.b] {
            stream.lend_here(Arc::downgrade(self)).map_err(os_error)?;
        }
        *self.stage() = Stage::Moving(Mover::new(finished_a, finished_b));
        if let Some(reactor) = self.reactor(py) {
            reactor.get().watch_remote(Remote::Relay(Arc::downgrade(self)));
            self.step(py);
        }
        Ok(())
    }

    /// After news of one of its streams.
    pub fn step(&self, py: Python<'_>) {
        let moved = match &mut *self.stage() {
            Stage::Moving(mover) => mover.step(&self.a, &self.b),
            _ => return,
        };
        match moved {
            Moved::Waiting => {}
            // Whoever is asked for remotes' news makes the next step, after the others' turn.
            Moved::More => self.ask_again(py),
            Moved::Over => self.settle_here(py),
        }
    }

    /// From time to time: goes on if its share was used up, or the time after a failure is over.
    pub fn look(&self, py: Python<'_>) {
        if matches!(&*self.stage(), Stage::Moving(mover) if mover.unfinished()) {
            self.step(py);
        }
    }

    /// Moves in this thread until the end or `deadline` (false).
    pub(super) fn move_alone(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        while matches!(*self.stage(), Stage::Moving(_)) {
            if self.halted.load(Ordering::Relaxed) || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.settle_here(py);
                break;
            }
            self.step(py);
            let more = match &*self.stage() {
                Stage::Moving(mover) => mover.more,
                _ => break,
            };
            let until = Instant::now() + if more { Duration::ZERO } else { STOP_CHECK };
            let until = deadline.map_or(until, |deadline| until.min(deadline));
            let (mut polled, mut sources) = (Vec::new(), Vec::new());
            for stream in [&self.a, &self.b] {
                if let Some((fd, flags)) = stream.poll_for_moving() {
                    polled.push(stream);
                    sources.push((fd as _, flags));
                }
            }
            let news = match blocking::poll(py, Watch { sources, until: Some(until) }) {
                Ok(news) => news.unwrap_or_default(),
                Err(signalled) => {
                    self.settle_here(py);
                    return Err(signalled);
                }
            };
            for (stream, news) in polled.iter().zip(&news) {
                stream.note(None, &[*news]);
            }
        }
        Ok(!matches!(*self.stage(), Stage::Over(Outcome { end: End::Stopped, .. })))
    }

    /// Gives both streams back.
    pub(super) fn settle_here(&self, py: Python<'_>) {
        let mut mover = match std::mem::replace(&mut *self.stage(), Stage::Settling) {
            Stage::Moving(mover) => mover,
            other => {
                *self.stage() = other;
                return;
            }
        };
        let (a_to_b, b_to_a) = mover.delivered(&self.a, &self.b);
        let broken = |which| mover.failure.filter(|(side, _)| *side == which).map(|(_, failure)| failure);
        let give_back = |stream: &Arc<StreamShared>, which| {
            stream.take_back(py, Returned { broken: broken(which), ..Returned::default() })
        };
        let (alive_a, alive_b) = (give_back(&self.a, Which::A), give_back(&self.b, Which::B));
        let end = match mover.failure {
            _ if !alive_a => End::Closed(Which::A),
            _ if !alive_b => End::Closed(Which::B),
            Some((side, failure)) => End::Broken(side, failure),
            None if mover.done() => End::Done,
            None => End::Stopped,
        };
        self.cut(py, end);
        *self.stage() = Stage::Over(Outcome { a_to_b, b_to_a, end });
        self.wake(py);
    }

    fn ask_again(&self, py: Python<'_>) {
        if let Some(reactor) = self.reactor(py) {
            // EAGAIN: the counter is full, so the loop is going to look.
            let _ = rustix::io::write(reactor.get().notifier(), &1_u64.to_ne_bytes());
        }
    }
}

pub struct Mover {
    a_to_b: Way,
    b_to_a: Way,
    failure: Option<(Which, Errno)>,
    /// After a failure: how long the other side may take for what the failed one had sent.
    until: Option<Instant>,
    /// The last step used its share up.
    more: bool,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Nothing more is read: the source has ended, or failed.
    drained: bool,
    /// Nothing more will be done here.
    over: bool,
    moved: u64,
    told: u64,
}

enum Moved {
    Waiting,
    /// Its share of this turn is used up.
    More,
    Over,
}

impl Mover {
    /// Nothing can be sent to a side that is finished, so nothing is read for it.
    fn new(finished_a: bool, finished_b: bool) -> Self {
        let way = |over| Way { over, ..Way::default() };
        Self { a_to_b: way(finished_b), b_to_a: way(finished_a), failure: None, until: None, more: false }
    }

    /// Moves what can be moved in one turn.
    fn step(&mut self, a: &Arc<StreamShared>, b: &Arc<StreamShared>) -> Moved {
        let before = self.failure;
        let mut more = self.run(Which::A, a, b) | self.run(Which::B, b, a);
        if self.failure != before {
            // What came before the failure is still to be delivered.
            more |= self.run(Which::A, a, b) | self.run(Which::B, b, a);
        }
        self.find_lost(a, b);
        self.more = more;
        let late = self.until.is_some_and(|until| until <= Instant::now());
        if late || (self.a_to_b.over && self.b_to_a.over) {
            Moved::Over
        } else if more {
            Moved::More
        } else {
            Moved::Waiting
        }
    }

    /// Whether there is something to do without news.
    fn unfinished(&self) -> bool {
        self.more || self.until.is_some_and(|until| until <= Instant::now())
    }

    fn done(&self) -> bool {
        self.failure.is_none() && self.a_to_b.over && self.b_to_a.over
    }

    /// What the kernel took for B and for A. Under TLS the queue is longer than what is in it, so it may be a little more.
    pub fn delivered(&mut self, a: &StreamShared, b: &StreamShared) -> (u64, u64) {
        (self.a_to_b.delivered(b), self.b_to_a.delivered(a))
    }

    /// Runs the direction that starts at `from`; true if it wants another turn.
    fn run(&mut self, from: Which, source: &Arc<StreamShared>, destination: &Arc<StreamShared>) -> bool {
        let failing = self.failure.is_some();
        let way = match from {
            Which::A => &mut self.a_to_b,
            Which::B => &mut self.b_to_a,
        };
        if way.over {
            return false;
        }
        match way.run(source, destination, failing) {
            Ok(more) => more,
            Err((true, errno)) => {
                way.drained = true;
                self.fail(from, errno)
            }
            Err((false, errno)) => self.fail(other(from), errno),
        }
    }

    /// Finds the reset of a side that has ended and is not read any more. Not once both have: who has closed altogether answers a
    /// close_notify with a reset.
    fn find_lost(&mut self, a: &StreamShared, b: &StreamShared) {
        if self.failure.is_some() || (self.a_to_b.over && self.b_to_a.over) {
            return;
        }
        for (side, stream) in [(Which::A, a), (Which::B, b)] {
            let drained = match side {
                Which::A => self.a_to_b.drained,
                Which::B => self.b_to_a.drained,
            };
            if let Some(errno) = Some(stream).filter(|_| drained).and_then(|stream| stream.lost()) {
                self.fail(side, errno);
            }
        }
    }

    /// Notes a failure: nothing more goes to that side, and what came from it is being delivered.
    fn fail(&mut self, side: Which, errno: Errno) -> bool {
        self.failure.get_or_insert((side, errno));
        self.until.get_or_insert_with(|| Instant::now() + FLUSH_AFTER_FAILURE);
        match side {
            Which::A => self.b_to_a.over = true,
            Which::B => self.a_to_b.over = true,
        }
        false
    }
}

impl Way {
    /// Whether it wants another turn. An error is the source's (true) or the destination's.
    fn run(
        &mut self,
        source: &Arc<StreamShared>,
        destination: &Arc<StreamShared>,
        failing: bool,
    ) -> Result<bool, (bool, Errno)> {
        let mut budget = TURN_BYTES;
        while !self.drained {
            let room = destination.room().map_err(|errno| (false, errno))?;
            source.listens(room == Room::Some);
            if room == Room::None {
                return Ok(false);
            }
            if budget == 0 {
                return Ok(true);
            }
            let got = with_scratch(usize::MAX, |scratch| {
                let got = source.pull(scratch).map_err(|errno| (true, errno))?;
                if let Received::Data(count) = got {
                    destination.put(&scratch[..count]).map_err(|errno| (false, errno))?;
                }
                Ok(got)
            })?;
            match got {
                Received::Data(count) => {
                    self.moved += count as u64;
                    budget = budget.saturating_sub(count);
                }
                Received::Blocked if !failing => return Ok(false),
                // After a reset the kernel tells of it once, and then of an end.
                Received::Blocked | Received::End if failing => self.drained = true,
                Received::Blocked | Received::End => {
                    self.drained = true;
                    if !destination.end().map_err(|errno| (false, errno))? {
                        self.over = true;
                        return Ok(false);
                    }
                }
            }
        }
        self.over = destination.sent_all().map_err(|errno| (false, errno))?;
        Ok(false)
    }

    fn delivered(&mut self, destination: &StreamShared) -> u64 {
        self.told = self.told.max(self.moved.saturating_sub(destination.queued_to_send()));
        self.told
    }
}

fn other(which: Which) -> Which {
    match which {
        Which::A => Which::B,
        Which::B => Which::A,
    }
}

/// What one direction may move before the others have their turn: some tenths of a millisecond of sealing or opening.
const TURN_BYTES: usize = 512 * 1024;
/// How often one that blocks asks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
const FLUSH_AFTER_FAILURE: Duration = Duration::from_secs(5);
