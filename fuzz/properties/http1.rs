//! HTTP/1.1: a head ends where it ends, whatever follows; a body is the same in whatever pieces it comes; and nothing that an application
//! says can end a line of an answer before its time.

use socketkit_wire::http1::answer::{begin, chunk_head, field, Said, LAST_CHUNK};
use socketkit_wire::http1::head::no_fields;
use socketkit_wire::http1::{front, Body, Chunked, Front, Head, Refusal, FIELDS, HEAD_BYTES, TARGET_BYTES};

pub fn check(data: &[u8]) {
    check_head(data);
    check_body(data);
    // Behind the head, if there is one, as a body.
    let mut fields = no_fields();
    if let Ok(Front::Head(head)) = front(data, &mut fields) {
        check_body(&data[head.length..]);
    }
    check_answer(data);
}

fn check_head(data: &[u8]) {
    let mut fields = no_fields();
    match front(data, &mut fields) {
        Ok(Front::Head(head)) => {
            check_fields(&head);
            let length = head.length;
            for shorter in (0..length).step_by(1 + length / 200) {
                assert!(matches!(front(&data[..shorter], &mut no_fields()), Ok(Front::Part)), "{shorter} of {length}");
            }
            let told = format!("{head:?}");
            for behind in [&b""[..], b"\0", b"GET / HTTP/1.1\r\n", b"\n\n\n"] {
                let longer = [&data[..length], behind].concat();
                let mut fields = no_fields();
                let again = front(&longer, &mut fields);
                assert_eq!(format!("{again:?}"), format!("Ok(Head({told}))"));
            }
        }
        Ok(Front::Part) => assert!(data.len() < HEAD_BYTES),
        Err(refusal) => {
            assert!((400..=505).contains(&refusal.status()) && !refusal.to_string().is_empty());
            let longer = [data, b"\r\n\r\n"].concat();
            assert!(front(&longer, &mut no_fields()).is_err());
        }
    }
}

fn check_fields(head: &Head<'_, '_>) {
    assert!(head.length <= HEAD_BYTES && head.target.len() <= TARGET_BYTES && head.fields.len() <= FIELDS);
    assert!(head.minor <= 1 && (head.target.starts_with('/') || head.target == "*"));
    assert!(head.method.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
    let named = |name: &str| head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    for field in head.fields {
        assert!(!field.name.is_empty() && field.name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        assert!(!field.value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
    assert!(named("host") == 1 || (named("host") == 0 && head.minor == 0));
    match head.body {
        Body::Chunked => assert_eq!((named("transfer-encoding"), named("content-length")), (1, 0)),
        Body::Length(0) => assert!(named("transfer-encoding") == 0 && named("content-length") <= 1),
        Body::Length(_) => assert_eq!((named("transfer-encoding"), named("content-length")), (0, 1)),
    }
}

/// The same in one piece and in many; and never more than was allowed.
fn check_body(data: &[u8]) {
    for most in [u64::MAX, 10] {
        let at_once = read(data, usize::MAX, most);
        for step in [1, 7] {
            assert_eq!(read(data, step, most), at_once, "in pieces of {step}");
        }
        if let Ok((body, _, _)) = &at_once {
            assert!(body.len() as u64 <= most);
        }
    }
    let mut written = Vec::new();
    for chunk in data.chunks(100) {
        chunk_head(&mut written, chunk.len() as u64);
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(LAST_CHUNK);
    assert_eq!(read(&written, 64, u64::MAX), Ok((data.to_vec(), written.len(), true)));
}

/// (the body, how much of `data` it took, whether it has ended)
fn read(data: &[u8], step: usize, most: u64) -> Result<(Vec<u8>, usize, bool), Refusal> {
    let mut chunked = Chunked::new(most);
    let (mut body, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let end = at.saturating_add(step).min(data.len());
        let decoded = chunked.decode(&data[at..end])?;
        assert!(decoded.used > 0 && decoded.used <= end - at);
        body.extend_from_slice(decoded.data);
        at += decoded.used;
        if decoded.ended {
            return Ok((body, at, true));
        }
    }
    Ok((body, at, false))
}

fn check_answer(data: &[u8]) {
    let (name, value) = data.split_at(data.len().min(8));
    for (name, value) in [(name, value), (&b"x-name"[..], data), (data, &b"value"[..])] {
        let mut out = Vec::new();
        begin(&mut out, 200).unwrap();
        let start = out.len();
        if field(&mut out, &mut Said::default(), name, value).is_ok() && out.len() > start {
            let line = &out[start..out.len() - 2];
            assert!(out.ends_with(b"\r\n") && !line.iter().any(|byte| b"\r\n\0".contains(byte)));
        }
    }
}
