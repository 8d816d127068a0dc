//! The listener's limits where the relay accepts in its place: who has a seat, and how a seated pair is looked after.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::{self, RecvFlags};

use crate::admission::{Admission, Offence, Place};
use crate::guard::{Cut, Facts, Guard, GuardLimits};

/// Where the listener counts. Called on the relay thread.
pub trait Gate: Send + Sync + fmt::Debug {
    /// Has `act` done under the admission's lock.
    fn admission(&self, act: &mut dyn FnMut(&mut Admission));

    /// One more caller was admitted.
    fn accepted(&self);
}

/// The limits of a forward.
#[derive(Debug, Clone)]
pub struct House {
    pub gate: Arc<dyn Gate>,
    pub guard: GuardLimits,
}

impl House {
    pub(super) fn ask<R>(&self, ask: impl FnOnce(&mut Admission) -> R) -> Option<R> {
        ask_gate(&*self.gate, ask)
    }
}

fn ask_gate<R>(gate: &dyn Gate, ask: impl FnOnce(&mut Admission) -> R) -> Option<R> {
    let (mut ask, mut answer) = (Some(ask), None);
    gate.admission(&mut |admission| answer = ask.take().map(|ask| ask(admission)));
    answer
}

/// A caller's place, released when this is dropped.
pub(super) struct Seat {
    pub place: Place,
    pub since: Instant,
    gate: Arc<dyn Gate>,
    proven: bool,
}

impl Seat {
    pub fn new(house: &House, place: Place, since: Instant) -> Seat {
        house.gate.accepted();
        Seat { place, since, gate: Arc::clone(&house.gate), proven: false }
    }

    /// He has sent something.
    pub fn proves(&mut self) {
        if !std::mem::replace(&mut self.proven, true) {
            ask_gate(&*self.gate, |admission| admission.proven(self.place));
        }
    }

    pub fn evicted(&self) {
        ask_gate(&*self.gate, |admission| admission.evicted(self.place));
    }

    pub fn offended(&self, cut: Cut, now: Instant) {
        let why = match cut {
            Cut::FirstMessage => Offence::FirstMessage,
            Cut::Idle => Offence::Idle,
            Cut::Slow => Offence::Slow,
            Cut::WriteStalled => Offence::WriteStalled,
        };
        ask_gate(&*self.gate, |admission| admission.offended(self.place, why, now));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        ask_gate(&*self.gate, |admission| admission.released(self.place));
    }
}

/// Looks after both sides of a pair. Of a relay's messages nobody knows the borders, so none is slow; its first one is its first byte.
pub(super) struct Guards {
    caller: Guard,
    target: Guard,
}

/// How one direction stands.
pub(super) struct Flow {
    pub read: u64,
    pub delivered: u64,
    /// Nothing more is read.
    pub drained: bool,
}

impl Guards {
    pub fn new(since: Instant) -> Guards {
        Guards { caller: Guard::new(true, since), target: Guard::new(false, Instant::now()) }
    }

    /// What the pair must be cut for, and whether that is the caller's doing.
    pub fn check(&mut self, out: &Flow, back: &Flow, limits: &GuardLimits, now: Instant) -> Option<(Cut, bool)> {
        let blocked = |flow: &Flow| flow.read > flow.delivered;
        let caller = Facts {
            received: out.read,
            sent: back.delivered,
            // Who cannot be read because the other side takes nothing does not idle.
            waiting: !blocked(out) && !blocked(back),
            inside: false,
            unsent: blocked(back),
            // Whom the target has spoken to is served: only the target knows whether it waits for an answer.
            messages: out.read > 0 || out.drained || back.delivered > 0,
        };
        let target = Facts { received: back.read, sent: out.delivered, unsent: blocked(out), ..caller };
        let caller = self.caller.check(&caller, limits, now);
        let target = self.target.check(&target, limits, now);
        caller.map(|cut| (cut, true)).or(target.map(|cut| (cut, false)))
    }
}

/// Whether something has come that nobody has read.
pub(super) fn has_arrived(caller: &OwnedFd) -> bool {
    matches!(net::recv(caller, &mut [0_u8; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((_, 1..)))
}
