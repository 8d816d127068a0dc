//! The background thread that runs pairs and forwards, and the commands it takes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};

use super::forward::{Forward, ForwardCompletion, ForwardJob};
use super::pair::{Owner, Pair};
use super::slots::Key;
use super::turn::{unstarted, Turn};
use super::{Completion, Failure, Job, Operation, Side, Which};

/// A thread that relays. Dropping it stops everything on it at once (pairs give their report, forwarded
/// connections are reset) and waits for its end, which takes a turn of its loop.
#[derive(Debug)]
pub struct Thread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    commands: Mutex<VecDeque<Command>>,
    closing: AtomicBool,
    waker: OwnedFd,
}

#[derive(Debug)]
enum Command {
    Relay(Side, Side, Completion),
    Stop(Arc<Job>),
    Forward(Forward, ForwardCompletion),
    StopForward(Arc<ForwardJob>, Duration),
    #[cfg(test)]
    Panic,
}

impl Thread {
    pub fn start() -> io::Result<Thread> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { commands: Mutex::default(), closing: AtomicBool::new(false), waker });
        let turn = shared.turn()?;
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("socketkit-relay".into()).spawn(move || theirs.run(turn))?;
        Ok(Thread { shared, thread: Some(thread) })
    }

    /// Relays between two sockets; 1 is added to the eventfd `notify` when the job is done.
    pub fn relay(&self, a: Side, b: Side, notify: Arc<OwnedFd>) -> Arc<Job> {
        let job = Arc::new(Job::new(notify));
        self.shared.submit(Command::Relay(a, b, Completion(Arc::clone(&job))));
        job
    }

    /// Ends a pair before its time; its report follows as at its own end. No effect on one that is done.
    pub fn stop(&self, job: &Arc<Job>) {
        self.shared.submit(Command::Stop(Arc::clone(job)));
    }

    /// Accepts and forwards until stopped; 1 is added to the eventfd `notify` when the job is done.
    pub fn forward(&self, forward: Forward, notify: Arc<OwnedFd>) -> Arc<ForwardJob> {
        let job = Arc::new(ForwardJob::new(notify));
        self.shared.submit(Command::Forward(forward, ForwardCompletion(Arc::clone(&job))));
        job
    }

    /// Stops accepting; open connections have `grace` to end, then they are reset. May be called again with less.
    pub fn stop_forward(&self, job: &Arc<ForwardJob>, grace: Duration) {
        self.shared.submit(Command::StopForward(Arc::clone(job), grace));
    }

    #[cfg(test)]
    fn panic(&self) {
        self.shared.submit(Command::Panic);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake();
        self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn submit(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.wake();
    }

    fn wake(&self) {
        // EAGAIN: the counter is full, so the thread is awake.
        let _ = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
    }

    fn turn(&self) -> io::Result<Turn> {
        let mut turn = Turn::new()?;
        turn.add_waker(&self.waker)?;
        Ok(turn)
    }

    /// The thread. A panic fails the jobs that were running (their completions are dropped with the loop) and
    /// the thread goes on with a new loop.
    fn run(&self, mut turn: Turn) {
        loop {
            let ended = catch_unwind(AssertUnwindSafe(|| self.work(&mut turn)));
            if ended.is_ok_and(|closing| closing) {
                turn.stop_all();
            }
            drop(turn);
            if self.closing.load(Ordering::Acquire) {
                break;
            }
            turn = match self.turn() {
                Ok(turn) => turn,
                Err(_) => break,
            };
        }
        // Nobody reads commands from now on: dropping them fails their jobs.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Turns until the thread is told to close (true) or the epoll fails.
    fn work(&self, turn: &mut Turn) -> bool {
        loop {
            // Before the first wait too: commands may be older than this loop.
            while let Some(command) = self.next() {
                self.obey(turn, command);
            }
            if self.closing.load(Ordering::Acquire) {
                return true;
            }
            loop {
                match turn.run(None) {
                    Ok(turned) if turned.woken => break,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }
    }

    fn next(&self) -> Option<Command> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn obey(&self, turn: &mut Turn, command: Command) {
        match command {
            Command::Relay(a, b, completion) => {
                let Some(key) = turn.slots.reserve() else {
                    let failure =
                        Failure { side: Which::A, operation: Operation::Watch, errno: rustix::io::Errno::NOMEM };
                    return completion.report(unstarted(a, b, failure));
                };
                completion.0.finish.slot.store(key.to_u64(), Ordering::Relaxed);
                let progress = Arc::clone(&completion.0.progress);
                turn.start_at(key, Pair::new(a, b, Owner::Job(completion), progress));
            }
            Command::Stop(job) => turn.stop(Key::from_u64(job.finish.slot.load(Ordering::Relaxed))),
            Command::Forward(forward, completion) => turn.start_forward(forward, completion),
            Command::StopForward(job, grace) => {
                turn.stop_forward(Key::from_u64(job.finish.slot.load(Ordering::Relaxed)), grace);
            }
            #[cfg(test)]
            Command::Panic => panic!("a test asked for it"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::super::{Report, Target};
    use super::*;

    #[test]
    fn a_panic_fails_the_jobs_and_the_thread_goes_on() {
        let thread = Thread::start().unwrap();
        let notify = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
        let (left, a) = UnixStream::pair().unwrap();
        let (right, b) = UnixStream::pair().unwrap();
        let (a, b) = (Arc::new(OwnedFd::from(a)), Arc::new(OwnedFd::from(b)));
        let relay = || thread.relay(Side::new(Arc::clone(&a)), Side::new(Arc::clone(&b)), Arc::clone(&notify));
        let forward = Forward {
            listeners: vec![Arc::new(TcpListener::bind("127.0.0.1:0").unwrap().into())],
            targets: vec![Target::Tcp(([127, 0, 0, 1], 1).into())],
            connections_max: 10,
            connect_timeout: Duration::from_secs(1),
            house: None,
        };
        let forward = thread.forward(forward, Arc::clone(&notify));
        let job = relay();
        thread.panic();
        assert_eq!(report(&job).failure.unwrap().operation, Operation::Engine);
        assert!(forward.done());
        let job = relay();
        drop((left, right));
        assert_eq!(report(&job).failure, None);
    }

    fn report(job: &Job) -> Report {
        let end = Instant::now() + Duration::from_secs(10);
        while !job.done() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        job.take_report().unwrap()
    }
}
