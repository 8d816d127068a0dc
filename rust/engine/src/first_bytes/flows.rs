//! The flows that are known: by their two ends, at most so many, the longest silent ones go first.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use socketkit_wire::uses::{Segment, Transport};

use super::flow::Flow;

/// An end of a flow.
pub type End = (IpAddr, u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    transport: Transport,
    /// The lower end first: both directions are one flow.
    ends: [End; 2],
}

#[derive(Debug)]
struct Place {
    key: Key,
    /// Which of the key's ends is the flow's first side.
    first: usize,
    flow: Flow,
    /// Neighbours in the order of last use.
    newer: u32,
    older: u32,
}

/// What was found: the flow, and which of its sides is the local end that was asked for.
#[derive(Clone, Debug)]
pub struct Found {
    pub flow: Flow,
    pub local: usize,
    pub ends: [End; 2],
}

#[derive(Debug)]
pub struct Flows {
    by_key: HashMap<Key, u32>,
    places: Vec<Place>,
    newest: u32,
    oldest: u32,
    most: usize,
    idle_ns: u64,
    /// The flow that a port was last seen in, of TCP and of UDP: a listener and an unconnected socket know no peer to ask for.
    by_port: [Box<[u32]>; 2],
    long: usize,
    /// Since the start: flows that had to go before their time.
    pub pushed_out: u64,
}

impl Flows {
    pub fn new(most: usize, idle_ns: u64) -> Flows {
        Flows {
            by_key: HashMap::new(),
            places: Vec::new(),
            newest: NONE,
            oldest: NONE,
            most: most.clamp(1, NONE as usize - 1),
            idle_ns,
            by_port: [(); 2].map(|()| vec![NONE; 65_536].into_boxed_slice()),
            long: 0,
            pushed_out: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes what a packet says.
    pub fn take(&mut self, segment: &Segment<'_>, now_ns: u64) {
        let (source, destination) = (end(segment.source), end(segment.destination));
        let from_low = source <= destination;
        let ends = if from_low { [source, destination] } else { [destination, source] };
        let key = Key { transport: segment.transport, ends };
        let sender = usize::from(!from_low);
        let number = match self.by_key.get(&key).copied() {
            Some(number) => number,
            None => {
                // The answer to a SYN that was not seen comes from the side that was asked.
                let first = if segment.syn && segment.acknowledged.is_some() { 1 - sender } else { sender };
                self.insert(key, first, Flow::new(segment, now_ns))
            }
        };
        self.unlink(number);
        self.link(number);
        let room = self.long < LONG_MOST;
        let Some(place) = self.places.get_mut(number as usize) else { return };
        // The same ends again, another connection.
        let opens = segment.syn && segment.acknowledged.is_none();
        if opens && (place.flow.ended || !place.flow.started) {
            self.long -= usize::from(place.flow.is_long());
            place.flow = Flow::new(segment, now_ns);
            place.first = sender;
        }
        let before = place.flow.is_long();
        place.flow.take(segment, usize::from(sender != place.first), now_ns, room || before);
        if !room && !before {
            place.flow.settle();
        }
        self.long = self.long + usize::from(place.flow.is_long()) - usize::from(before);
        for (_, port) in ends {
            let ports = self.by_port.get_mut(usize::from(segment.transport == Transport::Udp));
            if let Some(last) = ports.and_then(|ports| ports.get_mut(usize::from(port))) {
                *last = number;
            }
        }
    }

    /// Whether the one whom a packet goes to had sent something there before.
    pub fn asked(&self, segment: &Segment<'_>) -> bool {
        let ends = [end(segment.destination), end(segment.source)];
        let found = self.find(segment.transport, ends[0], Some(ends[1]));
        found.is_some_and(|found| found.flow.sides.get(found.local).is_some_and(|side| side.packets > 0))
    }

    /// The flow between two ends; for a socket without a peer the last one of its port. Wildcard addresses fit every address.
    pub fn find(&self, transport: Transport, local: End, peer: Option<End>) -> Option<Found> {
        let local = (local.0.to_canonical(), local.1);
        let number = match peer {
            Some(peer) => {
                let peer = (peer.0.to_canonical(), peer.1);
                let ends = if local <= peer { [local, peer] } else { [peer, local] };
                *self.by_key.get(&Key { transport, ends })?
            }
            None => *self.by_port.get(usize::from(transport == Transport::Udp))?.get(usize::from(local.1))?,
        };
        let place = self.places.get(number as usize)?;
        let fits = |end: &End| end.1 == local.1 && (end.0 == local.0 || local.0.is_unspecified());
        let at = place.key.ends.iter().position(fits)?;
        let [low, high] = place.key.ends;
        let ends = if place.first == 0 { [low, high] } else { [high, low] };
        let is_it = place.key.transport == transport && self.by_key.get(&place.key) == Some(&number);
        is_it.then(|| Found { flow: place.flow.clone(), local: usize::from(at != place.first), ends })
    }

    fn insert(&mut self, key: Key, first: usize, flow: Flow) -> u32 {
        let place = Place { key, first, flow, newer: NONE, older: NONE };
        let oldest_is_over = self
            .places
            .get(self.oldest as usize)
            .is_some_and(|oldest| oldest.flow.last_ns.saturating_add(self.idle_ns) < place.flow.first_ns);
        let full = self.places.len() >= self.most;
        if !full && !oldest_is_over {
            let number = self.places.len() as u32;
            self.by_key.insert(key, number);
            self.places.push(place);
            self.link(number);
            return number;
        }
        self.pushed_out += u64::from(!oldest_is_over);
        let number = self.oldest;
        if let Some(old) = self.places.get_mut(number as usize) {
            self.long -= usize::from(old.flow.is_long());
            let gone = std::mem::replace(&mut old.key, place.key);
            (old.first, old.flow) = (place.first, place.flow);
            self.by_key.remove(&gone);
        }
        self.by_key.insert(key, number);
        number
    }

    fn link(&mut self, number: u32) {
        let newest = std::mem::replace(&mut self.newest, number);
        if let Some(place) = self.places.get_mut(number as usize) {
            (place.newer, place.older) = (NONE, newest);
        }
        match self.places.get_mut(newest as usize) {
            Some(before) => before.newer = number,
            None => self.oldest = number,
        }
    }

    fn unlink(&mut self, number: u32) {
        let Some((newer, older)) = self.places.get(number as usize).map(|place| (place.newer, place.older)) else {
            return;
        };
        match self.places.get_mut(newer as usize) {
            Some(place) => place.older = older,
            None => self.newest = older,
        }
        match self.places.get_mut(older as usize) {
            Some(place) => place.newer = newer,
            None => self.oldest = newer,
        }
    }
}

fn end(address: SocketAddr) -> End {
    (address.ip().to_canonical(), address.port())
}

const NONE: u32 = u32::MAX;
/// Hellos that are not all there yet, 2 KiB each: 8 MiB.
const LONG_MOST: usize = 4_096;
