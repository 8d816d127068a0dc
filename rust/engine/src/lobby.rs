//! Between the kernel's backlog and the application: who calls is admitted or turned away, and under TLS proves itself, before anything
//! above the engine hears of him. A flood, a stalled handshake, a slow drip end here.
//!
//! One caller's path: `accept` takes him from a door and asks `Admission`; without TLS he has arrived. Under TLS he is a newcomer: his
//! bytes stay in the kernel (looked at, not taken) until the ClientHello is whole, so that a stalled handshake costs no memory of ours;
//! then a session is made, `work` drives it with a bound per turn, and he has arrived when it is done.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{recv, sockopt, RecvFlags, SocketAddrAny};
use socketkit_wire::hello::{client_hello, Hello, MAX_HELLO_BYTES};

use crate::admission::{Admission, Offence, Place, Verdict};
use crate::listener::{Accepted, Source};
use crate::reactor::{Readiness, Token};
use crate::stream::{Carrier, Shaken, Stream, WriteMarks};
use crate::tls::{Fault, ServerTls, Session};

/// How the callers of a lobby are treated.
pub struct House {
    pub carrier: Carrier,
    pub marks: WriteMarks,
    pub tls: Option<ServerTls>,
    /// From the accept to the end of the handshake.
    pub handshake: Duration,
    /// For a caller who has not proved himself: what the kernel may keep for him (0: as much as it likes).
    pub receive_buffer_bytes: usize,
    /// Whether half a ClientHello may stay in the kernel. `poll` tells of it again and again: a thread that waits there would spin.
    pub leaves_hellos: bool,
}

pub struct Lobby {
    doors: Vec<Door>,
    /// Which door is asked first next time, so that none is preferred.
    next: usize,
    house: House,
    admission: Admission,
    /// By age.
    newcomers: BTreeMap<Place, Newcomer>,
    /// Those of whom there is news.
    stirring: VecDeque<Place>,
    arrivals: VecDeque<Arrival>,
    /// Tokens of newcomers who are gone.
    departed: Vec<Token>,
}

pub struct Door {
    pub source: Arc<Source>,
    pub token: Option<Token>,
    pub ready: bool,
}

struct Newcomer {
    stream: Stream,
    from: Option<SocketAddrAny>,
    since: Instant,
    token: Option<Token>,
    stirs: bool,
}

/// Somebody for the application.
pub struct Arrival {
    pub stream: Stream,
    pub from: Option<SocketAddrAny>,
    pub place: Place,
    pub since: Instant,
    /// What his socket is registered as, if it is.
    pub token: Option<Token>,
}

pub enum Step {
    Arrived(Box<Arrival>),
    /// One who must prove himself first; his socket is to be watched.
    Newcomer(Place),
    /// One was turned away; there may be more.
    TurnedAway,
    Blocked,
    /// All places are taken: the backlog keeps the callers.
    Full,
    /// The process or the machine is out of descriptors or memory.
    Exhausted(Errno),
}

impl Lobby {
    pub fn new(sources: Vec<Source>, house: House, admission: Admission) -> Self {
        let doors =
            sources.into_iter().map(|source| Door { source: Arc::new(source), token: None, ready: true }).collect();
        Self {
            doors,
            next: 0,
            house,
            admission,
            newcomers: BTreeMap::new(),
            stirring: VecDeque::new(),
            arrivals: VecDeque::new(),
            departed: Vec::new(),
        }
    }

    /// The next step of letting somebody in. `evict` is asked to cut a connection that the application has; false if it finds that its
    /// peer has proved himself.
    pub fn accept(&mut self, now: Instant, evict: &mut dyn FnMut(Place) -> bool) -> Result<Step, Errno> {
        if let Some(arrival) = self.arrivals.pop_front() {
            return Ok(Step::Arrived(Box::new(arrival)));
        }
        self.let_in(now, evict)
    }

    /// As `accept`, but those who have arrived stay for the next one who accepts: for a lobby under TLS, whose callers must get on with
    /// their handshakes whether somebody accepts or not.
    pub fn let_in(&mut self, now: Instant, evict: &mut dyn FnMut(Place) -> bool) -> Result<Step, Errno> {
        if self.admission.full() || self.arrivals.len() >= ARRIVALS {
            return Ok(Step::Full);
        }
        for step in 0..self.doors.len() {
            let index = (self.next + step) % self.doors.len();
            let door = &mut self.doors[index];
            if !door.ready {
                continue;
            }
            match door.source.accept()? {
                Accepted::Stream(fd, from) => {
                    self.next = index + 1;
                    return Ok(self.admit(fd, from, now, evict));
                }
                Accepted::Blocked => door.ready = false,
                Accepted::Exhausted(why) => {
                    // Whoever stays longest without a word makes room for the next.
                    let Some(oldest) = self.admission.oldest_unproven() else { return Ok(Step::Exhausted(why)) };
                    return Ok(if self.evict(oldest, evict) { Step::TurnedAway } else { Step::Exhausted(why) });
                }
            }
        }
        Ok(Step::Blocked)
    }

    /// What the reactor said of a newcomer's socket.
    pub fn news(&mut self, place: Place, news: Readiness) {
        if let Some(newcomer) = self.newcomers.get_mut(&place) {
            newcomer.stream.ready(news);
            if !std::mem::replace(&mut newcomer.stirs, true) {
                self.stirring.push_back(place);
            }
        }
    }

    /// Drives the handshakes of which there is news, `most` of them; whether there are more. Each costs a fraction of a millisecond of
    /// computing, which those who are already in must not feel.
    pub fn work(&mut self, now: Instant, most: usize) -> bool {
        for _ in 0..most {
            let Some(place) = self.stirring.pop_front() else { return false };
            let Some(mut newcomer) = self.newcomers.remove(&place) else { continue };
            newcomer.stirs = false;
            match self.shake(&mut newcomer) {
                Ok(Shaken::Done) => self.arrive(place, newcomer),
                Ok(Shaken::Blocked) => {
                    self.newcomers.insert(place, newcomer);
                }
                Err(failure) => {
                    if failure == Errno::PROTO && offends(newcomer.stream.fault()) {
                        self.admission.offended(place, Offence::Handshake, now);
                    }
                    self.dismiss(place, newcomer);
                }
            }
        }
        !self.stirring.is_empty()
    }

    /// Turns away those whose time to prove themselves is over.
    pub fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.newcomers.first_entry() {
            if now.saturating_duration_since(oldest.get().since) < self.house.handshake {
                break;
            }
            let (place, newcomer) = oldest.remove_entry();
            self.admission.offended(place, Offence::Handshake, now);
            self.dismiss(place, newcomer);
        }
    }

    /// When `expire` has something to do.
    pub fn due(&self) -> Option<Instant> {
        let (_, oldest) = self.newcomers.first_key_value()?;
        oldest.since.checked_add(self.house.handshake)
    }

    /// Notes that a newcomer's socket is registered.
    pub fn watched(&mut self, place: Place, token: Token) {
        match self.newcomers.get_mut(&place) {
            Some(newcomer) => newcomer.token = Some(token),
            None => self.departed.push(token),
        }
    }

    /// The tokens of newcomers who are gone (their sockets are closed), to be forgotten.
    pub fn departed(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.departed)
    }

    /// A newcomer's socket, to be registered, and whether it waits to write.
    pub fn newcomer(&self, place: Place) -> Option<&Stream> {
        self.newcomers.get(&place).map(|newcomer| &newcomer.stream)
    }

    pub fn newcomers(&self) -> impl Iterator<Item = (Place, &Stream)> {
        self.newcomers.iter().map(|(place, newcomer)| (*place, &newcomer.stream))
    }

    /// Whether callers must shake hands first.
    pub fn sealed(&self) -> bool {
        self.house.tls.is_some()
    }

    pub fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Whether `accept` may have a step to take.
    pub fn promising(&self) -> bool {
        self.has_arrivals() || (self.doors.iter().any(|door| door.ready) && !self.admission.full())
    }

    pub fn doors(&mut self) -> &mut Vec<Door> {
        &mut self.doors
    }

    pub fn admission(&mut self) -> &mut Admission {
        &mut self.admission
    }

    pub fn seen(&self) -> &Admission {
        &self.admission
    }

    /// Closes: the doors (to be taken out of the reactor), and everybody who has not arrived.
    pub fn shut(&mut self) -> Vec<Door> {
        for (place, newcomer) in std::mem::take(&mut self.newcomers) {
            self.dismiss(place, newcomer);
        }
        for arrival in std::mem::take(&mut self.arrivals) {
            self.departed.extend(arrival.token);
            self.admission.released(arrival.place);
            let mut stream = arrival.stream;
            drop(stream.reset());
        }
        std::mem::take(&mut self.doors)
    }

    fn admit(
        &mut self,
        fd: OwnedFd,
        from: Option<SocketAddrAny>,
        now: Instant,
        evict: &mut dyn FnMut(Place) -> bool,
    ) -> Step {
        let mut stream = Stream::new(fd, self.house.carrier, self.house.marks);
        let place = match self.admission.admit(from.as_ref().and_then(ip), now) {
            Verdict::Admitted(place) => place,
            Verdict::Refused(_) => {
                drop(stream.reset());
                return Step::TurnedAway;
            }
        };
        // Each answer changes the question; a bound all the same.
        for _ in 0..EVICTIONS {
            let Some(victim) = self.admission.victim(place) else { break };
            self.evict(victim, evict);
        }
        if self.house.tls.is_none() {
            return Step::Arrived(Box::new(Arrival { stream, from, place, since: now, token: None }));
        }
        if self.house.receive_buffer_bytes > 0 && self.house.carrier == Carrier::Tcp {
            let _ = sockopt::set_socket_recv_buffer_size(stream.fd(), self.house.receive_buffer_bytes);
        }
        self.newcomers.insert(place, Newcomer { stream, from, since: now, token: None, stirs: true });
        self.stirring.push_back(place);
        Step::Newcomer(place)
    }

    fn evict(&mut self, victim: Place, evict: &mut dyn FnMut(Place) -> bool) -> bool {
        if let Some(newcomer) = self.newcomers.remove(&victim) {
            self.departed.extend(newcomer.token);
            let mut stream = newcomer.stream;
            drop(stream.reset());
        } else if let Some(index) = self.arrivals.iter().position(|arrival| arrival.place == victim) {
            if self.arrivals[index].stream.has_arrived() {
                self.admission.proven(victim);
                return false;
            }
            if let Some(mut arrival) = self.arrivals.remove(index) {
                self.departed.extend(arrival.token);
                drop(arrival.stream.reset());
            }
        } else if !evict(victim) {
            self.admission.proven(victim);
            return false;
        }
        self.admission.evicted(victim);
        true
    }

    fn shake(&mut self, newcomer: &mut Newcomer) -> Result<Shaken, Errno> {
        let stream = &mut newcomer.stream;
        drop(stream.flush());
        if stream.session().is_none() {
            let Some(tls) = &self.house.tls else { return Ok(Shaken::Done) };
            if self.house.leaves_hellos && !hello_is_whole(stream)? {
                return Ok(Shaken::Blocked);
            }
            let session = Session::server(tls).map_err(|_| Errno::NOMEM)?;
            stream.start_tls(session)?;
        }
        stream.shake()
    }

    fn arrive(&mut self, place: Place, newcomer: Newcomer) {
        let Newcomer { stream, from, since, token, .. } = newcomer;
        // A key that was asked for and is on the list is more than a first message.
        if stream.session().is_some_and(Session::authorized) {
            self.admission.proven(place);
        }
        self.arrivals.push_back(Arrival { stream, from, place, since, token });
    }

    /// Lets a newcomer go so that the alert which tells him why can reach him.
    fn dismiss(&mut self, place: Place, newcomer: Newcomer) {
        self.departed.extend(newcomer.token);
        self.admission.released(place);
        let mut stream = newcomer.stream;
        stream.part();
    }
}

/// Whoever goes away in the middle, or does not want this server's key, has done nothing wrong.
fn offends(fault: Option<&Fault>) -> bool {
    !matches!(fault, Some(Fault::Truncated | Fault::Refused(_)))
}

/// Whether a ClientHello has arrived. It stays in the kernel.
fn hello_is_whole(stream: &mut Stream) -> Result<bool, Errno> {
    with_glance(|glance| {
        let count = match recv(stream.fd(), &mut *glance, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((_, 0)) => return Err(Errno::CONNRESET),
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        match client_hello(&glance[..count]) {
            Hello::Complete { .. } => Ok(true),
            // He has ended, so it will never be whole.
            Hello::Incomplete if stream.saw_end() => Err(Errno::CONNRESET),
            Hello::Incomplete => Ok(false),
            Hello::Refused(_) => Err(Errno::PROTO),
        }
    })
}

fn with_glance<R>(body: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static GLANCE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    GLANCE.with(|glance| {
        let mut glance = glance.borrow_mut();
        glance.resize(MAX_HELLO_BYTES, 0);
        body(&mut glance)
    })
}

fn ip(address: &SocketAddrAny) -> Option<IpAddr> {
    SocketAddr::try_from(address.clone()).ok().map(|address| address.ip())
}

/// How many may wait for the application's `accept` after they have proved themselves.
const ARRIVALS: usize = 64;
/// How many one caller may push out.
const EVICTIONS: usize = 4;

#[cfg(test)]
mod tests;
