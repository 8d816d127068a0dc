//! `authorized_peers`: what is read can be written and read again, revoked keys are never allowed, errors name a line that is there.

use socketkit_wire::authorized::{parse, Authorized};

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(authorized) => check_value(&authorized),
        Err(error) => {
            let lines: Vec<&str> = text.lines().collect();
            assert!((1..=lines.len()).contains(&error.line));
            assert!(parse(&lines[..error.line - 1].join("\n")).is_ok());
            assert!(parse(lines[error.line - 1]).is_err_and(|alone| alone.problem == error.problem));
        }
    }
}

fn check_value(authorized: &Authorized) {
    assert_eq!(parse(&authorized.to_string()).as_ref(), Ok(authorized));
    for keys in [&authorized.allowed, &authorized.revoked] {
        assert!(keys.is_sorted_by(|one, next| one < next));
    }
    assert!(authorized.allowed.iter().all(|key| authorized.allows(key)));
    assert!(!authorized.revoked.iter().any(|key| authorized.allows(key)));
}
