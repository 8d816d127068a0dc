//! The head of an answer, composed: no name or value can end its line before its time.

use thiserror::Error;

use super::{is_token, is_value};

/// What an application cannot say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("a status is a number from 200 to 999, not {0}")]
    Status(u16),
    #[error("{0:?} is no name of a header field")]
    Name(String),
    #[error("the value of {0:?} has a line's end, or another control character, in it")]
    Value(String),
    #[error("content-length is given twice, or is no number")]
    Length,
    #[error("the answer has started before")]
    SecondStart,
    #[error("http.response.start comes first")]
    BeforeStart,
    #[error("the answer has ended before")]
    AfterEnd,
    #[error("an answer with status {0} has no body")]
    NoBody(u16),
    #[error("the body is longer than its content-length")]
    TooLong,
    #[error("the body ends {0} bytes before its content-length")]
    TooShort(u64),
}

/// What the fields of an application said of the message itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub length: Option<u64>,
    pub close: bool,
    date: bool,
}

/// How the other side finds the end of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The fields say it, or there is no body.
    Settled,
    Length(u64),
    Chunked,
}

/// `HTTP/1.1`, the status and its reason.
pub fn begin(out: &mut Vec<u8>, status: u16) -> Result<(), Fault> {
    if !(100..=999).contains(&status) {
        return Err(Fault::Status(status));
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[b'0' + (status / 100) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8]);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// One field of the application's. What belongs to the connection and not to the message is this side's to say, and left out.
pub fn field(out: &mut Vec<u8>, said: &mut Said, name: &[u8], value: &[u8]) -> Result<(), Fault> {
    let word = || String::from_utf8_lossy(name).into_owned();
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Fault::Name(word()));
    }
    if !value.iter().copied().all(is_value) {
        return Err(Fault::Value(word()));
    }
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"date") => said.date = true,
        10 if name.eq_ignore_ascii_case(b"connection") => {
            said.close |=
                value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
            return Ok(());
        }
        10 if name.eq_ignore_ascii_case(b"keep-alive") => return Ok(()),
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
            if !digits || said.length.is_some() {
                return Err(Fault::Length);
            }
            said.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return Ok(()),
        _ => {}
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The rest of a head. `now`: seconds since 1970; `close`: this answer is the last.
pub fn end(out: &mut Vec<u8>, said: &Said, framing: Framing, now: u64, close: bool) {
    match framing {
        Framing::Settled => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if !said.date {
        out.extend_from_slice(b"date: ");
        append_date(out, now);
        out.extend_from_slice(b"\r\n");
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// What goes in front of a chunk of `length` bytes; behind it goes CR LF.
pub fn chunk_head(out: &mut Vec<u8>, length: u64) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
        if rest == 0 || at == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// The chunk without data that ends a body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Whether an answer with this status has no body (RFC 9110 §6.4.1).
pub fn is_bodiless(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 || at == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The seconds since 1970 as HTTP writes a moment (RFC 9110 §5.6.7).
pub fn date(seconds: u64) -> String {
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(LAST_SECOND));
    httpdate::fmt_http_date(moment)
}

/// The same behind `out`. It is written anew once in a second.
pub fn append_date(out: &mut Vec<u8>, seconds: u64) {
    thread_local! {
        static LAST: std::cell::RefCell<(u64, String)> = const { std::cell::RefCell::new((u64::MAX, String::new())) };
    }
    LAST.with_borrow_mut(|(of, text)| {
        if *of != seconds {
            (*of, *text) = (seconds, date(seconds));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

/// The end of the year 9999, where HTTP's dates end.
const LAST_SECOND: u64 = 253_402_300_799;
