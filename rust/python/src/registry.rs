//! Which token stands for which socket.

use socketkit_engine::reactor::Token;

/// Slots with generations: a token of a socket that left finds nothing, even when its slot has a new tenant.
pub struct Registry<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    tenant: Option<T>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Registry<T> {
    pub fn insert(&mut self, tenant: T) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, tenant: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.tenant = Some(tenant);
        (u64::from(slot.generation) << 32) | u64::from(index)
    }

    pub fn find(&self, token: Token) -> Option<&T> {
        let slot = self.slots.get(token as u32 as usize)?;
        slot.tenant.as_ref().filter(|_| u64::from(slot.generation) == token >> 32)
    }

    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.find(token)?;
        let index = token as u32;
        let slot = &mut self.slots[index as usize];
        // The highest bit stays clear: the reactor's own tokens have it set.
        slot.generation = (slot.generation + 1) & 0x7fff_ffff;
        self.free.push(index);
        slot.tenant.take()
    }

    pub fn drain(&mut self) -> Vec<T> {
        self.free.clear();
        self.slots.drain(..).filter_map(|slot| slot.tenant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_outlives_its_socket_harmlessly() {
        let mut registry = Registry::default();
        let first = registry.insert("first");
        assert_eq!(registry.find(first), Some(&"first"));
        assert_eq!(registry.remove(first), Some("first"));
        let second = registry.insert("second");
        assert_eq!(registry.find(first), None);
        assert_eq!(registry.remove(first), None);
        assert_eq!(registry.find(second), Some(&"second"));
    }
}
