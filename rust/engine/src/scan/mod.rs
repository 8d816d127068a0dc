//! A port scan: many SYNs, or connects, at a rate that the way and the target can bear, again and again until no port is missing.
//!
//! `Rounds` decides what is probed and when it is over, `Rate` how fast; neither has sockets or a clock. `Job` is the thread that
//! does it, by half-open probes (`syn`) where the user may open raw sockets, by connects (`connect`) elsewhere.

mod connect;
mod job;
mod rate;
mod rounds;
mod syn;
#[cfg(test)]
mod world;

pub use job::{Found, Job, Method, Order, Outcome, Progress, Target};
pub use rounds::{Rounds, State, MOST_PROBES};
