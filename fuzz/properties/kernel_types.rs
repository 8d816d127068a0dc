//! The kernel's description of its types, cut down: what is cut down once stays as it is, and is no longer than what it was made of
//! by more than the names that shared their bytes.

use socketkit_wire::kernel_types::needed;

pub fn check(data: &[u8]) {
    let entries = ["bpf_iter_", "btf_trace_"];
    let Some(once) = needed(data, OBJECT, &entries) else { return };
    assert_eq!(needed(&once, OBJECT, &entries).as_deref(), Some(&once[..]));
    // A header, and the empty name that all descriptions begin their names with.
    assert!(once.len() > 24);
    for length in [once.len() - 1, once.len() / 2, 23] {
        assert_eq!(needed(&once[..length], OBJECT, &entries), None);
    }
}

const OBJECT: &[u8] = b"\0\x01sock\0sock_common\0int\0state\0";
