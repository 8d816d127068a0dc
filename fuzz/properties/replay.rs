//! What `cargo test` does with a fuzz target: its corpus, then some thousand changes of it, the same ones each time.

use std::fs;
use std::path::Path;

/// Runs `check` on each file of `fuzz/corpus/<target>` and on `mutations` inputs made from them.
pub fn replay(target: &str, mutations: u64, check: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty());
    for (name, data) in &corpus {
        run(name, data, check);
    }
    let mut random = Random(0x5eed);
    for number in 0..mutations {
        let (name, data) = &corpus[random.below(corpus.len())];
        let (_, other) = &corpus[random.below(corpus.len())];
        let mut mutant = data.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut mutant, other, &mut random);
        }
        mutant.truncate(MAX_BYTES);
        run(&format!("mutation {number} of {name}"), &mutant, check);
    }
}

/// The files by their names.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort(); // the order of a folder is its machine's
    files
}

fn run(name: &str, data: &[u8], check: fn(&[u8])) {
    let _told = ToldIfItPanics { name, data };
    check(data);
}

struct ToldIfItPanics<'a> {
    name: &'a str,
    data: &'a [u8],
}

impl Drop for ToldIfItPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input: {}: b\"{}\"", self.name, self.data.escape_ascii());
        }
    }
}

fn mutate(data: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(data.len() + 1);
    let end = at + random.below((data.len() - at).min(64) + 1);
    match random.below(7) {
        0 => data.truncate(at),
        1 => drop(data.drain(at..end)),
        2 => data.insert(at, random.next() as u8),
        3 => data.extend_from_within(at..end),
        4 => drop(data.splice(at.., other[at.min(other.len())..].iter().copied())),
        // What parsers get wrong: borders of lengths, and bytes that differ in one bit.
        5 => data[at..end].iter_mut().take(1).for_each(|byte| *byte = EDGES[random.below(EDGES.len())]),
        _ => data[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

const EDGES: [u8; 12] = [0, 1, 2, 3, 4, 22, 40, 41, 64, 127, 128, 255];
const MAX_BYTES: usize = 20_000;
