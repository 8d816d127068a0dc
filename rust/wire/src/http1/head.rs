//! The head of a request: parsed by `httparse`, then held to the rules that keep two readers of one meaning.

use httparse::{Error, Request, Status};
use memchr::memchr_iter;

use super::{is_token, Refusal, FIELDS, HEAD_BYTES, TARGET_BYTES};

/// What stands at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Front<'a, 'f> {
    Head(Head<'a, 'f>),
    /// The beginning of a head, or nothing.
    Part,
}

/// A request's head. `fields` are as they were written, but for `host`, which the target may have overruled.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a, 'f> {
    /// Its bytes, the empty line included; the body begins there.
    pub length: usize,
    pub method: &'a str,
    /// Path and query, or `*`.
    pub target: &'a str,
    /// The authority of a target in absolute form, which counts instead of the field (RFC 9112 §3.2.2).
    pub authority: Option<&'a str>,
    /// Of HTTP/1.
    pub minor: u8,
    pub fields: &'f [httparse::Header<'a>],
    pub body: Body,
    pub keep_alive: bool,
    /// The sender waits for `100 Continue` before he sends the body.
    pub expects_continue: bool,
    /// He offers to go on by WebSocket (RFC 6455 §4.1; what else must be there is looked at by who accepts).
    pub offers_websocket: bool,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
}

pub type Fields<'a> = [httparse::Header<'a>; FIELDS];

/// Memory for them.
pub fn no_fields<'a>() -> Fields<'a> {
    [httparse::EMPTY_HEADER; FIELDS]
}

/// What stands at the front of `bytes`. `fields`: memory for the head's fields.
pub fn front<'a, 'f>(bytes: &'a [u8], fields: &'f mut Fields<'a>) -> Result<Front<'a, 'f>, Refusal> {
    let mut request = Request::new(fields);
    let within = &bytes[..bytes.len().min(HEAD_BYTES)];
    let length = match request.parse(within) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES => return part(within),
        Ok(Status::Partial) => return Err(too_long(within)),
        Err(error) => return Err(refusal(error, within)),
    };
    let whole = within.get(..length).unwrap_or(within);
    check_line_ends(whole)?;
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::RequestLine);
    };
    let fields: &'f [httparse::Header<'a>] = request.headers;
    let said = Said::in_fields(fields)?;
    let (target, authority) = target_of(method, target)?;
    said.check_host(authority, minor)?;
    Ok(Front::Head(Head {
        length,
        method,
        target,
        authority,
        minor,
        fields,
        body: said.body(minor)?,
        keep_alive: !said.close && (minor == 1 || said.keep_alive),
        expects_continue: said.expects_continue(minor)?,
        offers_websocket: said.websocket && said.upgrade && minor == 1 && method == "GET",
    }))
}

/// What is wrong with the beginning of a head is said at once where it can be: a head that never ends is no reason to wait.
fn part<'a, 'f>(bytes: &'a [u8]) -> Result<Front<'a, 'f>, Refusal> {
    // An odd CR may still get its LF.
    let settled = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    check_line_ends(settled)?;
    if memchr::memchr(b'\n', bytes).is_none() && bytes.len() > TARGET_BYTES + LONGEST_METHOD {
        return Err(Refusal::TargetTooLong);
    }
    Ok(Front::Part)
}

fn too_long(bytes: &[u8]) -> Refusal {
    let line = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    if line > TARGET_BYTES + LONGEST_METHOD {
        return Refusal::TargetTooLong;
    }
    Refusal::HeadTooLong
}

fn refusal(error: Error, bytes: &[u8]) -> Refusal {
    match error {
        Error::TooManyHeaders => Refusal::TooManyFields,
        Error::Version if bytes.starts_with(b"PRI * HTTP/2.0\r\n") || is_other_version(bytes) => Refusal::Version,
        Error::Version | Error::Token | Error::Status => Refusal::RequestLine,
        Error::NewLine => Refusal::LineEnd,
        Error::HeaderName | Error::HeaderValue => Refusal::Field,
    }
}

/// Whether the first line ends with a version of HTTP, only none that is known.
fn is_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let word = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let is_version = matches!(
        word,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit()
    );
    is_version && word != b"HTTP/1.1" && word != b"HTTP/1.0"
}

/// `httparse` takes a bare LF for the end of a line, as RFC 9112 §2.2 allows; a proxy before us may not.
fn check_line_ends(bytes: &[u8]) -> Result<(), Refusal> {
    let mut returns = memchr_iter(b'\r', bytes);
    for feed in memchr_iter(b'\n', bytes) {
        if returns.next().is_none_or(|at| at + 1 != feed) {
            return Err(Refusal::LineEnd);
        }
    }
    if returns.next().is_some() {
        return Err(Refusal::LineEnd);
    }
    Ok(())
}

/// Path and query of a target, and its authority where it names one.
fn target_of<'a>(method: &str, target: &'a str) -> Result<(&'a str, Option<&'a str>), Refusal> {
    if method == "CONNECT" {
        return Err(Refusal::Connect);
    }
    if target.len() > TARGET_BYTES {
        return Err(Refusal::TargetTooLong);
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::Target);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((target, None));
    }
    let scheme = target.get(..8).map(str::to_ascii_lowercase).unwrap_or_else(|| target.to_ascii_lowercase());
    let from = if scheme.starts_with("http://") {
        7
    } else if scheme == "https://" {
        8
    } else {
        return Err(Refusal::Target);
    };
    let rest = target.get(from..).unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(Refusal::Target);
    }
    match path {
        "" if method == "OPTIONS" => Ok(("*", Some(authority))), // RFC 9112 §3.2.4
        "" => Ok(("/", Some(authority))),
        path if path.starts_with('/') => Ok((path, Some(authority))),
        _ => Err(Refusal::Target), // `http://host?query`: the path is empty, and what would be its slash is not there
    }
}

/// What the fields say of the message itself.
#[derive(Default)]
struct Said<'a> {
    length: Option<u64>,
    chunked: bool,
    host: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    websocket: bool,
    expect: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    fn in_fields(fields: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut said = Said::default();
        for field in fields {
            let (name, value) = (field.name, field.value);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Refusal::Field);
            }
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    let another = said.host.replace(value).is_some();
                    if another || !is_host(value) {
                        return Err(Refusal::Host);
                    }
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    let another = said.expect.replace(value).is_some();
                    if another {
                        return Err(Refusal::Expectation);
                    }
                }
                7 if name.eq_ignore_ascii_case("upgrade") => {
                    said.websocket |= words(value).any(|word| word.eq_ignore_ascii_case(b"websocket"));
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for word in words(value) {
                        said.close |= word.eq_ignore_ascii_case(b"close");
                        said.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                        said.upgrade |= word.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let length = number(value).ok_or(Refusal::ContentLength)?;
                    if said.length.replace(length).is_some() {
                        return Err(Refusal::ContentLength);
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    if said.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal::TransferCoding);
                    }
                    said.chunked = true;
                }
                _ => {}
            }
        }
        Ok(said)
    }

    fn check_host(&self, authority: Option<&str>, minor: u8) -> Result<(), Refusal> {
        match self.host {
            // RFC 9112 §3.2: also where the target names the host.
            None if minor == 1 => Err(Refusal::Host),
            // They may differ in form only: who routes by the one and who routes by the other must mean the same.
            Some(host) if authority.is_some_and(|authority| !authority.as_bytes().eq_ignore_ascii_case(host)) => {
                Err(Refusal::Host)
            }
            _ => Ok(()),
        }
    }

    fn body(&self, minor: u8) -> Result<Body, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refusal::BothLengths),
            (true, None) if minor == 0 => Err(Refusal::OldTransferEncoding),
            (true, None) => Ok(Body::Chunked),
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }

    fn expects_continue(&self, minor: u8) -> Result<bool, Refusal> {
        match self.expect {
            Some(_) if minor == 0 => Ok(false), // RFC 9110 §10.1.1
            Some(word) if word.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            Some(_) => Err(Refusal::Expectation),
            None => Ok(false),
        }
    }
}

/// The words of a list (RFC 9110 §5.6.1).
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits only: no sign, no list, no white space, and nothing that does not fit.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Host and port as a URI has them (RFC 3986 §3.2.2), by their characters; without a user. May be empty.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=[]:".contains(byte))
}

/// The longest method that a server should know (RFC 9112 §3 has no bound; IANA's longest is `UPDATEREDIRECTREF`), and the version.
const LONGEST_METHOD: usize = 64;
