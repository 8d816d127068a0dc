//! Whether a network namespace has sockets of a protocol at all, without a walk through the kernel's table of them.
//!
//! All namespaces share one table of TCP connections. Looking through it for each of them would take as long every time, and most
//! have nothing in it.

use std::fs;

/// What is there; when the kernel does not say, everything may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    pub tcp: bool,
    pub udp: bool,
}

impl Present {
    /// In the namespace where the calling thread is.
    pub fn here() -> Present {
        let told = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        match told("sockstat") {
            // Without IPv6 there is no second file.
            Ok(first) => Present::read(&first, &told("sockstat6").unwrap_or_default()),
            Err(_) => Present { tcp: true, udp: true },
        }
    }

    fn read(first: &str, second: &str) -> Present {
        let any = |text: &str, protocol: &str, names: &[&str]| {
            let line = text.lines().find_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
            let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
            words.chunks_exact(2).any(|pair| matches!(pair, [name, number] if names.contains(name) && *number != "0"))
        };
        // A connection that is not yet one comes with its listener, which is in use.
        let tcp = any(first, "TCP", &["inuse", "tw"]) || any(second, "TCP6", &["inuse"]);
        let udp = any(first, "UDP", &["inuse"]) || any(second, "UDP6", &["inuse"]);
        Present { tcp, udp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str =
        "sockets: used 5\nTCP: inuse 0 orphan 3 tw 0 alloc 40 mem 0\nUDP: inuse 0 mem 28\nRAW: inuse 1\n";

    #[test]
    fn only_what_is_of_this_namespace_counts() {
        assert_eq!(Present::read(NONE, "TCP6: inuse 0\nUDP6: inuse 0\n"), Present { tcp: false, udp: false });
        assert_eq!(Present::read(NONE, ""), Present { tcp: false, udp: false });
        assert_eq!(Present::read(&NONE.replace("tw 0", "tw 1"), ""), Present { tcp: true, udp: false });
        assert_eq!(Present::read(&NONE.replace("TCP: inuse 0", "TCP: inuse 2"), ""), Present { tcp: true, udp: false });
        assert_eq!(Present::read(NONE, "TCP6: inuse 1\nUDP6: inuse 1\n"), Present { tcp: true, udp: true });
    }
}
