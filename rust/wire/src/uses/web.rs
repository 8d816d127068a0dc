//! HTTP in its forms, proxies, and what is told apart by an HTTP request's first line.

use super::bytes::{has, has_word, if_so, line, starts_with_any};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    // What is known in more detail stands before what it is a kind of.
    Row::new("WebSocket", "web", Encrypted::No, &[80, 8080], websocket).tcp().of("HTTP"),
    Row::new("Prometheus", "monitoring", Encrypted::No, &[9090, 9100], prometheus).tcp().of("HTTP"),
    Row::new("IPP", "printing", Encrypted::No, &[631], ipp).tcp().of("HTTP"),
    Row::new("SSTP", "vpn", Encrypted::No, &[443], sstp).tcp().of("HTTP"),
    Row::new("HTTP/1", "web", Encrypted::No, &[80, 8080], http).tcp().of("HTTP"),
    Row::new("gRPC", "web", Encrypted::No, &[50_051], grpc).tcp().of("HTTP/2"),
    Row::new("HTTP/2", "web", Encrypted::No, &[80, 8080], http2).tcp().of("HTTP/2"),
    Row::new("HTTP proxy", "proxy", Encrypted::No, &[3128, 8080], http_proxy).tcp(),
    Row::new("FastCGI", "web", Encrypted::No, &[9000], fastcgi).tcp(),
    Row::new("AJP", "web", Encrypted::No, &[8009], ajp).tcp(),
    Row::new("PROXY", "proxy", Encrypted::No, &[], proxy_header).tcp(),
    Row::new("SSDP", "discovery", Encrypted::No, &[1900], ssdp).udp(),
    Row::new("WS-Discovery", "discovery", Encrypted::No, &[3702], ws_discovery).udp(),
];

/// Method and the first letter of the target: what else has HTTP's methods (RTSP, SIP) has other targets.
fn is_request(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        bytes.strip_prefix(*method).is_some_and(|target| {
            target.starts_with(b"/") || target.starts_with(b"?") || starts_with_any(target, &[b"http://", b"https://"])
        })
    })
}

/// The target is a whole address: that is asked of proxies (RFC 9112 §3.2.2).
fn is_proxied(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        bytes.strip_prefix(*method).is_some_and(|target| starts_with_any(target, &[b"http://", b"https://", b"ftp://"]))
    })
}

fn http(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if is_request(bytes) {
        return if_so(!is_proxied(bytes), 98);
    }
    if bytes.starts_with(b"OPTIONS * HTTP/1.") || starts_with_any(bytes, &[b"HTTP/1.0 ", b"HTTP/1.1 "]) {
        return 98;
    }
    // Shouted by some clients that write no target.
    match line(bytes) {
        Some(line) if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") => {
            let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            if_so(
                (3..=20).contains(&method.len())
                    && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
                    && !line.starts_with(b"CONNECT "),
                90,
            )
        }
        _ => 0,
    }
}

fn websocket(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let upgrades = has_word(bytes, b"upgrade: websocket") || has_word(bytes, b"sec-websocket-");
    if_so(upgrades && (bytes.starts_with(b"GET ") || bytes.starts_with(b"HTTP/1.1 101")), 99)
}

fn prometheus(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"GET /metrics HTTP/1.", b"GET /metrics?", b"POST /api/v1/write "]), 98)
}

fn ipp(look: &Look<'_>) -> u8 {
    let is_post = starts_with_any(look.bytes, &[b"POST /ipp/", b"POST /printers/", b"POST /ipp "]);
    if_so(is_post || (look.bytes.starts_with(b"POST / ") && has(look.bytes, b"application/ipp")), 98)
}

fn sstp(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"SSTP_DUPLEX_POST "), 99)
}

/// RFC 9113 §3.4: the preface, and the settings that come first from either side.
fn http2(look: &Look<'_>) -> u8 {
    match *look.bytes {
        _ if look.bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\n") => 99,
        // Length a multiple of 6, type 4, no flags, stream 0; then the first setting.
        [0, 0, length, 4, 0, 0, 0, 0, 0, 0, 1..=8, ..] if length % 6 == 0 && length > 0 => 80,
        _ => 0,
    }
}

/// Its content type, in Huffman's code (RFC 7541) or plain, behind the preface.
fn grpc(look: &Look<'_>) -> u8 {
    const CODED: &[u8] = &[0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x4d, 0x65, 0x64];
    let names_it = has(look.bytes, CODED) || has(look.bytes, b"application/grpc");
    if_so(http2(look) >= 80 && names_it, 99)
}

fn http_proxy(look: &Look<'_>) -> u8 {
    let Some(target) = look.bytes.strip_prefix(b"CONNECT ") else {
        return if_so(is_proxied(look.bytes), 97);
    };
    let end = target.iter().position(|byte| *byte == b' ').unwrap_or(target.len());
    let names_port = target.get(..end).is_some_and(|target| target.contains(&b':'));
    if_so(names_port && !target.starts_with(b"{"), 97)
}

fn fastcgi(look: &Look<'_>) -> u8 {
    // Version 1, begin request, id 1, 8 bytes without padding, the role of a responder.
    if_so(look.bytes.starts_with(&[1, 1, 0, 1, 0, 8, 0, 0, 0, 1]), 97)
}

fn ajp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [0x12, 0x34, _, _, 2 | 7 | 8 | 10, ..] => 96,
        [b'A', b'B', _, _, 3..=6 | 9, ..] => 80,
        _ => 0,
    }
}

fn proxy_header(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n"]), 97)
}

fn ssdp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(bytes, &[b"M-SEARCH * HTTP/1.", b"NOTIFY * HTTP/1."]) {
        return 98;
    }
    if_so(starts_with_any(bytes, &[b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK"]), 90)
}

fn ws_discovery(look: &Look<'_>) -> u8 {
    let is_soap =
        has(look.bytes, b"soap-envelope") || has(look.bytes, b"xmlsoap") || has(look.bytes, b"<soap:Envelope");
    if_so(look.bytes.starts_with(b"<") && is_soap, 85)
}

const METHODS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"SUBSCRIBE ",
    b"UNSUBSCRIBE ",
    b"NOTIFY ",
    b"MKCALENDAR ",
    b"PURGE ",
    b"RPC_IN_DATA ",
    b"RPC_OUT_DATA ",
    b"DESCRIBE ",
];
