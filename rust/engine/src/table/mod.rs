//! The socket table: every socket of the machine, and whose descriptors lead to it.

pub mod row;
