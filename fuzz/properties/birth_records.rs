//! `birth_records`: what is read can be written and read again, and no other length is a record.

use socketkit_wire::birth_records::{birth, RECORD_BYTES};

pub fn check(data: &[u8]) {
    let Ok(told) = birth(data) else {
        // Whatever is wrong with the first part of it, more does not mend.
        if data.len() > RECORD_BYTES {
            assert!(birth(&[data, &[0]].concat()).is_err());
        }
        return;
    };
    assert_eq!(data.len(), RECORD_BYTES);
    assert_eq!(told.to_bytes(), data);
    assert!(told.name().len() <= 16 && !told.name().contains(&0));
    assert!(birth(&[data, &[0]].concat()).is_err());
    assert!(birth(data.get(1..).unwrap_or_default()).is_err());
}
