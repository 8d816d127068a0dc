//! Answers of HTTP/1.1 that were prepared: a table from targets to bytes, so that what is asked for a thousand times a second is answered
//! where the request is read. It is bounded in bytes. An answer of bytes is bounded in time, and what is older goes to whoever prepared it;
//! one that is a file goes out for as long as the file is the same.

mod file;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketkit_wire::http1::answer::{append_date, Said};
use socketkit_wire::http1::head::{no_fields, Fields};
use socketkit_wire::http1::{front, Body, Front, Head};

pub use file::{PreparedFile, Reading};

/// One answer.
#[derive(Debug)]
pub struct Prepared {
    status: u16,
    /// The status line and the fields, without date and end.
    head: Vec<u8>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes { body: Vec<u8>, until: Instant },
    File(PreparedFile),
}

/// What a table did for a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// An answer was written: to a request of so many bytes; `last`: the connection ends with it.
    Answered { length: usize, last: bool, hit: Hit },
    /// The beginning of a request.
    Part,
    /// A request that somebody else must answer, or bytes that are none.
    Miss,
}

/// For whoever tells of requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit {
    pub target: Vec<u8>,
    pub head_only: bool,
    pub minor: u8,
    pub status: u16,
    pub sent_bytes: usize,
}

/// The table.
pub struct Answers {
    by_target: HashMap<Vec<u8>, Arc<Prepared>>,
    bytes: usize,
    most_bytes: usize,
    answered: u64,
    /// Where files are.
    folder: Option<OwnedFd>,
}

impl Answers {
    /// `folder`: where files are, if there are any.
    pub fn new(most_bytes: usize, folder: Option<OwnedFd>) -> Self {
        Self { by_target: HashMap::new(), bytes: 0, most_bytes, answered: 0, folder }
    }

    /// Keeps an answer; false where there is no room for it. `head`: the status line and the fields.
    pub fn put(&mut self, target: &[u8], status: u16, head: Vec<u8>, body: Vec<u8>, until: Instant) -> bool {
        self.insert(target, Prepared { status, head, content: Content::Bytes { body, until } })
    }

    /// Keeps a file as the answer to `target` of who calls this side `host`; false where there is no room for it, no folder, or it is too
    /// large to be read where nobody may be kept waiting. `head`: as for `put`.
    pub fn put_file(&mut self, host: &[u8], target: &[u8], head: Vec<u8>, file: PreparedFile) -> bool {
        self.folder.is_some()
            && file.size() <= MOST_FILE_BYTES
            && self.insert(&file_key(host, target), Prepared { status: 200, head, content: Content::File(file) })
    }

    fn insert(&mut self, target: &[u8], prepared: Prepared) -> bool {
        self.remove(target);
        let bytes = target.len() + prepared.bytes();
        if self.bytes + bytes > self.most_bytes {
            self.make_room();
        }
        if self.bytes + bytes > self.most_bytes {
            return false;
        }
        self.bytes += bytes;
        self.by_target.insert(target.to_vec(), Arc::new(prepared));
        true
    }

    pub fn remove(&mut self, target: &[u8]) {
        if let Some(prepared) = self.by_target.remove(target) {
            self.bytes -= target.len() + prepared.bytes();
        }
    }

    /// Without what is old, and without files: those that are asked for are soon here again.
    fn make_room(&mut self) {
        let now = Instant::now();
        self.by_target.retain(|_, prepared| matches!(&prepared.content, Content::Bytes { until, .. } if *until > now));
        self.bytes = self.by_target.iter().map(|(target, prepared)| target.len() + prepared.bytes()).sum();
    }

    pub fn clear(&mut self) {
        self.by_target.clear();
        self.bytes = 0;
    }

    pub fn len(&self) -> usize {
        self.by_target.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many requests were answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Answers the request in front of `bytes`, if it may: the answer is written behind `out`. `closing`: it is to be the last.
    pub fn look(&mut self, bytes: &[u8], closing: bool, seconds: u64, out: &mut Vec<u8>) -> Look {
        let mut fields: Fields<'_> = no_fields();
        let head = match front(bytes, &mut fields) {
            Ok(Front::Head(head)) if is_plain(&head) => head,
            Ok(Front::Part) => return Look::Part,
            Ok(Front::Head(_)) | Err(_) => return Look::Miss,
        };
        let Some((prepared, file_key)) = self.answer_to(&head) else { return Look::Miss };
        let head_only = head.method == "HEAD";
        let last = closing || !head.keep_alive;
        let start = out.len();
        let sent_bytes = match &prepared.content {
            Content::Bytes { until, .. } if *until <= Instant::now() => return Look::Miss,
            Content::Bytes { body, .. } => {
                prepared.begin(out, head.minor, last, seconds);
                let body = if head_only { &[][..] } else { body };
                out.extend_from_slice(body);
                body.len()
            }
            Content::File(file) => {
                let Some(folder) = &self.folder else { return Look::Miss };
                let opened = match file.open(folder.as_fd()) {
                    Ok(opened) => opened,
                    Err(Reading::Changed) => {
                        self.remove(&file_key);
                        return Look::Miss;
                    }
                    Err(_) => return Look::Miss,
                };
                prepared.begin(out, head.minor, last, seconds);
                if !head_only && file.read(&opened, out) != Reading::Done {
                    out.truncate(start);
                    return Look::Miss;
                }
                if head_only {
                    0
                } else {
                    file.size()
                }
            }
        };
        self.answered += 1;
        let target = head.target.as_bytes().to_vec();
        let hit = Hit { target, head_only, minor: head.minor, status: prepared.status, sent_bytes };
        Look::Answered { length: head.length, last, hit }
    }
}

impl Answers {
    /// The answer, and if it is a file what it is found by.
    fn answer_to(&self, head: &Head<'_, '_>) -> Option<(Arc<Prepared>, Vec<u8>)> {
        let target = head.target.as_bytes();
        if let Some(prepared) = self.by_target.get(target) {
            return Some((Arc::clone(prepared), Vec::new()));
        }
        self.folder.as_ref()?;
        let mut hosts = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
        let key = file_key(hosts.next()?.value, target);
        Some((Arc::clone(self.by_target.get(&key)?), key))
    }
}

/// What no target is: none begins with a space.
fn file_key(host: &[u8], target: &[u8]) -> Vec<u8> {
    [b" ", host, b" ", target].concat()
}

impl Prepared {
    fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Bytes { body, .. } => body.len(),
            Content::File(file) => file.bytes(),
        };
        self.head.len() + content + OVERHEAD_BYTES
    }

    /// All but the body.
    fn begin(&self, out: &mut Vec<u8>, minor: u8, last: bool, seconds: u64) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"date: ");
        append_date(out, seconds);
        out.extend_from_slice(match (last, minor) {
            (true, _) => b"\r\nconnection: close\r\n\r\n",
            (false, 0) => b"\r\nconnection: keep-alive\r\n\r\n",
            (false, _) => b"\r\n\r\n",
        });
    }
}

/// Whether nothing but its target decides about the answer. What asks for a part, or only if something has changed, is for who knows more.
fn is_plain(head: &Head<'_, '_>) -> bool {
    matches!(head.method, "GET" | "HEAD")
        && head.body == Body::Length(0)
        && !head.offers_websocket
        && !head.fields.iter().any(|field| {
            let name = field.name;
            match name.len() {
                5 => name.eq_ignore_ascii_case("range"),
                13 => name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("if-none-match"),
                8 | 17 | 19 => name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("if-")),
                _ => false,
            }
        })
}

/// The head of a prepared answer, from its status and fields; what the connection says is left out.
pub fn head_of<'a>(
    status: u16,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    body_bytes: usize,
) -> Result<Vec<u8>, socketkit_wire::http1::answer::Fault> {
    use socketkit_wire::http1::answer::{begin, field};
    let mut head = Vec::new();
    begin(&mut head, status)?;
    let mut said = Said::default();
    for (name, value) in fields {
        let ours = [&b"date"[..], b"content-length"].iter().any(|ours| name.eq_ignore_ascii_case(ours));
        if !ours {
            field(&mut head, &mut said, name, value)?;
        }
    }
    field(&mut head, &mut said, b"content-length", body_bytes.to_string().as_bytes())?;
    Ok(head)
}

/// The moment at which something prepared now is old.
pub fn valid_for(seconds: f64) -> Option<Instant> {
    Instant::now().checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

const OVERHEAD_BYTES: usize = 128;
const MOST_FILE_BYTES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Answers {
        let mut answers = Answers::new(1 << 20, None);
        let head = head_of(200, [(&b"content-type"[..], &b"text/plain"[..])], 5).unwrap();
        assert!(answers.put(b"/a", 200, head, b"hello".to_vec(), valid_for(60.0).unwrap()));
        answers
    }

    fn asked(answers: &mut Answers, request: &str) -> (Look, String) {
        let mut out = Vec::new();
        let look = answers.look(request.as_bytes(), false, 0, &mut out);
        (look, String::from_utf8(out).unwrap())
    }

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

    #[test]
    fn what_was_prepared_is_answered() {
        let mut answers = table();
        let (look, told) = asked(&mut answers, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET");
        let hit = Hit { target: b"/a".to_vec(), head_only: false, minor: 1, status: 200, sent_bytes: 5 };
        assert_eq!(look, Look::Answered { length: 28, last: false, hit });
        assert_eq!(told, format!("{HEAD}\r\nhello"));
        let (_, told) = asked(&mut answers, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(told, format!("{HEAD}\r\n"));
        let (look, told) = asked(&mut answers, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(matches!(look, Look::Answered { last: true, .. }));
        assert_eq!(told, format!("{HEAD}connection: close\r\n\r\nhello"));
        let (_, told) = asked(&mut answers, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(told, format!("{HEAD}connection: keep-alive\r\n\r\nhello"));
        assert_eq!(answers.answered(), 4);
    }

    #[test]
    fn what_needs_a_thought_is_not() {
        let mut answers = table();
        let fields =
            ["Range: bytes=0-1", "If-None-Match: \"x\"", "If-Modified-Since: x", "If-Range: x", "Authorization: x"];
        for field in fields.into_iter().chain(["If-Match: x", "If-Unmodified-Since: x", "Content-Length: 3"]) {
            let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\nabc");
            assert_eq!(asked(&mut answers, &request), (Look::Miss, String::new()), "{field}");
        }
        for other in ["GET /b", "GET /a?b", "POST /a", "nothing"] {
            let request = format!("{other} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(asked(&mut answers, &request), (Look::Miss, String::new()), "{other}");
        }
        assert_eq!(asked(&mut answers, "GET /a HTTP/1.1\r\n").0, Look::Part);
    }

    #[test]
    fn what_is_old_is_not() {
        let mut answers = table();
        assert!(answers.put(b"/a", 200, Vec::new(), Vec::new(), Instant::now()));
        assert_eq!(asked(&mut answers, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n").0, Look::Miss);
    }

    #[test]
    fn it_is_bounded() {
        let mut answers = Answers::new(1000, None);
        let soon = valid_for(60.0).unwrap();
        assert!(!answers.put(b"/a", 200, Vec::new(), vec![0; 1000], soon));
        assert!(answers.put(b"/a", 200, Vec::new(), vec![0; 500], soon));
        assert!(!answers.put(b"/b", 200, Vec::new(), vec![0; 500], soon));
        assert!(answers.put(b"/a", 200, Vec::new(), vec![0; 600], soon));
        assert_eq!((answers.len(), answers.bytes()), (1, 2 + 600 + OVERHEAD_BYTES));
        // What is old makes room.
        assert!(answers.put(b"/a", 200, Vec::new(), vec![0; 600], Instant::now()));
        assert!(answers.put(b"/b", 200, Vec::new(), vec![0; 600], soon));
        answers.remove(b"/b");
        assert_eq!((answers.len(), answers.bytes()), (0, 0));
    }

    const ASKED: &str = "GET /f HTTP/1.1\r\nHost: a\r\n\r\n";

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("socketkit-answers-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("f"), "first").unwrap();
            Folder(path)
        }

        fn table(&self, most_bytes: usize) -> Answers {
            Answers::new(most_bytes, Some(std::fs::File::open(&self.0).unwrap().into()))
        }

        fn put(&self, answers: &mut Answers, target: &str) -> bool {
            let file = std::fs::File::open(self.0.join("f")).unwrap();
            let file = PreparedFile::new(file.as_fd(), b"f").unwrap();
            answers.put_file(b"a", target.as_bytes(), head_of(200, [], file.size()).unwrap(), file)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_is_answered() {
        let folder = Folder::new("answered");
        let mut answers = folder.table(1 << 20);
        assert!(folder.put(&mut answers, "/f"));
        let (look, told) = asked(&mut answers, ASKED);
        let hit = Hit { target: b"/f".to_vec(), head_only: false, minor: 1, status: 200, sent_bytes: 5 };
        assert_eq!(look, Look::Answered { length: ASKED.len(), last: false, hit });
        assert!(told.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n") && told.ends_with("\r\n\r\nfirst"));
        // Who calls this side by another name is somebody else's to let in.
        for other in
            ["GET /f HTTP/1.1\r\nHost: b\r\n\r\n", "GET /f HTTP/1.0\r\n\r\n", "GET /f HTTP/1.1\r\nHost: \r\n\r\n"]
        {
            assert_eq!(asked(&mut answers, other).0, Look::Miss, "{other}");
        }
        let (look, told) = asked(&mut answers, "HEAD /f HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(matches!(look, Look::Answered { hit: Hit { sent_bytes: 0, .. }, .. }) && told.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_file_that_is_another_is_not() {
        let folder = Folder::new("changed");
        let (path, other) = (folder.0.join("f"), folder.0.join("g"));
        let changes: [&dyn Fn(); 5] = [
            &|| std::fs::write(&path, "longer than first").unwrap(),
            &|| {
                // The same bytes and the same time, and yet another file.
                std::fs::copy(&path, &other).unwrap();
                let time = std::fs::metadata(&path).unwrap().modified().unwrap();
                std::fs::File::options().append(true).open(&other).unwrap().set_modified(time).unwrap();
                std::fs::rename(&other, &path).unwrap();
            },
            &|| {
                let opened = std::fs::File::options().append(true).open(&path).unwrap();
                opened.set_modified(std::time::UNIX_EPOCH).unwrap();
            },
            &|| {
                std::fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
            },
            &|| std::fs::remove_file(&path).unwrap(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut answers = folder.table(1 << 20);
            if number == 4 {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "first").unwrap();
            }
            assert!(folder.put(&mut answers, "/f"), "{number}");
            assert!(matches!(asked(&mut answers, ASKED).0, Look::Answered { .. }), "{number}");
            change();
            assert_eq!(asked(&mut answers, ASKED), (Look::Miss, String::new()), "{number}");
            assert_eq!((answers.len(), answers.bytes()), (0, 0), "{number}: it is forgotten");
        }
    }

    #[test]
    fn files_are_bounded_too() {
        let folder = Folder::new("bounded");
        let mut answers = folder.table(1000);
        assert!(answers.put(b"/kept", 200, Vec::new(), vec![0; 100], valid_for(60.0).unwrap()));
        for number in 0..100 {
            assert!(folder.put(&mut answers, &format!("/{number}")));
            assert!(answers.bytes() <= 1000);
        }
        // Files make room for files, and for nothing that was prepared by hand and is not old.
        assert!(answers.by_target.contains_key(&b"/kept"[..]) && answers.len() >= 2);
        std::fs::write(folder.0.join("f"), vec![0; MOST_FILE_BYTES + 1]).unwrap();
        assert!(!folder.put(&mut folder.table(1 << 20), "/f"));
        assert!(!folder.put(&mut Answers::new(1 << 20, None), "/f"));
    }

    #[test]
    fn a_head_cannot_be_injected_into() {
        assert!(head_of(200, [(&b"x"[..], &b"a\r\nb"[..])], 0).is_err());
        let head = head_of(200, [(&b"Date"[..], &b"x"[..]), (b"Content-Length", b"9"), (b"Connection", b"x")], 3);
        assert_eq!(head.unwrap(), b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n");
    }
}
