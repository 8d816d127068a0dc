//! What is let through, what is refused and how, and what an answer looks like.

use super::answer::{begin, date, field, Fault, Said};
use super::head::no_fields;
use super::{front, Answering, Body, Chunked, Decoded, Front, Piece, Refusal, HEAD_BYTES, TARGET_BYTES};

fn refused(request: &[u8]) -> Option<Refusal> {
    match front(request, &mut no_fields()) {
        Ok(Front::Head(_)) => None,
        Ok(Front::Part) => panic!("a part: {}", request.escape_ascii()),
        Err(refusal) => Some(refusal),
    }
}

/// With a Host, and an end.
fn with(line: &str, fields: &str) -> Option<Refusal> {
    refused(format!("{line}\r\nHost: example.org\r\n{fields}\r\n").as_bytes())
}

fn get(fields: &str) -> Option<Refusal> {
    with("GET / HTTP/1.1", fields)
}

#[test]
fn a_plain_request_is_what_it_says() {
    let bytes = b"GET /a%20b?c=d HTTP/1.1\r\nHost: example.org\r\nX-Name:  value \r\n\r\nbehind";
    let mut fields = no_fields();
    let Ok(Front::Head(head)) = front(bytes, &mut fields) else { panic!() };
    assert_eq!((head.method, head.target, head.minor, head.length), ("GET", "/a%20b?c=d", 1, bytes.len() - 6));
    assert_eq!((head.body, head.keep_alive, head.expects_continue), (Body::Length(0), true, false));
    assert_eq!((head.fields[1].name, head.fields[1].value), ("X-Name", &b"value"[..]));
}

#[test]
fn two_meanings_of_a_length_are_refused() {
    assert_eq!(get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Some(Refusal::BothLengths));
    assert_eq!(get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Some(Refusal::BothLengths));
    for odd in ["5, 5", "+5", "-5", "0x5", "5 5", "", "5_0", "99999999999999999999", "\u{0665}"] {
        assert_eq!(get(&format!("Content-Length: {odd}\r\n")), Some(Refusal::ContentLength), "{odd:?}");
    }
    assert_eq!(get("Content-Length: 5\r\nContent-Length: 5\r\n"), Some(Refusal::ContentLength));
    assert_eq!(get("Content-Length: 5\r\n"), None);
    assert_eq!(get("Content-Length: 0005\r\n"), None);
}

#[test]
fn transfer_codings_but_chunked_are_unknown() {
    for odd in ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "identity", "", "chunked;a=b", "\"chunked\""] {
        assert_eq!(get(&format!("Transfer-Encoding: {odd}\r\n")), Some(Refusal::TransferCoding), "{odd:?}");
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(get(twice), Some(Refusal::TransferCoding));
    assert_eq!(get("Transfer-Encoding: Chunked\r\n"), None);
    assert_eq!(with("GET / HTTP/1.0", "Transfer-Encoding: chunked\r\n"), Some(Refusal::OldTransferEncoding));
}

#[test]
fn lines_end_in_one_way() {
    assert_eq!(refused(b"GET / HTTP/1.1\nHost: a\n\n"), Some(Refusal::LineEnd));
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\n\r\n"), Some(Refusal::LineEnd));
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), Some(Refusal::LineEnd));
    assert!(refused(b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n").is_some());
    assert!(refused(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n").is_some());
    // As soon as it is seen.
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\n"), Some(Refusal::LineEnd));
}

#[test]
fn fields_are_written_in_one_way() {
    for odd in ["X: a\r\n b\r\n", "X : a\r\n", " X: a\r\n", ": a\r\n", "X\r\n", "X\0: a\r\n", "X: a\0\r\n", "X(: a\r\n"]
    {
        assert_eq!(get(odd).map(Refusal::status), Some(400), "{odd:?}");
    }
    assert_eq!(get("X: \u{fc}\tb\r\nEmpty:\r\n"), None);
}

#[test]
fn hosts_are_one() {
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), Some(Refusal::Host));
    assert_eq!(get("Host: example.org\r\n"), Some(Refusal::Host));
    for odd in ["a b", "a/b", "user@host", "a,b", "a\u{fc}", "a?b"] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {odd}\r\n\r\n").as_bytes()), Some(Refusal::Host), "{odd}");
    }
    for good in ["[::1]:80", "127.0.0.1", "example.org:8000", ""] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {good}\r\n\r\n").as_bytes()), None, "{good}");
    }
    assert_eq!(refused(b"GET / HTTP/1.0\r\n\r\n"), None);
}

#[test]
fn targets_have_their_methods_form() {
    assert_eq!(with("GET http://example.org/x HTTP/1.1", ""), None);
    assert_eq!(with("GET HTTP://Example.ORG HTTP/1.1", ""), None);
    assert_eq!(with("GET https://example.org/ HTTP/1.1", ""), None);
    assert_eq!(with("GET http://other.example/x HTTP/1.1", ""), Some(Refusal::Host));
    for odd in [
        "x",
        "*",
        "http://",
        "http:///x",
        "http://a@example.org/",
        "ftp://example.org/",
        "/a#b",
        "/\u{fc}",
        "http://example.org?x",
    ] {
        assert_eq!(with(&format!("GET {odd} HTTP/1.1"), "").map(Refusal::status), Some(400), "{odd}");
    }
    assert_eq!(with("OPTIONS * HTTP/1.1", ""), None);
    assert_eq!(with("CONNECT example.org:443 HTTP/1.1", ""), Some(Refusal::Connect));
}

#[test]
fn request_lines_are_written_in_one_way() {
    for odd in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET /",
        "GET / http/1.1",
        "GET\t/ HTTP/1.1",
        "G(T / HTTP/1.1",
    ] {
        assert_eq!(with(odd, "").map(Refusal::status), Some(400), "{odd:?}");
    }
    for other in ["GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0"] {
        assert_eq!(with(other, ""), Some(Refusal::Version), "{other:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let field = "X: y\r\n";
    assert_eq!(get(&field.repeat(99)), None);
    assert_eq!(get(&field.repeat(100)), Some(Refusal::TooManyFields));
    let head = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "y".repeat(length - start.len() - 4)).into_bytes()
    };
    assert_eq!(refused(&head(HEAD_BYTES)), None);
    assert_eq!(refused(&head(HEAD_BYTES + 1)), Some(Refusal::HeadTooLong));
    assert_eq!(with(&format!("GET /{} HTTP/1.1", "y".repeat(TARGET_BYTES - 1)), ""), None);
    assert_eq!(with(&format!("GET /{} HTTP/1.1", "y".repeat(TARGET_BYTES)), ""), Some(Refusal::TargetTooLong));
    assert_eq!(refused("G".repeat(HEAD_BYTES).as_bytes()).map(Refusal::status), Some(414));
}

#[test]
fn expectations_and_offers() {
    assert_eq!(get("Expect: 200-ok\r\n"), Some(Refusal::Expectation));
    assert_eq!(get("Expect: 100-Continue\r\n"), None);
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let mut fields = no_fields();
    assert!(matches!(front(bytes, &mut fields), Ok(Front::Head(head)) if head.offers_websocket && head.keep_alive));
}

#[test]
fn chunks_come_out() {
    let mut chunked = Chunked::new(100);
    let bytes = b"3;a=\"b\"\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\nnext";
    let first = chunked.decode(bytes).unwrap();
    assert_eq!((first.data, first.ended), (&b"abc"[..], false));
    let second = chunked.decode(&bytes[first.used..]).unwrap();
    assert_eq!((second.data, second.ended), (&b"de"[..], true));
    assert_eq!(&bytes[first.used + second.used..], b"next");
    assert_eq!(chunked.decode(b"next"), Ok(Decoded { used: 0, data: b"", ended: true }));
}

#[test]
fn odd_chunks_are_refused() {
    for odd in [
        "x\r\n",
        "\r\n",
        ";\r\n",
        " 3\r\nabc",
        "3 \r\nabc",
        "0x3\r\nabc",
        "+3\r\nabc",
        "3\nabc",
        "3\r\nabcd",
        "3\r\nabc\n",
        "3\rabc",
        "11111111111111111\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\n\n",
        "3;\0\r\nabc",
    ] {
        assert_eq!(Chunked::new(u64::MAX).decode_all(odd.as_bytes()), Err(Refusal::Chunk), "{odd:?}");
    }
    assert_eq!(Chunked::new(4).decode_all(b"5\r\nhello"), Err(Refusal::BodyTooLarge));
    assert_eq!(Chunked::new(5).decode_all(b"5\r\nhello\r\n1\r\n"), Err(Refusal::BodyTooLarge));
    let overflow = b"ffffffffffffffff\r\n";
    assert_eq!(Chunked::new(5).decode_all(overflow), Err(Refusal::BodyTooLarge));
    let endless = format!("1;{}", "a".repeat(20_000));
    assert_eq!(Chunked::new(5).decode_all(endless.as_bytes()), Err(Refusal::ChunkTooLong));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(5_000));
    assert_eq!(Chunked::new(5).decode_all(trailers.as_bytes()), Err(Refusal::ChunkTooLong));
}

impl Chunked {
    fn decode_all(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            let decoded = self.decode(&bytes[at..])?;
            if decoded.ended {
                return Ok(());
            }
            at += decoded.used;
        }
        Ok(())
    }
}

fn answered(answering: &mut Answering, status: u16, fields: &[(&str, &str)], bodies: &[&str]) -> Result<String, Fault> {
    answering.start(status, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))?;
    let mut out = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let Piece { before, body: with_body, after, last } =
            answering.piece(body.len(), number + 1 < bodies.len(), 0)?;
        assert_eq!(last, number + 1 == bodies.len());
        out.extend_from_slice(&before);
        if with_body {
            out.extend_from_slice(body.as_bytes());
        }
        out.extend_from_slice(after);
    }
    Ok(String::from_utf8(out).unwrap().replace("date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", ""))
}

fn usual(status: u16, fields: &[(&str, &str)], bodies: &[&str]) -> Result<String, Fault> {
    answered(&mut Answering::new(false, 1, true), status, fields, bodies)
}

#[test]
fn an_answer_in_one_piece_has_a_length() {
    assert_eq!(usual(200, &[], &["hello"]).unwrap(), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(usual(200, &[], &[""]).unwrap(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(usual(299, &[], &[""]).unwrap(), "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn an_answer_in_pieces_is_chunked() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "10\r\n0123456789abcdef\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(usual(200, &[], &["0123456789abcdef", "", "x", ""]).unwrap(), format!("{head}{body}"));
    assert_eq!(usual(200, &[], &["", "x"]).unwrap(), format!("{head}1\r\nx\r\n0\r\n\r\n"));
    // With a length it is not.
    let fields = [("Content-Length", "2")];
    assert_eq!(usual(200, &fields, &["a", "b"]).unwrap(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
}

#[test]
fn what_belongs_to_the_connection_is_ours_to_say() {
    let fields = [("Transfer-Encoding", "chunked"), ("Connection", "close"), ("Keep-Alive", "timeout=5")];
    let mut answering = Answering::new(false, 1, true);
    let told = answered(&mut answering, 200, &fields, &["a"]).unwrap();
    assert_eq!(told, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na");
    assert!(!answering.keeps_alive());
}

#[test]
fn old_clients_get_old_answers() {
    let mut answering = Answering::new(false, 0, true);
    let told = answered(&mut answering, 200, &[], &["a"]).unwrap();
    assert_eq!(told, "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na");
    let mut answering = Answering::new(false, 0, true);
    let told = answered(&mut answering, 200, &[], &["a", "b"]).unwrap();
    assert!(told.ends_with("connection: close\r\n\r\nab") && !answering.keeps_alive(), "{told}");
}

#[test]
fn some_answers_have_no_body() {
    let mut answering = Answering::new(true, 1, true);
    assert_eq!(answered(&mut answering, 200, &[], &["hello"]).unwrap(), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    let mut answering = Answering::new(true, 1, true);
    assert_eq!(answered(&mut answering, 200, &[], &["a", "b"]).unwrap(), "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(usual(204, &[("content-length", "0")], &[""]).unwrap(), "HTTP/1.1 204 No Content\r\n\r\n");
    let fields = [("content-length", "5")];
    assert_eq!(usual(304, &fields, &[""]).unwrap(), "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(usual(204, &[], &["x"]), Err(Fault::NoBody(204)));
}

#[test]
fn what_an_application_cannot_say() {
    assert_eq!(usual(101, &[], &[""]), Err(Fault::Status(101)));
    assert_eq!(usual(1000, &[], &[""]), Err(Fault::Status(1000)));
    assert!(matches!(usual(200, &[("x", "a\r\nSet-Cookie: b")], &[""]), Err(Fault::Value(_))));
    assert!(matches!(usual(200, &[("x y", "a")], &[""]), Err(Fault::Name(_))));
    assert!(matches!(usual(200, &[("", "a")], &[""]), Err(Fault::Name(_))));
    let fields = [("content-length", "1")];
    assert_eq!(usual(200, &fields, &["ab"]), Err(Fault::TooLong));
    assert_eq!(usual(200, &fields, &[""]), Err(Fault::TooShort(1)));
    assert_eq!(usual(200, &[("content-length", "x")], &[""]), Err(Fault::Length));
    // Nothing of it was out, and so it is not over.
    let mut answering = Answering::new(false, 1, true);
    assert!(answered(&mut answering, 200, &fields, &["ab"]).is_err());
    assert!(!answering.begun() && !answering.ended());
    let mut answering = Answering::new(false, 1, true);
    assert_eq!(answering.piece(0, false, 0), Err(Fault::BeforeStart));
    answered(&mut answering, 200, &[], &[""]).unwrap();
    assert_eq!(answering.piece(0, false, 0), Err(Fault::AfterEnd));
    assert_eq!(answering.start(200, []), Err(Fault::SecondStart));
}

#[test]
fn dates_are_written_as_rfc_9110_has_them() {
    assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(date(u64::MAX).len(), 29);
    let mut out = Vec::new();
    begin(&mut out, 200).unwrap();
    field(&mut out, &mut Said::default(), b"a", b"b").unwrap();
    assert_eq!(out, b"HTTP/1.1 200 OK\r\na: b\r\n");
}
