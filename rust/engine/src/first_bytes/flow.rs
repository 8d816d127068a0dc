//! One flow: the first bytes of both sides, and how it moves.
//!
//! TCP is put together by its sequence numbers, so a segment that comes twice or late spoils nothing. Of a connection that was there
//! before us nothing is a start: its bytes are kept as a sample of its middle.

use socketkit_wire::hello::{client_hello, Hello};
use socketkit_wire::uses::{classify, looks_random, quic, tls, Encrypted, Segment, Start, Transport, Verdict};
use socketkit_wire::uses::{Head, HELLO_BYTES, START_BYTES};

use super::initial;

/// How long payloads were: below 64, 128, 256, 512, 1,024, 1,500 bytes, and longer.
pub type Sizes = [u32; 7];

/// What one side has sent.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// From its start, if that was seen.
    pub bytes: Vec<u8>,
    /// UDP: how long the first datagram was.
    pub datagram_bytes: u32,
    pub following: Vec<Head>,
    /// Packets with a payload, and what those were long.
    pub packets: u64,
    pub payload_bytes: u64,
    pub sizes: Sizes,
    /// TCP: the number of its first byte.
    base: Option<u32>,
    /// What came before its turn: where it belongs, counted from the first byte.
    early: Vec<(u32, Box<[u8]>)>,
}

/// A flow, from the first packet that was seen on.
#[derive(Clone, Debug)]
pub struct Flow {
    pub transport: Transport,
    /// The side that sent the first packet comes first: of TCP the one that connected, if that was seen.
    pub sides: [Side; 2],
    /// Its start was seen. Of UDP that is the first datagram since we look.
    pub started: bool,
    pub first_ns: u64,
    pub last_ns: u64,
    /// Both sides have closed, or one has reset.
    pub ended: bool,
    closed: [bool; 2],
    /// What the TLS or QUIC hello said, once it is read.
    hello: Option<tls::Facts>,
    quic: Option<Box<Pieces>>,
}

/// A QUIC hello on its way: it may come in several datagrams.
#[derive(Clone, Debug, Default)]
struct Pieces {
    message: Vec<u8>,
    have: Vec<bool>,
    datagrams: u8,
    /// The id that the keys are made from, of the first datagram.
    destination: Vec<u8>,
}

impl Flow {
    pub fn new(segment: &Segment<'_>, now_ns: u64) -> Flow {
        Flow {
            transport: segment.transport,
            sides: Default::default(),
            started: segment.transport == Transport::Udp || segment.syn,
            first_ns: now_ns,
            last_ns: now_ns,
            ended: false,
            closed: [false; 2],
            hello: None,
            quic: None,
        }
    }

    /// Takes what a packet of side `from` (0 or 1) brings. `long` says whether there is room for one more long hello.
    pub fn take(&mut self, segment: &Segment<'_>, from: usize, now_ns: u64, long: bool) {
        self.last_ns = self.last_ns.max(now_ns);
        match segment.transport {
            Transport::Udp => self.take_datagram(segment, from),
            Transport::Tcp => self.take_segment(segment, from, long),
        }
        if let Some(side) = self.sides.get_mut(from).filter(|_| segment.payload_bytes > 0) {
            side.packets += 1;
            side.payload_bytes += segment.payload_bytes as u64;
            if let Some(count) = side.sizes.get_mut(size_class(segment.payload_bytes)) {
                *count = count.saturating_add(1);
            }
        }
    }

    fn take_datagram(&mut self, segment: &Segment<'_>, from: usize) {
        if from == 0 && self.hello.is_none() {
            self.take_initial(segment.payload);
        }
        let Some(side) = self.sides.get_mut(from).filter(|_| segment.payload_bytes > 0) else { return };
        if side.bytes.is_empty() {
            side.bytes = start_of(segment.payload, START_BYTES).to_vec();
            side.datagram_bytes = segment.payload_bytes as u32;
        } else if side.following.len() < FOLLOWING_MOST {
            let mut head = [0; 16];
            for (place, byte) in head.iter_mut().zip(segment.payload) {
                *place = *byte;
            }
            side.following.push((head, segment.payload_bytes as u32));
        }
    }

    fn take_initial(&mut self, datagram: &[u8]) {
        let Some(initial) = quic::initial(datagram) else { return };
        let pieces = self.quic.get_or_insert_default();
        if pieces.datagrams >= INITIALS_MOST {
            return;
        }
        pieces.datagrams += 1;
        if pieces.destination.is_empty() {
            pieces.destination = initial.destination.to_vec();
        }
        let Some(payload) = initial::open(&initial, &pieces.destination) else { return };
        if quic::gather(&payload, &mut pieces.message, &mut pieces.have).is_none() {
            return;
        }
        let whole = pieces.have.iter().position(|here| !here).unwrap_or(pieces.have.len());
        let facts = tls::facts_of_message(start_of(&pieces.message, whole));
        if facts.whole || pieces.datagrams >= INITIALS_MOST {
            self.hello = Some(facts);
            self.quic = None;
        }
    }

    fn take_segment(&mut self, segment: &Segment<'_>, from: usize, long: bool) {
        if segment.syn {
            let begun_anew = self.sides.get_mut(from).is_some_and(|side| side.begin(segment.sequence.wrapping_add(1)));
            if begun_anew && from == 0 {
                self.hello = None;
            }
            // An answer to a SYN says where the other side began, too.
            if let Some((side, acknowledged)) = self.sides.get_mut(1 - from).zip(segment.acknowledged) {
                if side.base.is_none() {
                    side.begin(acknowledged);
                }
            }
        }
        if let Some(closed) = self.closed.get_mut(from) {
            *closed |= segment.fin;
        }
        self.ended |= segment.rst || self.closed == [true; 2];
        let started = self.started;
        let Some(side) = self.sides.get_mut(from).filter(|_| !segment.payload.is_empty()) else { return };
        let Some(base) = side.base.filter(|_| started) else {
            if side.bytes.is_empty() {
                side.bytes = start_of(segment.payload, START_BYTES).to_vec();
            }
            return;
        };
        // What a SYN carries (RFC 7413) stands one further than the SYN itself.
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        side.put(sequence.wrapping_sub(base), segment.payload);
        if from == 0 && self.hello.is_none() && side.begins_tls() {
            let done = !matches!(client_hello(&side.bytes), Hello::Incomplete) || side.bytes.len() >= HELLO_BYTES;
            if done || !long {
                self.hello = Some(tls::offered(&side.bytes));
            }
        }
        let wanted = match from {
            0 if self.hello.is_none() && side.begins_tls() => HELLO_BYTES,
            // Its choices stand behind its share of the key.
            1 if side.begins_tls() => ANSWER_BYTES,
            _ => START_BYTES,
        };
        side.cut(wanted);
    }

    /// Whether it keeps more than a start, because the hello is not all there.
    pub fn is_long(&self) -> bool {
        self.sides.first().is_some_and(|side| side.bytes.len() > START_BYTES) || self.quic.is_some()
    }

    /// Gives up what a hello still misses.
    pub fn settle(&mut self) {
        if let Some(pieces) = self.quic.take() {
            self.hello = Some(tls::facts_of_message(&pieces.message));
        }
    }

    /// What it is; None of what nothing fits. Packets mostly begin where messages do, so the middle of a connection whose start was not
    /// seen may tell as well; but it may be anybody's data, so that is believed less, and only what is exact counts.
    pub fn verdict(&self, ports: [u16; 2]) -> Option<Verdict> {
        let [client, server] = &self.sides;
        let verdict = classify(self.transport, ports, client.start(), server.start())?;
        if self.started {
            return Some(verdict);
        }
        (verdict.sure >= MIDDLE_LEAST).then_some(Verdict {
            sure: verdict.sure.min(MIDDLE_MOST),
            upgraded: false,
            ..verdict
        })
    }

    /// What its hellos said, of TLS, and of QUIC as far as that can be opened.
    pub fn facts(&self) -> Option<tls::Facts> {
        let [client, server] = &self.sides;
        let offered = match &self.hello {
            Some(facts) => facts.clone(),
            None if self.started && self.transport == Transport::Tcp && client.begins_tls() => {
                tls::offered(&client.bytes)
            }
            None => self.quic.as_ref().map(|pieces| tls::facts_of_message(&pieces.message))?,
        };
        Some(if self.transport == Transport::Tcp { tls::answered(offered, &server.bytes) } else { offered })
    }

    /// Whether what nothing fits looks random.
    pub fn randomness(&self) -> Encrypted {
        let [client, server] = &self.sides;
        looks_random(&client.bytes, &server.bytes)
    }
}

impl Side {
    fn start(&self) -> Start<'_> {
        Start { bytes: &self.bytes, datagram_bytes: self.datagram_bytes as usize, following: &self.following }
    }

    fn begins_tls(&self) -> bool {
        matches!(*self.bytes, [22, 3, ..])
    }

    /// The number of its first byte is known. What was kept without it, or of another connection, is no start of this one: whether there
    /// was any.
    fn begin(&mut self, base: u32) -> bool {
        if self.base.replace(base) == Some(base) {
            return false;
        }
        self.early = Vec::new();
        !std::mem::take(&mut self.bytes).is_empty()
    }

    /// Puts `data` at its place, `at` bytes behind the first. What is in front of that is awaited.
    fn put(&mut self, at: u32, data: &[u8]) {
        if at as usize >= HELLO_BYTES {
            // Behind all that is kept, or before the first: a keep-alive's byte, or a number that has gone round.
            return;
        }
        if at as usize > self.bytes.len() {
            if self.early.len() < EARLY_MOST {
                self.early.push((at, start_of(data, HELLO_BYTES - at as usize).into()));
            }
            return;
        }
        self.append(at, data);
        while let Some(next) = self.early.iter().position(|(at, _)| *at as usize <= self.bytes.len()) {
            let (at, data) = self.early.swap_remove(next);
            self.append(at, &data);
        }
    }

    fn append(&mut self, at: u32, data: &[u8]) {
        let known = self.bytes.len() - at as usize;
        let room = HELLO_BYTES.saturating_sub(self.bytes.len());
        if let Some(news) = data.get(known..) {
            self.bytes.extend_from_slice(start_of(news, room));
        }
    }

    fn cut(&mut self, bytes: usize) {
        if self.bytes.len() > bytes {
            self.bytes.truncate(bytes);
        }
        if self.bytes.len() >= bytes {
            self.bytes.shrink_to_fit();
            self.early = Vec::new();
        }
    }
}

fn start_of(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

fn size_class(bytes: usize) -> usize {
    [64, 128, 256, 512, 1_024, 1_500].iter().position(|bound| bytes < *bound).unwrap_or(6)
}

/// Datagrams behind the first one of which the start is kept.
const FOLLOWING_MOST: usize = 3;
const EARLY_MOST: usize = 8;
/// A hello with a post-quantum key takes two.
const INITIALS_MOST: u8 = 4;
const ANSWER_BYTES: usize = 256;
/// In percent: what a middle must show, and how sure it makes.
const MIDDLE_LEAST: u8 = 80;
const MIDDLE_MOST: u8 = 70;
