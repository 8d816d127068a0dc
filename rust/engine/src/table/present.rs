//! How many sockets of a protocol a network namespace has, without a walk through the kernel's table of them.
//!
//! All namespaces share one table of TCP connections. Looking through it for each of them would take as long every time, and most
//! have nothing in it, or nothing that descriptors have not told of already.

use std::fs;

/// What one namespace has; None: the kernel does not say, and everything may be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub tcp: Option<Counted>,
    pub udp: Option<Counted>,
}

/// Sockets of one protocol, of both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// In the kernel's table: bound UDP sockets; TCP listeners and connections, those included that nobody accepted yet or that
    /// nobody holds any more. Connections that are not yet one come with their listener.
    pub listed: u64,
    /// What is no socket any more, and still in the table: TIME_WAIT.
    pub left: u64,
}

impl Counted {
    pub fn any(self) -> bool {
        self != Counted::default()
    }
}

impl Present {
    /// In the namespace where the calling thread is.
    pub fn here() -> Present {
        let told = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        match told("sockstat") {
            // Without IPv6 there is no second file.
            Ok(first) => Present::read(&first, &told("sockstat6").unwrap_or_default()),
            Err(_) => Present::default(),
        }
    }

    /// How many there are of both protocols; 0 where the kernel does not say.
    pub fn all(self) -> u64 {
        [self.tcp, self.udp].iter().flatten().map(|counted| counted.listed + counted.left).sum()
    }

    fn read(first: &str, second: &str) -> Present {
        let number = |text: &str, protocol: &str, name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'))?;
            let mut words = line.split_whitespace();
            words.find(|word| *word == name)?;
            words.next()?.parse().ok()
        };
        let both = |protocol: &str| {
            let six = number(second, &format!("{protocol}6"), "inuse").unwrap_or_default();
            Some(number(first, protocol, "inuse")? + six)
        };
        let tcp = both("TCP").map(|listed| Counted { listed, left: number(first, "TCP", "tw").unwrap_or_default() });
        // They share a table.
        let udp = both("UDP").map(|listed| Counted { listed: listed + both("UDPLITE").unwrap_or_default(), left: 0 });
        Present { tcp, udp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str =
        "sockets: used 5\nTCP: inuse 0 orphan 3 tw 0 alloc 40 mem 0\nUDP: inuse 0 mem 28\nRAW: inuse 1\n";

    fn told(listed: u64, left: u64, udp: u64) -> Present {
        Present { tcp: Some(Counted { listed, left }), udp: Some(Counted { listed: udp, left: 0 }) }
    }

    #[test]
    fn only_what_is_of_this_namespace_counts() {
        assert_eq!(Present::read(NONE, "TCP6: inuse 0\nUDP6: inuse 0\n"), told(0, 0, 0));
        assert_eq!(Present::read(NONE, ""), told(0, 0, 0));
        assert_eq!(Present::read(&NONE.replace("tw 0", "tw 1"), ""), told(0, 1, 0));
        assert_eq!(Present::read(&NONE.replace("TCP: inuse 0", "TCP: inuse 2"), "TCP6: inuse 1\n"), told(3, 0, 0));
        assert_eq!(Present::read(NONE, "TCP6: inuse 1\nUDP6: inuse 1\nUDPLITE6: inuse 2\n"), told(1, 0, 1));
        assert_eq!(Present::read(&format!("{NONE}UDPLITE: inuse 1\n"), "UDPLITE6: inuse 2\n"), told(0, 0, 3));
    }

    #[test]
    fn what_the_kernel_does_not_say_may_be_there() {
        assert_eq!(Present::read("sockets: used 5\n", ""), Present::default());
        assert_eq!(Present::read("TCP: inuse many\n", "").tcp, None);
    }
}
