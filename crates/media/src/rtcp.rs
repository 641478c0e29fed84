//! Minimal RTCP for the phone leg (RFC 3550 section 6): sender and receiver reports with a CNAME out, the loss
//! that the peer reports in.

use crate::stats::ReceptionReport;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const CNAME: u8 = 1;
/// Length of a report block.
const BLOCK: usize = 24;
/// Seconds between the NTP era (1900) and the Unix epoch.
const NTP_OFFSET: u64 = 2_208_988_800;

/// What we say about our own stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SenderInfo {
    /// Time since the Unix epoch.
    pub(crate) wallclock: std::time::Duration,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

/// Appends a compound packet: a report (SR while we send, else RR) and our CNAME, which is random like the SSRC
/// so that it tells nothing (RFC 7022).
pub(crate) fn write_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    sender: Option<SenderInfo>,
    about: Option<ReceptionReport>,
) {
    let blocks = usize::from(about.is_some());
    let (kind, info_len) = match sender {
        Some(_) => (SENDER_REPORT, 20),
        None => (RECEIVER_REPORT, 0),
    };
    write_header(out, blocks as u8, kind, 4 + info_len + blocks * BLOCK);
    out.extend(ssrc.to_be_bytes());
    if let Some(info) = sender {
        let seconds = (info.wallclock.as_secs() + NTP_OFFSET) as u32;
        let fraction = (u64::from(info.wallclock.subsec_nanos()) << 32) / 1_000_000_000;
        for word in [
            seconds,
            fraction as u32,
            info.timestamp,
            info.packets,
            info.bytes,
        ] {
            out.extend(word.to_be_bytes());
        }
    }
    if let Some(report) = about {
        let loss = (u32::from(report.fraction) << 24) | (report.lost & 0xff_ffff);
        // The last two words are for round trips; we keep no note of the peer's reports.
        for word in [report.ssrc, loss, report.highest, report.jitter, 0, 0] {
            out.extend(word.to_be_bytes());
        }
    }
    // SSRC, one CNAME item of 8 hex digits, the end marker, padded to 20 bytes.
    write_header(out, 1, SOURCE_DESCRIPTION, 16);
    out.extend(ssrc.to_be_bytes());
    out.extend([CNAME, 8]);
    out.extend((0..8).map(|digit| hex(ssrc.rotate_left(4 * (digit + 1)) & 0xf)));
    out.extend([0, 0]);
}

fn write_header(out: &mut Vec<u8>, count: u8, kind: u8, body_len: usize) {
    out.extend([0x80 | count, kind]);
    out.extend(((body_len / 4) as u16).to_be_bytes());
}

fn hex(nibble: u32) -> u8 {
    b"0123456789abcdef"[nibble as usize & 0xf]
}

/// Whether a datagram begins as a compound packet has to: with a whole report (RFC 3550 appendix A.2).
pub(crate) fn is_compound(datagram: &[u8]) -> bool {
    let Some((head, body)) = datagram.split_first_chunk::<4>() else {
        return false;
    };
    let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    // The top three bits: version 2, no padding.
    head[0] >> 5 == 0b100 && matches!(head[1], SENDER_REPORT | RECEIVER_REPORT) && len <= body.len()
}

/// The loss fraction that a compound packet reports about our `ssrc`. Whatever cannot be read is skipped; a BYE is
/// ignored, for only SIP ends a call (and a forged BYE must not).
pub(crate) fn reported_loss(mut datagram: &[u8], ssrc: u32) -> Option<u8> {
    let mut loss = None;
    // Bounded: every turn takes at least four bytes off.
    while let Some((head, rest)) = datagram.split_first_chunk::<4>() {
        if head[0] >> 6 != 2 {
            return loss;
        }
        let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
        let Some((body, after)) = rest.split_at_checked(len) else {
            return loss;
        };
        datagram = after;
        let skipped = match head[1] {
            SENDER_REPORT => 24,
            RECEIVER_REPORT => 4,
            _ => continue,
        };
        let blocks = body.get(skipped..).unwrap_or_default().chunks_exact(BLOCK);
        loss = blocks
            .take(usize::from(head[0] & 0x1f))
            .find(|block| block[..4] == ssrc.to_be_bytes())
            .map(|block| block[4])
            .or(loss);
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const ABOUT: ReceptionReport = ReceptionReport {
        ssrc: 0xaabb_ccdd,
        fraction: 51,
        lost: 2,
        highest: 70_000,
        jitter: 4,
    };

    #[test]
    fn a_sender_report_tells_the_peer_its_loss() {
        let mut out = Vec::new();
        let info = SenderInfo {
            wallclock: Duration::from_secs(1_700_000_000),
            timestamp: 1,
            packets: 2,
            bytes: 3,
        };
        write_report(&mut out, 7, Some(info), Some(ABOUT));
        assert_eq!(out.len(), 4 + 24 + 24 + 4 + 16);
        assert_eq!(out[..4], [0x81, 200, 0, 12]);
        assert_eq!(reported_loss(&out, 0xaabb_ccdd), Some(51));
        assert_eq!(reported_loss(&out, 1), None);
    }

    #[test]
    fn a_receiver_report_without_blocks_is_well_formed() {
        let mut out = Vec::new();
        write_report(&mut out, 0x0102_0304, None, None);
        assert_eq!(out[..8], [0x80, 201, 0, 1, 1, 2, 3, 4]);
        assert_eq!(out.len() % 4, 0);
        assert_eq!(&out[18..26], b"01020304");
    }

    #[test]
    fn only_a_whole_report_begins_a_compound_packet() {
        let mut report = Vec::new();
        write_report(&mut report, 7, None, Some(ABOUT));
        assert!(is_compound(&report));
        assert!(!is_compound(&report[..20]));
        assert!(!is_compound(&[0x81, SOURCE_DESCRIPTION, 0, 0]));
        assert!(!is_compound(&[]));
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(datagram in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = reported_loss(&datagram, 0);
        }

        #[test]
        fn no_claimed_length_makes_the_reader_panic(count in 0u8..32, words in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut datagram = vec![0x80 | count, 201];
            datagram.extend(words.to_be_bytes());
            datagram.extend(body);
            let _ = reported_loss(&datagram, 0);
        }
    }
}
