//! Each protocol by the bytes that its programs begin with.

use super::Transport::{Tcp, Udp};
use super::*;

#[test]
fn each_protocol_is_known_by_its_first_bytes() {
    for (protocol, transport, length, client, server) in SAMPLES {
        let client = Start { bytes: client, datagram_bytes: *length, following: &[] };
        let server = Start { bytes: server, datagram_bytes: server.len(), following: &[] };
        // Ports that nobody has.
        let verdict = classify(*transport, [40_001, 40_002], client, server);
        let found = verdict.map(|verdict| (verdict.row.protocol, verdict.sure >= 80));
        assert_eq!(found, Some((*protocol, true)), "{verdict:?}");
    }
}

#[test]
fn the_other_side_alone_says_it_too() {
    for (protocol, transport, length, client, server) in SAMPLES {
        for (bytes, length) in [(client, *length), (server, server.len())] {
            let start = Start { bytes, datagram_bytes: length, following: &[] };
            let swapped = classify(*transport, [40_001, 40_002], Start::default(), start);
            let family = rows().find(|row| row.protocol == *protocol).map(|row| row.family);
            if let Some(verdict) = swapped.filter(|verdict| verdict.sure >= CERTAIN) {
                // Proxies answer as HTTP does.
                assert!(Some(verdict.row.family) == family || *protocol == "HTTP proxy", "{protocol}: {verdict:?}");
            }
        }
    }
}

#[test]
fn random_bytes_are_no_protocol() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let (mut taken, mut random) = (Vec::new(), 0_usize);
    for _ in 0..SAMPLES_OF_NOISE {
        let bytes: Vec<u8> = (0..127)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        let start = Start { bytes: &bytes, datagram_bytes: 127, following: &[] };
        for transport in [Tcp, Udp] {
            let verdict = classify(transport, [40_001, 40_002], start, Start::default());
            taken.extend(verdict.filter(|verdict| verdict.sure >= 80).map(|verdict| verdict.row.protocol));
        }
        random += usize::from(random::looks_random(&bytes) == Some(true));
    }
    assert!(taken.len() < SAMPLES_OF_NOISE / 500, "random starts were taken for {taken:?}");
    assert!(random > SAMPLES_OF_NOISE * 98 / 100, "{random} of {SAMPLES_OF_NOISE} random samples look random");
}

#[test]
fn what_has_structure_does_not_look_random() {
    let text =
        b"It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness";
    let base64 = b"c29ja2V0a2l0IGtub3dzIHdoYXQgaXMgcmFuZG9tIGFuZCB3aGF0IGlzIG5vdCwgYnkgY291bnRpbmc";
    let fields: Vec<u8> = (0..32_u32).flat_map(|number| (number * 1_000).to_be_bytes()).collect();
    for bytes in [&text[..], base64, &fields, &[0; 100], &[0xff; 100]] {
        assert_eq!(random::looks_random(bytes), Some(false));
    }
    assert_eq!(random::looks_random(&text[..47]), None);
    assert_eq!(looks_random(text, &[]), Encrypted::Unknown);
}

#[test]
fn a_port_makes_a_weak_sign_better_and_never_certain() {
    let channel = [&[0x40, 0, 0, 20][..], &[0x5a; 20]].concat();
    let start = Start { bytes: &channel, datagram_bytes: 24, following: &[] };
    let at = |port| classify(Udp, [40_000, port], start, Start::default()).map_or(0, |verdict| verdict.sure);
    assert_eq!((at(9), at(3478)), (70, 94));
    assert!(classify(Udp, [40_000, 3478], Start::default(), Start::default()).is_none());
    assert!(classify(Tcp, [40_000, 443], Start { bytes: b"hello", ..Start::default() }, Start::default()).is_none());
}

#[test]
fn datagrams_of_one_source_in_order_are_rtp() {
    let packet = |number: u8| {
        let mut head = [0x5a; 16];
        head[..12].copy_from_slice(&[0x80, 111, 0, number, 0, 0, 0, number, 0xde, 0xad, 0xbe, 0xef]);
        head
    };
    let sure = |following: &[Head]| {
        let bytes = packet(1);
        let start = Start { bytes: &bytes, datagram_bytes: 172, following };
        classify(Udp, [1, 2], start, Start::default()).map_or(0, |verdict| verdict.sure)
    };
    assert_eq!(sure(&[]), 45);
    assert!(sure(&[(packet(2), 172), (packet(3), 172)]) >= CERTAIN);
    assert_eq!(sure(&[(packet(90), 172)]), 45);
}

#[test]
fn what_goes_over_to_tls_says_so() {
    let hello = [22, 3, 1, 2, 0, 1, 0];
    for (clear, protocol) in [
        (&b"EHLO a\r\nSTARTTLS\r\n"[..], "SMTP"),
        (b"a1 STARTTLS\r\n", "IMAP"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "PostgreSQL"),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", "HTTP proxy"),
    ] {
        let verdict =
            |bytes: &[u8]| classify(Tcp, [1, 2], Start { bytes, ..Start::default() }, Start::default()).unwrap();
        assert_eq!((verdict(clear).row.protocol, verdict(clear).encrypted), (protocol, Encrypted::No));
        let upgraded = verdict(&[clear, &hello].concat());
        assert_eq!((upgraded.row.protocol, upgraded.encrypted, upgraded.upgraded), (protocol, Encrypted::Yes, true));
    }
}

#[test]
fn a_hello_is_read_as_far_as_it_goes() {
    let name = b"example.org";
    let mut extensions = vec![0, 0, 0, name.len() as u8 + 5, 0, name.len() as u8 + 3, 0, 0, name.len() as u8];
    extensions.extend(name);
    extensions.extend([0, 16, 0, 14, 0, 12, 2, b'h', b'2', 8]);
    extensions.extend(b"http/1.1");
    extensions.extend([0, 43, 0, 5, 4, 0x1a, 0x1a, 3, 4]);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, extensions.len() as u8]);
    body.extend(&extensions);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(&body);
    let facts = tls::offered(&hello);
    assert_eq!(facts.name.as_deref(), Some("example.org"));
    assert_eq!(
        (facts.inside.as_slice(), facts.version, facts.whole),
        (&["h2".to_owned(), "http/1.1".to_owned()][..], 0x304, true)
    );
    let cut = tls::offered(&hello[..hello.len() - 20]);
    assert_eq!((cut.name.as_deref(), cut.whole), (Some("example.org"), false));
    assert_eq!(tls::offered(&hello[..60]).name, None);
    assert_eq!(tls::facts_of_message(&hello[5..]), facts);
    // The answer chooses.
    let mut answer = vec![22, 3, 3, 0, 46 + 6, 2, 0, 0, 42 + 6, 3, 3];
    answer.extend([9; 32]);
    answer.extend([0, 0x13, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
    assert_eq!(tls::answered(facts, &answer).version_name(), "TLS 1.3");
}

#[test]
fn names_that_no_server_has_are_not_shown() {
    for name in [&b"a\x1b[2J"[..], b"", b"a b"] {
        let length = name.len() as u8;
        let mut extensions = vec![0, 0, 0, length + 5, 0, length + 3, 0, 0, length];
        extensions.extend(name);
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, extensions.len() as u8]);
        body.extend(&extensions);
        let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        assert_eq!(tls::facts_of_message(&message).name, None);
    }
}

const SAMPLES_OF_NOISE: usize = 5_000;

type Sample = (&'static str, Transport, usize, &'static [u8], &'static [u8]);

/// Protocol, transport, how long the client's datagram was, what client and server say.
#[rustfmt::skip]
const SAMPLES: &[Sample] = &[
    ("TLS", Tcp, 517, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03i\x83\xd4\xbf |t\xb6D\x09\xf5Z\x05\x93\xa9\xe4&l\xd1\xc9\x0d\xfa\x93m\xee\xd9\xa4\xb6\xb6\x15\x22[ w\xeb4\xdb\xa8\x90\x9b\xed\xca#\xb0\xb06W\xc9\xca\xd8c!\x93\x09\xf2\x18\xa0N7\x80\xb8\xf8\xef.\x9d\x00>\x13\x02\x13\x03\x13\x01\xc0,\xc00\x00\x9f\xcc\xa9\xcc\xa8\xcc\xaa\xc0+\xc0/\x00\x9e\xc0$\xc0(\x00k\xc0#\xc0'\x00g\xc0\x0a\xc0\x14\x009\xc0\x09\xc0\x13\x003\x00", b"\x16\x03\x03\x00z\x02\x00\x00v\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x13\x02\x00\x00.\x00+\x00\x02\x03\x04"),
    ("DTLS", Udp, 45, b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00 \x01\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x14\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("WebSocket", Tcp, 70, b"GET /chat HTTP/1.1\x0d\x0aHost: a\x0d\x0aUpgrade: websocket\x0d\x0aConnection: Upgrade\x0d\x0a", b"HTTP/1.1 101 Switching Protocols\x0d\x0aUpgrade: websocket\x0d\x0a"),
    ("Prometheus", Tcp, 40, b"GET /metrics HTTP/1.1\x0d\x0aHost: node:9100\x0d\x0a", b""),
    ("IPP", Tcp, 57, b"POST /ipp/print HTTP/1.1\x0d\x0aContent-Type: application/ipp\x0d\x0a", b""),
    ("HTTP/1", Tcp, 37, b"GET / HTTP/1.1\x0d\x0aHost: example.org\x0d\x0a\x0d\x0a", b"HTTP/1.1 200 OK\x0d\x0aServer: nginx\x0d\x0a"),
    ("HTTP/2", Tcp, 39, b"PRI * HTTP/2.0\x0d\x0a\x0d\x0aSM\x0d\x0a\x0d\x0a\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d", b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00"),
    ("gRPC", Tcp, 63, b"PRI * HTTP/2.0\x0d\x0a\x0d\x0aSM\x0d\x0a\x0d\x0a\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00\x00\x00>\x01\x04\x00\x00\x00\x01\x83\x86_\x8b\x1du\xd0b\x0d&=LMed", b""),
    ("HTTP proxy", Tcp, 59, b"CONNECT example.org:443 HTTP/1.1\x0d\x0aHost: example.org:443\x0d\x0a\x0d\x0a", b"HTTP/1.1 200 Connection established\x0d\x0a\x0d\x0a"),
    ("SSDP", Udp, 71, b"M-SEARCH * HTTP/1.1\x0d\x0aHOST: 239.255.255.250:1900\x0d\x0aMAN: \x22ssdp:discover\x22\x0d\x0a", b""),
    ("SSH", Tcp, 40, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\x0d\x0a", b"SSH-2.0-OpenSSH_9.2p1\x0d\x0a"),
    ("RDP", Tcp, 19, b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x0b\x00\x00\x00", b"\x03\x00\x00\x13\x0e\xd0\x00\x00\x124\x00\x02\x1f\x08\x00\x02\x00\x00\x00"),
    ("VNC", Tcp, 12, b"RFB 003.008\x0a", b"RFB 003.008\x0a"),
    ("X11", Tcp, 48, b"l\x00\x0b\x00\x00\x00\x12\x00\x10\x00\x00\x00MIT-MAGIC-COOKIE-1\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", b"\x01\x00\x0b\x00\x00\x00?\x01"),
    ("Telnet", Tcp, 9, b"\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f", b"\xff\xfd\x18\xff\xfd \xff\xfd#"),
    ("SMTP", Tcp, 21, b"EHLO client.example\x0d\x0a", b"220 mail.example ESMTP Postfix (Debian)\x0d\x0a"),
    ("IMAP", Tcp, 17, b"a001 CAPABILITY\x0d\x0a", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\x0d\x0a"),
    ("POP3", Tcp, 6, b"CAPA\x0d\x0a", b"+OK Dovecot (Debian) POP3 ready.\x0d\x0a"),
    ("NNTP", Tcp, 13, b"MODE READER\x0d\x0a", b"200 news.example InterNetNews NNRP server INN 2.7 ready\x0d\x0a"),
    ("IRC", Tcp, 41, b"CAP LS 302\x0d\x0aNICK ada\x0d\x0aUSER ada 0 * :Ada\x0d\x0a", b":irc.example NOTICE * :*** Looking up your hostname...\x0d\x0a"),
    ("XMPP", Tcp, 74, b"<?xml version='1.0'?><stream:stream to='example.org' xmlns='jabber:client'", b""),
    ("PostgreSQL", Tcp, 30, b"\x00\x00\x00'\x00\x03\x00\x00user\x00ada\x00database\x00ada\x00", b"R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00"),
    ("MySQL", Tcp, 0, b"", b"[\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\x00\x1f\x00\x00\x00"),
    ("MongoDB", Tcp, 35, b":\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00%\x00\x00\x00\x10ismaster\x00", b""),
    ("Redis", Tcp, 17, b"*1\x0d\x0a$7\x0d\x0aCOMMAND\x0d\x0a", b"+PONG\x0d\x0a"),
    ("memcached", Tcp, 28, b"set greeting 0 60 5\x0d\x0ahello\x0d\x0a", b"STORED\x0d\x0a"),
    ("Cassandra", Tcp, 9, b"\x04\x00\x00\x00\x05\x00\x00\x00\x00", b"\x84\x00\x00\x00\x06\x00\x00\x00P"),
    ("TDS", Tcp, 24, b"\x12\x01\x00/\x00\x00\x01\x00\x00\x00\x1a\x00\x06\x01\x00 \x00\x01\x02\x00!\x00\x01\xff", b""),
    ("Oracle", Tcp, 48, b"\x00\xc8\x00\x00\x01\x00\x00\x00\x016\x01,(DESCRIPTION=(CONNECT_DATA=(SID=x)))", b""),
    ("ZooKeeper", Tcp, 48, b"\x00\x00\x00,\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00u0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("MQTT", Tcp, 20, b"\x10\x12\x00\x04MQTT\x04\x02\x00<\x00\x06client", b" \x02\x00\x00"),
    ("AMQP", Tcp, 8, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00\x00\x00\x01\xf0\x00\x0a\x00\x0a\x00\x09"),
    ("Kafka", Tcp, 32, b"\x00\x00\x00!\x00\x12\x00\x03\x00\x00\x00\x01\x00\x08consumer\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("NATS", Tcp, 33, b"CONNECT {\x22verbose\x22:false}\x0d\x0aPING\x0d\x0a", b"INFO {\x22server_id\x22:\x22NAB\x22,\x22version\x22:\x222.10.7\x22} \x0d\x0a"),
    ("ZeroMQ", Tcp, 32, b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03"),
    ("SMB", Tcp, 16, b"\x00\x00\x00\xd4\xfeSMB@\x00\x00\x00\x00\x00\x00\x00", b""),
    ("NFS", Tcp, 28, b"\x80\x00\x00(\x124Vx\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x03\x00\x00\x00\x00", b""),
    ("FTP", Tcp, 16, b"USER anonymous\x0d\x0a", b"220 ProFTPD Server (Debian) [::ffff:192.0.2.1]\x0d\x0a"),
    ("TFTP", Udp, 19, b"\x00\x01pxelinux.0\x00octet\x00", b""),
    ("rsync", Tcp, 14, b"@RSYNCD: 31.0\x0a", b"@RSYNCD: 31.0\x0a"),
    ("git", Tcp, 50, b"0033git-upload-pack /project.git\x00host=example.org\x00", b""),
    ("BitTorrent", Tcp, 68, b"\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'", b""),
    ("BitTorrent DHT", Udp, 56, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re"),
    ("BitTorrent tracker", Udp, 16, b"\x00\x00\x04\x17'\x10\x19\x80\x00\x00\x00\x00\x124Vx", b""),
    ("Minecraft", Tcp, 19, b"\x10\x00\xfb\x05\x09127.0.0.1c\xdd\x01\x01\x00", b""),
    ("RakNet", Udp, 33, b"\x01\x00\x00\x00\x00\x00\x00\x124\x00\xff\xff\x00\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x124Vx\x00\x00\x00\x00\x00\x00\x00\x01", b""),
    ("Source engine", Udp, 25, b"\xff\xff\xff\xffTSource Engine Query\x00", b"\xff\xff\xff\xffI\x11Team Fortress\x00"),
    ("Quake III", Udp, 14, b"\xff\xff\xff\xffgetstatus\x0a", b"\xff\xff\xff\xffstatusResponse\x0a\x5cversion\x5cioq3\x0a"),
    ("TeamSpeak", Udp, 17, b"TS3INIT1\x00e\x00\x00\x88\x00\x00\x00\x00", b""),
    ("SIP", Udp, 64, b"INVITE sip:bob@example.org SIP/2.0\x0d\x0aVia: SIP/2.0/UDP 192.0.2.1\x0d\x0a", b"SIP/2.0 100 Trying\x0d\x0a"),
    ("STUN", Udp, 20, b"\x00\x01\x00\x00!\x12\xa4B\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b", b"\x01\x01\x00\x0c!\x12\xa4B\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x00 \x00\x08\x00\x01\xa1G\xe1\x12\xa6C"),
    ("RTSP", Tcp, 51, b"OPTIONS rtsp://192.0.2.1/stream RTSP/1.0\x0d\x0aCSeq: 1\x0d\x0a", b"RTSP/1.0 200 OK\x0d\x0a"),
    ("RTMP", Tcp, 109, b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\x5c]^_`abc", b"\x03\x00\x00\x00\x00\x04\x05\x00\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\x5c]^_`abc"),
    ("SRT", Udp, 64, b"\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x02\x124Vx\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("MPEG-TS", Udp, 1316, b"G@\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("WireGuard", Udp, 148, b"\x01\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\x5c]^_`abcdefghijklmnopqrstuvwxyz", b"\x02\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVW"),
    ("OpenVPN", Udp, 14, b"8\x124Vx\x9a\xbc\xde\xf0\x00\x00\x00\x00\x00", b"@\x0f\xed\xcb\xa9\x87eC!\x01\x00\x00\x00\x00\x124Vx\x9a\xbc\xde\xf0\x00\x00\x00\x00"),
    ("IKE", Udp, 44, b"\x124Vx\x9a\xbc\xde\xf0\x00\x00\x00\x00\x00\x00\x00\x00! \x22\x08\x00\x00\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("L2TP", Udp, 20, b"\xc8\x02\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x80\x08\x00\x00\x00\x00\x00\x01", b""),
    ("PPTP", Tcp, 16, b"\x00\x9c\x00\x01\x1a+<M\x00\x01\x00\x00\x01\x00\x00\x00", b""),
    ("SOCKS5", Tcp, 13, b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb", b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
    ("SOCKS4", Tcp, 9, b"\x04\x01\x01\xbb\xc0\x00\x02\x01\x00", b"\x00Z\x00\x00\x00\x00\x00\x00"),
    ("QUIC", Udp, 1200, b"\xc3\x00\x00\x00\x01\x08\x83\x94\xc8\xf0>QW\x08\x00\x00D\x9e{\x9a\xec4\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'()*+,-./0123456789:;<=>?\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("DNS", Udp, 33, b"\x124\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01", b""),
    ("DNS", Tcp, 35, b"\x00!\x124\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01", b""),
    ("mDNS", Udp, 34, b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05_http\x04_tcp\x05local\x00\x00\x0c\x00\x01", b""),
    ("NetBIOS names", Udp, 50, b"\x124\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00 EBCACACACACACACACACACACACACACAAA\x00\x00 \x00\x01", b""),
    ("NTP", Udp, 48, b"#\x00\x06\xe9\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"$\x02\x06\xe8\x00\x00\x03\x10\x00\x00\x01*\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
    ("DHCP", Udp, 244, b"\x01\x01\x06\x00\x124Vx\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b""),
    ("LDAP", Tcp, 14, b"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00", b"0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00"),
    ("Kerberos", Tcp, 20, b"\x00\x00\x00\xb4j\x81\xb10\x81\xae\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a", b""),
    ("RADIUS", Udp, 26, b"\x01*\x00\x1a\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x01\x06adab", b""),
    ("SNMP", Udp, 29, b"0&\x02\x01\x01\x04\x06public\xa0\x19\x02\x04\x124Vx\x02\x01\x00\x02\x01\x000\x0b", b""),
    ("syslog", Udp, 35, b"<34>Oct 11 22:14:15 host su: failed", b""),
    ("statsd", Udp, 14, b"page.views:1|c", b""),
    ("Graphite", Tcp, 31, b"servers.a.load 0.42 1700000000\x0a", b""),
    ("Zabbix", Tcp, 13, b"ZBXD\x01\x0f\x00\x00\x00\x00\x00\x00\x00", b""),
    ("BGP", Tcp, 29, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x1d\x01\x04\xfd\xe8\x00\xb4\xc0\x00\x02\x01\x00", b""),
    ("CoAP", Udp, 21, b"@\x01\x124\xbb.well-known\x04core", b""),
    ("Modbus", Tcp, 12, b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x0a", b""),
    ("S7", Tcp, 22, b"\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc1\x02\x01\x00\xc2\x02\x01\x02\xc0\x01\x0a", b""),
    ("DCE/RPC", Tcp, 16, b"\x05\x00\x0b\x03\x10\x00\x00\x00H\x00\x00\x00\x01\x00\x00\x00", b""),
    ("FIX", Tcp, 20, b"8=FIX.4.4\x019=65\x0135=A\x01", b""),
    ("mining", Tcp, 49, b"{\x22id\x22:1,\x22method\x22:\x22mining.subscribe\x22,\x22params\x22:[]}\x0a", b""),
    ("Bitcoin", Tcp, 16, b"\xf9\xbe\xb4\xd9version\x00\x00\x00\x00\x00", b""),
];
