//! Numbered places for what an epoll watches. A place that is used again gets a new generation, so that an
//! event of the previous tenant, still in the batch, finds nobody.

/// Where an entry is: generation and index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    fn new(generation: u32, index: usize) -> Key {
        Key(u64::from(generation) << 32 | (index as u64) << PART_BITS)
    }

    /// The number epoll gives back: the key and which descriptor of the entry it was.
    pub fn token(self, part: u8) -> u64 {
        self.0 | u64::from(part)
    }

    pub fn of_token(token: u64) -> (Key, u8) {
        (Key(token & !PART_MASK), (token & PART_MASK) as u8)
    }

    pub fn to_u64(self) -> u64 {
        self.0
    }

    pub fn from_u64(number: u64) -> Key {
        Key(number & !PART_MASK)
    }

    fn index(self) -> usize {
        ((self.0 & 0xffff_ffff) >> PART_BITS) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
}

struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Slots<T> {
    pub fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }

    /// A place of its own, empty until `put`; None when all 16 million are taken.
    pub fn reserve(&mut self) -> Option<Key> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < SLOTS_MAX => {
                self.slots.push(Slot { generation: 0, entry: None });
                self.slots.len() - 1
            }
            None => return None,
        };
        Some(Key::new(self.slots[index].generation, index))
    }

    pub fn put(&mut self, key: Key, entry: T) {
        if let Some(slot) = self.slot(key) {
            slot.entry = Some(entry);
        }
    }

    pub fn get(&mut self, key: Key) -> Option<&mut T> {
        self.slot(key)?.entry.as_mut()
    }

    /// Takes the entry out; the place stays reserved for it.
    pub fn take(&mut self, key: Key) -> Option<T> {
        self.slot(key)?.entry.take()
    }

    /// Gives the place up, with what is in it.
    pub fn free(&mut self, key: Key) -> Option<T> {
        let slot = self.slot(key)?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        let entry = slot.entry.take();
        self.free.push(key.index());
        entry
    }

    /// Whether no place is taken.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    pub fn entries(&self) -> impl Iterator<Item = (Key, &T)> {
        let entries = self.slots.iter().enumerate();
        entries.filter_map(|(index, slot)| Some((Key::new(slot.generation, index), slot.entry.as_ref()?)))
    }

    pub fn entries_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        let entries = self.slots.iter_mut().enumerate();
        entries.filter_map(|(index, slot)| Some((Key::new(slot.generation, index), slot.entry.as_mut()?)))
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot<T>> {
        self.slots.get_mut(key.index()).filter(|slot| slot.generation == key.generation())
    }
}

const PART_BITS: u32 = 8;
const PART_MASK: u64 = (1 << PART_BITS) - 1;
const SLOTS_MAX: usize = 1 << (32 - PART_BITS);
/// One bit short, so that no key is ever `u64::MAX`, the token of the wake-up and of "no place".
const GENERATION_MASK: u32 = u32::MAX >> 1;
