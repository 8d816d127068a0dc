//! Mail, news, and messages between people.

use super::bytes::{be16, be32, has_word, if_so, le32, line, starts_with_any, starts_with_word};
use super::{Encrypted, Look, Row};

pub(super) const ROWS: &[Row] = &[
    Row::new("SMTP", "mail", Encrypted::No, &[25, 587, 2525], smtp).tcp(),
    Row::new("IMAP", "mail", Encrypted::No, &[143], imap).tcp(),
    Row::new("POP3", "mail", Encrypted::No, &[110], pop3).tcp(),
    Row::new("ManageSieve", "mail", Encrypted::No, &[4190], sieve).tcp(),
    Row::new("NNTP", "news", Encrypted::No, &[119], nntp).tcp(),
    Row::new("IRC", "messaging", Encrypted::No, &[6667, 6660, 6697], irc).tcp(),
    Row::new("XMPP", "messaging", Encrypted::No, &[5222, 5269, 5223], xmpp).tcp(),
    Row::new("OSCAR", "messaging", Encrypted::No, &[5190], oscar).tcp(),
    Row::new("WhatsApp", "messaging", Encrypted::Yes, &[5222, 443], whatsapp).tcp(),
    Row::new("Telegram", "messaging", Encrypted::Yes, &[443, 5222], telegram).tcp(),
    Row::new("WeChat", "messaging", Encrypted::Yes, &[8080, 443, 80], wechat).tcp(),
    Row::new("Viber", "messaging", Encrypted::Yes, &[4244, 5242, 7985], viber).tcp(),
    Row::new("MSNP", "messaging", Encrypted::No, &[1863], msnp).tcp(),
    Row::new("YMSG", "messaging", Encrypted::No, &[5050], ymsg).tcp(),
    Row::new("KakaoTalk", "messaging", Encrypted::Yes, &[5223, 995, 443, 9282], kakao).tcp(),
    Row::new("SMPP", "messaging", Encrypted::No, &[2775], smpp).tcp(),
];

fn smtp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if ["EHLO ", "HELO ", "LHLO ", "MAIL FROM:"].iter().any(|word| starts_with_word(bytes, word.as_bytes())) {
        return 97;
    }
    if starts_with_any(bytes, &[b"220 ", b"220-", b"554 ", b"421 "]) {
        let banner = line(bytes).unwrap_or(bytes);
        let words = ["smtp", "postfix", "exim", "sendmail", "lmtp"];
        // The rest of the line may say that it is something else.
        return match words.iter().any(|word| has_word(banner, word.as_bytes())) {
            true if line(bytes).is_some() => 96,
            true => 90,
            false => 40,
        };
    }
    0
}

fn imap(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(bytes, &[b"* OK", b"* PREAUTH", b"* BYE"]) {
        let is_named = has_word(line(bytes).unwrap_or(bytes), b"imap") || has_word(bytes, b"capability");
        return if is_named { 97 } else { 85 };
    }
    // A tag, then a command.
    let Some(space) = bytes.iter().take(16).position(|byte| *byte == b' ') else { return 0 };
    let (tag, rest) = bytes.split_at(space);
    let is_tag = !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric) && tag.iter().any(u8::is_ascii_digit);
    let command = rest.get(1..).unwrap_or_default();
    let commands = ["CAPABILITY", "LOGIN ", "STARTTLS", "AUTHENTICATE ", "ID (", "SELECT ", "NAMESPACE"];
    if_so(is_tag && commands.iter().any(|known| starts_with_word(command, known.as_bytes())), 96)
}

fn pop3(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if bytes.starts_with(b"+OK ") || bytes.starts_with(b"+OK\r\n") {
        // Redis says that too, and nothing behind it.
        return if_so(bytes.starts_with(b"+OK "), if has_word(line(bytes).unwrap_or(bytes), b"pop") { 97 } else { 80 });
    }
    let exact = ["CAPA\r\n", "STLS\r\n", "APOP "].iter().any(|word| starts_with_word(bytes, word.as_bytes()));
    if exact {
        return 90;
    }
    if_so(starts_with_word(bytes, b"USER ") || starts_with_word(bytes, b"AUTH "), 40)
}

fn sieve(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"\"IMPLEMENTATION\" "]), 97)
}

fn nntp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let greets = starts_with_any(bytes, &[b"200 ", b"201 "]);
    let banner = line(bytes).unwrap_or(bytes);
    let asks =
        ["MODE READER", "ARTICLE ", "GROUP ", "AUTHINFO "].iter().any(|word| starts_with_word(bytes, word.as_bytes()));
    if asks {
        return 96;
    }
    if_so(
        greets,
        if has_word(banner, b"nntp") || has_word(banner, b"news") || has_word(banner, b"innd") { 96 } else { 40 },
    )
}

fn irc(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    if starts_with_any(bytes, &[b"CAP LS", b"NOTICE AUTH :", b"NOTICE * :"]) {
        return 97;
    }
    if starts_with_any(bytes, &[b"NICK ", b"PASS "]) {
        // FTP and POP3 have PASS too, never first.
        return if has_word(bytes, b"\nUSER ") || bytes.starts_with(b"NICK ") { 96 } else { 50 };
    }
    if bytes.starts_with(b"USER ") && has_word(bytes, b"\nNICK ") {
        return 97;
    }
    // `:server NOTICE ...`, `:server 001 ...`
    let mut words = line(bytes).unwrap_or(bytes).split(|byte| *byte == b' ');
    let is_prefix = words.next().is_some_and(|word| word.len() > 1 && word.starts_with(b":"));
    let command = words.next().unwrap_or_default();
    let is_command =
        command == b"NOTICE" || command == b"PRIVMSG" || (command.len() == 3 && command.iter().all(u8::is_ascii_digit));
    if_so(is_prefix && is_command && words.next().is_some(), 95)
}

fn xmpp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let opens = has_word(bytes, b"<stream:stream")
        || has_word(bytes, b"jabber:client")
        || has_word(bytes, b"etherx.jabber.org");
    if_so(bytes.starts_with(b"<") && opens, 97)
}

fn oscar(look: &Look<'_>) -> u8 {
    // FLAP: a star, channel 1 (sign on), sequence, length; then version 1.
    match *look.bytes {
        [b'*', 1, _, _, 0, 4..=255, 0, 0, 0, 1, ..] => 96,
        [b'*', 1..=5, _, _, high, _, ..] if high < 0x20 => 60,
        _ => 0,
    }
}

fn whatsapp(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [b'W', b'A', 1..=6, 0..=9, ..] => 96,
        [b'E', b'D', 0, 1, 0, 0, 4, 8, 0, b'W', b'A', ..] => 97,
        _ => 0,
    }
}

fn telegram(look: &Look<'_>) -> u8 {
    match *look.bytes {
        // The short transport: its mark, then a length in words (it may be 0x7f and three bytes).
        [0xef, 0x7f, _, _, 0, ..] => 70,
        [0xef, 10, 0, 0, 0, 0, 0, 0, 0, 0, ..] => 95,
        [0xee, 0xee, 0xee, 0xee, ..] | [0xdd, 0xdd, 0xdd, 0xdd, ..] => 95,
        _ => 0,
    }
}

fn wechat(look: &Look<'_>) -> u8 {
    // Length, header of 16 bytes, version 1.
    let whole = be32(look.bytes, 0).is_some_and(|length| (16..65_536).contains(&length));
    let header = be16(look.bytes, 4) == Some(16) && be16(look.bytes, 6) == Some(1);
    let command = be32(look.bytes, 8).is_some_and(|command| matches!(command, 0..2_000 | 0x3b9a_c001..0x8000_0000));
    if_so(whole && header && command, 90)
}

fn viber(look: &Look<'_>) -> u8 {
    match *look.bytes {
        [length, 0, 0 | 3, kind, 0, ..] if usize::from(length) >= 10 && matches!(kind, 0 | 2 | 3 | 0x16) => 50,
        [_, 0, 0xfc, ..] => 20,
        _ => 0,
    }
}

fn msnp(look: &Look<'_>) -> u8 {
    if_so(starts_with_any(look.bytes, &[b"VER 1 MSNP", b"VER 0 MSNP", b"CVR "]), 96)
}

fn ymsg(look: &Look<'_>) -> u8 {
    if_so(look.bytes.starts_with(b"YMSG\0"), 96)
}

fn kakao(look: &Look<'_>) -> u8 {
    // Its handshake: how long the sealed key is, and with what it and the rest are sealed.
    let sealed = le32(look.bytes, 0) == Some(256);
    let with = le32(look.bytes, 4).is_some_and(|kind| kind < 16) && le32(look.bytes, 8).is_some_and(|kind| kind < 16);
    if_so(sealed && with, 90)
}

fn smpp(look: &Look<'_>) -> u8 {
    let bytes = look.bytes;
    let (Some(length), Some(command), Some(status), Some(sequence)) =
        (be32(bytes, 0), be32(bytes, 4), be32(bytes, 8), be32(bytes, 12))
    else {
        return 0;
    };
    let known = matches!(command & 0x7fff_ffff, 1..=9 | 0x0b | 0x15 | 0x102 | 0x103);
    if_so((16..65_536).contains(&length) && known && status < 0x500 && (1..0x10000).contains(&sequence), 85)
}
