//! Packets as the blocks of a pcapng file (draft-ietf-opsawg-pcapng); pcap-file writes them.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block, PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};
use socketkit_system::ring::{Direction, Frame, Link, Statistics};

/// What a file says of where its packets are from.
#[derive(Clone, Debug)]
pub struct Description {
    pub interface: String,
    /// As the user wrote it; empty for none.
    pub filter: String,
    pub snap_bytes: u32,
    pub link: Link,
}

/// Blocks that wait to be written; what is in it is whole ones.
pub struct Blocks {
    writer: PcapNgWriter<Vec<u8>>,
    scratch: Vec<u8>,
    started_ns: u64,
}

impl Blocks {
    /// The head of a file.
    pub fn start(description: &Description, now_ns: u64) -> io::Result<Blocks> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::OS(Cow::Borrowed("Linux")),
                SectionHeaderOption::UserApplication(Cow::Borrowed(concat!("socketkit ", env!("CARGO_PKG_VERSION")))),
            ],
            ..SectionHeaderBlock::default()
        };
        let buffer = Vec::with_capacity(FULL_BYTES + 2 * LARGEST_BYTES);
        let mut writer = PcapNgWriter::with_section_header(buffer, section).map_err(io_error)?;
        let mut options = vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(description.interface.clone())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        if !description.filter.is_empty() {
            // A zero in front says that it is text.
            let filter = [b"\0", description.filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(Cow::Owned(filter)));
        }
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::from(u32::from(description.link.number())),
            snaplen: description.snap_bytes,
            options,
        };
        writer.write_pcapng_block(interface).map_err(io_error)?;
        Ok(Blocks { writer, scratch: Vec::new(), started_ns: now_ns })
    }

    pub fn packet(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let block = Block::EnhancedPacket(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(frame.timestamp_ns),
            original_len: frame.wire_bytes(),
            data: Cow::Borrowed(frame.bytes(&mut self.scratch)),
            options: vec![EnhancedPacketOption::Flags(flags(frame.direction()))],
        });
        self.writer.write_block(&block).map_err(io_error)?;
        Ok(())
    }

    /// The end of a file: what the kernel has counted.
    pub fn end(&mut self, now_ns: u64, counted: Statistics) -> io::Result<()> {
        let statistics = InterfaceStatisticsBlock {
            interface_id: 0,
            timestamp: halves(now_ns),
            options: vec![
                InterfaceStatisticsOption::IsbStartTime(halves(self.started_ns)),
                InterfaceStatisticsOption::IsbEndTime(halves(now_ns)),
                InterfaceStatisticsOption::IsbFilterAccept(counted.packets),
                InterfaceStatisticsOption::IsbOsDrop(counted.dropped),
            ],
        };
        self.writer.write_block(&statistics.into_block()).map(drop).map_err(io_error)
    }

    pub fn bytes(&self) -> &[u8] {
        self.writer.get_ref()
    }

    pub fn clear(&mut self) {
        self.writer.get_mut().clear();
    }

    /// Whether it is time to write.
    pub fn full(&self) -> bool {
        self.bytes().len() >= FULL_BYTES
    }
}

/// Of a packet's block, beside its data: head, options, padding, tail.
pub const PACKET_OVERHEAD_BYTES: usize = 28 + 12 + 3 + 4;
/// Of the block at the end of a file.
pub const STATISTICS_BYTES: usize = 76;

/// epb_flags: §4.3.1 of the draft.
fn flags(direction: Direction) -> u32 {
    const INBOUND: u32 = 0b01;
    match direction {
        Direction::Out => 0b10,
        Direction::In => INBOUND | 1 << 2,
        Direction::Multicast => INBOUND | 2 << 2,
        Direction::Broadcast => INBOUND | 3 << 2,
        Direction::Other => INBOUND | 4 << 2,
    }
}

/// The draft has times as two words, the upper one first; pcap-file 2 writes these as one number, the lower one first.
fn halves(time_ns: u64) -> u64 {
    time_ns.rotate_left(32)
}

fn io_error(failure: PcapError) -> io::Error {
    match failure {
        PcapError::IoError(failure) => failure,
        other => io::Error::other(other),
    }
}

const FULL_BYTES: usize = 1_048_576;
const LARGEST_BYTES: usize = 262_144;
const NANOSECONDS: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description { interface: "eth0".into(), filter: "udp port 53".into(), snap_bytes: 99, link: Link::Ethernet }
    }

    #[test]
    fn a_file_without_packets_says_where_it_is_from() {
        let mut blocks = Blocks::start(&description(), 1).unwrap();
        blocks.end(0x1_0000_0002, Statistics { packets: 7, dropped: 2, freezes: 0 }).unwrap();
        let bytes = blocks.bytes();
        assert_eq!(bytes.len() % 4, 0);
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(holds(b"\x04\0eth0") || holds(b"\x02\0\x04\0eth0"));
        assert!(holds(b"\x0b\0\x0c\0\0udp port 53"));
        assert!(holds(b"\x09\0\x01\0\x09\0\0\0"));
        // Statistics: type, length, interface, then the upper half of the time.
        assert!(holds(b"\x05\0\0\0\x4c\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0"), "{}", bytes.escape_ascii());
    }

    #[test]
    fn directions_are_the_drafts() {
        assert_eq!([Direction::Out, Direction::In, Direction::Broadcast].map(flags), [2, 5, 13]);
    }
}
