//! The running kernel's description of its own types (BTF), cut down to what one BPF object needs.
//!
//! It describes some hundred thousand types in five megabytes. The loader makes an object of each and looks through all of them for
//! every type of the program, which takes longer than everything else together. So all that no program names is replaced by an
//! empty type here. The numbers of the types stay, for by them the kernel is told which iterator a program belongs to.
//! (Documentation/bpf/btf.rst)

use std::collections::{HashMap, HashSet};

/// The same description, in which only these are left: structures and unions that `object` has the names of, with all that is in
/// them, and functions and aliases (a tracepoint's) whose names begin with one of `entries`: what programs are attached to. None if
/// the description is of no known form.
pub fn needed(description: &[u8], object: &[u8], entries: &[&str]) -> Option<Vec<u8>> {
    let types = Types::read(description)?;
    let names: HashSet<&[u8]> = object.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    let mut kept = Vec::with_capacity(types.places.len());
    for place in &types.places {
        let described = described(place)?;
        kept.push(match described.kind() {
            STRUCT | UNION => names.contains(types.name(described.name)?),
            FUNCTION | ALIAS => {
                let name = types.name(described.name)?;
                entries.iter().any(|entry| name.starts_with(entry.as_bytes()))
            }
            _ => false,
        });
    }
    types.keep_parts(&mut kept)?;
    types.written(&kept)
}

/// A description as it was read; type 1 is the first.
struct Types<'a> {
    places: Vec<&'a [u8]>,
    strings: &'a [u8],
}

/// The three numbers that every type begins with.
#[derive(Clone, Copy)]
struct Described {
    name: u32,
    information: u32,
    of: u32,
}

impl Described {
    fn kind(self) -> u32 {
        self.information >> 24 & 0x1f
    }

    fn count(self) -> usize {
        (self.information & 0xffff) as usize
    }

    /// Behind these three, or None for a kind that came later than this was written.
    fn more_bytes(self) -> Option<usize> {
        Some(match self.kind() {
            INTEGER | VARIABLE | DECLARATION_TAG => 4,
            POINTER | FORWARD | ALIAS | VOLATILE | CONST | RESTRICT | FUNCTION | FLOAT | TYPE_TAG => 0,
            ARRAY => 12,
            STRUCT | UNION | SECTION | LARGE_ENUM => self.count() * 12,
            ENUM | PROTOTYPE => self.count() * 8,
            _ => return None,
        })
    }
}

impl<'a> Types<'a> {
    fn read(description: &'a [u8]) -> Option<Types<'a>> {
        let header = u32_at(description, 4)? as usize;
        if description.get(..3)? != [MAGIC[0], MAGIC[1], 1] {
            return None;
        }
        let section = |at: usize| {
            let start = header.checked_add(u32_at(description, at)? as usize)?;
            description.get(start..start.checked_add(u32_at(description, at + 4)? as usize)?)
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        let mut places = Vec::with_capacity(rest.len() / 32);
        while !rest.is_empty() {
            let (place, more) = rest.split_at_checked(TYPE_BYTES + described(rest)?.more_bytes()?)?;
            places.push(place);
            rest = more;
        }
        Some(Types { places, strings })
    }

    fn at(&self, at: usize) -> Option<Described> {
        described(self.places.get(at)?)
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings.get(offset as usize..)?.split(|&byte| byte == 0).next()
    }

    /// What kept types are made of is kept, too; not what they only point to.
    fn keep_parts(&self, kept: &mut [bool]) -> Option<()> {
        let mut left: Vec<usize> = (0..kept.len()).filter(|&at| kept.get(at) == Some(&true)).collect();
        while let Some(at) = left.pop() {
            let described = self.at(at)?;
            let place = self.places.get(at)?;
            let parts: Vec<u32> = match described.kind() {
                STRUCT | UNION => (0..described.count())
                    .map(|part| u32_at(place, TYPE_BYTES + part * 12 + 4))
                    .collect::<Option<_>>()?,
                ARRAY => vec![u32_at(place, TYPE_BYTES)?, u32_at(place, TYPE_BYTES + 4)?],
                ALIAS | VOLATILE | CONST | RESTRICT | TYPE_TAG => vec![described.of],
                _ => Vec::new(),
            };
            for part in parts.into_iter().filter(|&part| part != 0) {
                let part = part as usize - 1;
                let known = kept.get_mut(part)?;
                if !*known {
                    *known = true;
                    left.push(part);
                }
            }
        }
        Some(())
    }

    fn written(&self, kept: &[bool]) -> Option<Vec<u8>> {
        let mut types = Vec::with_capacity(self.places.len() * TYPE_BYTES * 2);
        let mut strings = Strings::default();
        for (at, place) in self.places.iter().enumerate() {
            if kept.get(at) != Some(&true) {
                types.extend_from_slice(&EMPTY);
                continue;
            }
            let described = described(place)?;
            let start = types.len();
            types.extend_from_slice(place);
            let copy = types.get_mut(start..)?;
            put(copy, 0, strings.offset(self.name(described.name)?))?;
            match described.kind() {
                STRUCT | UNION => {
                    for part in 0..described.count() {
                        let at = TYPE_BYTES + part * 12;
                        let name = u32_at(place, at)?;
                        put(copy, at, strings.offset(self.name(name)?))?;
                    }
                }
                ENUM | LARGE_ENUM => {
                    let step = if described.kind() == ENUM { 8 } else { 12 };
                    for part in 0..described.count() {
                        put(copy, TYPE_BYTES + part * step, 0)?;
                    }
                }
                // To nothing that can be told of.
                POINTER | FUNCTION => put(copy, 8, 0)?,
                _ => {}
            }
        }
        let mut whole = Vec::with_capacity(HEADER_BYTES + types.len() + strings.bytes.len());
        whole.extend_from_slice(&MAGIC);
        whole.extend_from_slice(&[1, 0]);
        for number in [HEADER_BYTES, 0, types.len(), types.len(), strings.bytes.len()] {
            whole.extend_from_slice(&(number as u32).to_ne_bytes());
        }
        whole.extend_from_slice(&types);
        whole.extend_from_slice(&strings.bytes);
        Some(whole)
    }
}

/// Each name once; the first is no name.
struct Strings<'a> {
    bytes: Vec<u8>,
    offsets: HashMap<&'a [u8], u32>,
}

impl Default for Strings<'_> {
    fn default() -> Self {
        Strings { bytes: vec![0], offsets: HashMap::new() }
    }
}

impl<'a> Strings<'a> {
    fn offset(&mut self, name: &'a [u8]) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let bytes = &mut self.bytes;
        *self.offsets.entry(name).or_insert_with(|| {
            let at = bytes.len() as u32;
            bytes.extend_from_slice(name);
            bytes.push(0);
            at
        })
    }
}

fn described(place: &[u8]) -> Option<Described> {
    Some(Described { name: u32_at(place, 0)?, information: u32_at(place, 4)?, of: u32_at(place, 8)? })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put(bytes: &mut [u8], at: usize, number: u32) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = number.to_ne_bytes();
    Some(())
}

const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
/// A structure that is declared and nowhere described, without a name.
const EMPTY: [u8; TYPE_BYTES] = {
    let [a, b, c, d] = (FORWARD << 24).to_ne_bytes();
    [0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0]
};

const INTEGER: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FORWARD: u32 = 7;
const ALIAS: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNCTION: u32 = 12;
const PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const FLOAT: u32 = 16;
const DECLARATION_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const LARGE_ENUM: u32 = 19;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Types, each as its numbers, and names one behind the other.
    fn description(types: &[&[u32]], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.concat().into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut whole = [&MAGIC[..], &[1, 0]].concat();
        for number in [HEADER_BYTES, 0, types.len(), types.len(), strings.len()] {
            whole.extend_from_slice(&(number as u32).to_ne_bytes());
        }
        [whole, types, strings.to_vec()].concat()
    }

    const NAMES: &[u8] = b"\0int\0sock\0other\0state\0bpf_iter_tcp\0";

    fn example() -> Vec<u8> {
        description(
            &[
                &[1, INTEGER << 24, 4, 32],
                &[10, STRUCT << 24 | 1, 4, 16, 1, 0], // struct other { int state; }
                &[0, POINTER << 24, 2],               // struct other *
                &[5, STRUCT << 24 | 2, 16, 16, 1, 0, 10, 3, 64], // struct sock { int state; struct other *other; }
                &[22, FUNCTION << 24, 5],             // bpf_iter_tcp
                &[16, FUNCTION << 24, 5],             // state
            ],
            NAMES,
        )
    }

    #[test]
    fn what_is_not_named_becomes_empty_and_numbers_stay() {
        let short = needed(&example(), b"\0\x01sock\0sock\0state", &["bpf_iter_"]).unwrap();
        let types = Types::read(&short).unwrap();
        let told: Vec<(u32, &[u8])> =
            (0..6).map(|at| types.at(at).unwrap()).map(|one| (one.kind(), types.name(one.name).unwrap())).collect();
        let expected: [(u32, &[u8]); 6] = [
            (INTEGER, b"int"),
            (FORWARD, b""),
            (POINTER, b""),
            (STRUCT, b"sock"),
            (FUNCTION, b"bpf_iter_tcp"),
            (FORWARD, b""),
        ];
        assert_eq!(told, expected);
        assert_eq!(types.at(2).unwrap().of, 0);
        let members = types.places[3];
        assert_eq!(types.name(u32_at(members, 12).unwrap()), Some(&b"state"[..]));
        assert_eq!((u32_at(members, 28), u32_at(members, 32)), (Some(3), Some(64)));
    }

    #[test]
    fn cutting_twice_changes_nothing_more() {
        let once = needed(&example(), b"sock\0int", &["bpf_iter_"]).unwrap();
        assert_eq!(needed(&once, b"sock\0int", &["bpf_iter_"]), Some(once));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        let whole = example();
        for length in 0..whole.len() {
            let _ = needed(&whole[..length], b"sock", &["bpf_iter_"]);
        }
        assert_eq!(needed(&whole[1..], b"sock", &[""]), None);
        assert_eq!(needed(&description(&[&[0, 31 << 24, 0]], b"\0"), b"sock", &[""]), None);
        // A member of a type that is not there.
        assert_eq!(needed(&description(&[&[1, STRUCT << 24 | 1, 4, 1, 9, 0]], NAMES), b"int", &[""]), None);
    }
}
