//! RTCP of the phone leg on the wire (RFC 3550 section 6): sender and receiver reports with a CNAME out, the peer's
//! reports in. Only byte slices are read and written here, so that SRTCP can stand around it.

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
    pub(crate) at: NtpTime,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

/// What we say about the peer's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AboutPeer {
    pub(crate) reception: ReceptionReport,
    /// The peer's last sender report, from which it measures the round trip; 0 if there was none.
    pub(crate) last_sr: ShortNtp,
    /// How long ago that came, 1/65536 s.
    pub(crate) delay: u32,
}

/// What the peer says about our stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AboutUs {
    /// Packets lost so far; less than none where duplicates came.
    pub(crate) lost: i32,
    /// Interarrival jitter in ticks of the RTP clock.
    pub(crate) jitter: u32,
    pub(crate) last_sr: ShortNtp,
    /// 1/65536 s.
    pub(crate) delay: u32,
}

/// What a compound packet holds for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// The time of a sender report.
    pub(crate) sent_at: Option<ShortNtp>,
    pub(crate) about_us: Option<AboutUs>,
}

/// Seconds since 1900 and 1/2^32 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NtpTime(u64);

/// The middle 32 bits of an [`NtpTime`], in 1/65536 s (RFC 3550 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ShortNtp(pub(crate) u32);

impl NtpTime {
    /// `wallclock`: time since the Unix epoch.
    pub(crate) fn of(wallclock: std::time::Duration) -> Self {
        let fraction = (u64::from(wallclock.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime((wallclock.as_secs().wrapping_add(NTP_OFFSET) << 32) | fraction)
    }

    pub(crate) fn short(self) -> ShortNtp {
        ShortNtp((self.0 >> 16) as u32)
    }
}

/// Whether a datagram on a port that RTP and RTCP share is RTCP (RFC 5761 section 4).
pub(crate) fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(1), Some(192..=223))
}

/// Appends a compound packet: a report (SR while we send, else RR) and our CNAME, which is random like the SSRC
/// so that it tells nothing (RFC 7022).
pub(crate) fn write_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    sender: Option<SenderInfo>,
    about: Option<AboutPeer>,
) {
    let blocks = usize::from(about.is_some());
    let (kind, info_len) = match sender {
        Some(_) => (SENDER_REPORT, 20),
        None => (RECEIVER_REPORT, 0),
    };
    write_header(out, blocks as u8, kind, 4 + info_len + blocks * BLOCK);
    out.extend(ssrc.to_be_bytes());
    if let Some(info) = sender {
        out.extend(info.at.0.to_be_bytes());
        for word in [info.timestamp, info.packets, info.bytes] {
            out.extend(word.to_be_bytes());
        }
    }
    if let Some(about) = about {
        let report = about.reception;
        let loss = (u32::from(report.fraction) << 24) | (report.lost & 0xff_ffff);
        let ShortNtp(last_sr) = about.last_sr;
        for word in [report.ssrc, loss, report.highest, report.jitter] {
            out.extend(word.to_be_bytes());
        }
        out.extend(last_sr.to_be_bytes());
        out.extend(about.delay.to_be_bytes());
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

/// What a compound packet says, about our stream `ssrc` too. Whatever cannot be read is skipped; a BYE is ignored,
/// for only SIP ends a call (and a forged BYE must not).
pub(crate) fn read(mut datagram: &[u8], ssrc: u32) -> Reading {
    let mut reading = Reading::default();
    // Bounded: every turn takes at least four bytes off.
    while let Some((head, rest)) = datagram.split_first_chunk::<4>() {
        if head[0] >> 6 != 2 {
            return reading;
        }
        let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
        let Some((body, after)) = rest.split_at_checked(len) else {
            return reading;
        };
        datagram = after;
        let skipped = match head[1] {
            SENDER_REPORT => {
                reading.sent_at = word(body, 6).map(ShortNtp).or(reading.sent_at);
                24
            }
            RECEIVER_REPORT => 4,
            _ => continue,
        };
        let blocks = body.get(skipped..).unwrap_or_default().chunks_exact(BLOCK);
        let about_us = blocks
            .take(usize::from(head[0] & 0x1f))
            .find(|block| word(block, 0) == Some(ssrc))
            .and_then(AboutUs::read);
        reading.about_us = about_us.or(reading.about_us);
    }
    reading
}

impl AboutUs {
    fn read(block: &[u8]) -> Option<Self> {
        // A signed number of 24 bits behind the fraction of 8.
        let lost = (word(block, 4)? << 8) as i32 >> 8;
        Some(AboutUs {
            lost,
            jitter: word(block, 12)?,
            last_sr: ShortNtp(word(block, 16)?),
            delay: word(block, 20)?,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const ABOUT: AboutPeer = AboutPeer {
        reception: ReceptionReport {
            ssrc: 0xaabb_ccdd,
            fraction: 51,
            lost: 2,
            highest: 70_000,
            jitter: 4,
        },
        last_sr: ShortNtp(0x0102_0304),
        delay: 0x1_8000,
    };
    const NOON: Duration = Duration::from_millis(1_700_000_000_500);

    #[test]
    fn a_sender_report_tells_the_peer_its_loss_and_the_time() {
        let mut out = Vec::new();
        let info = SenderInfo {
            at: NtpTime::of(NOON),
            timestamp: 1,
            packets: 2,
            bytes: 3,
        };
        write_report(&mut out, 7, Some(info), Some(ABOUT));
        assert_eq!(out.len(), 4 + 24 + 24 + 4 + 16);
        assert_eq!(out[..4], [0x81, 200, 0, 12]);
        assert_eq!(out[8..12], 3_908_988_800_u32.to_be_bytes());
        assert_eq!(out[12..16], [0x80, 0, 0, 0], "half a second");
        let reading = read(&out, 0xaabb_ccdd);
        assert_eq!(reading.sent_at, Some(NtpTime::of(NOON).short()));
        let about = reading.about_us.unwrap();
        assert_eq!((about.lost, about.jitter), (2, 4));
        assert_eq!((about.last_sr, about.delay), (ABOUT.last_sr, ABOUT.delay));
        assert_eq!(read(&out, 1).about_us, None);
    }

    #[test]
    fn loss_below_nought_is_read_as_such() {
        let mut about = ABOUT;
        about.reception.lost = 0xff_fffe;
        let mut out = Vec::new();
        write_report(&mut out, 7, None, Some(about));
        assert_eq!(read(&out, 0xaabb_ccdd).about_us.unwrap().lost, -2);
    }

    #[test]
    fn a_receiver_report_without_blocks_is_well_formed() {
        let mut out = Vec::new();
        write_report(&mut out, 0x0102_0304, None, None);
        assert_eq!(out[..8], [0x80, 201, 0, 1, 1, 2, 3, 4]);
        assert_eq!(out.len() % 4, 0);
        assert_eq!(&out[18..26], b"01020304");
        assert_eq!(read(&out, 0), Reading::default());
    }

    #[test]
    fn only_a_whole_report_begins_a_compound_packet() {
        let mut report = Vec::new();
        write_report(&mut report, 7, None, Some(ABOUT));
        assert!(is_compound(&report) && is_rtcp(&report));
        assert!(!is_compound(&report[..20]));
        assert!(!is_compound(&[0x81, SOURCE_DESCRIPTION, 0, 0]));
        // Version 1, and padding before the last packet.
        for first in [0x41, 0xa1] {
            report[0] = first;
            assert!(!is_compound(&report), "{first:x}");
        }
        assert!(!is_compound(&[]) && !is_rtcp(&[]));
        assert!(!is_rtcp(&[0x80, 0x88]), "the marker of a PCMA packet");
    }

    #[test]
    fn a_length_beyond_the_datagram_ends_the_reading_of_it() {
        let mut report = Vec::new();
        write_report(&mut report, 7, None, Some(ABOUT));
        report[2..4].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(read(&report, 0xaabb_ccdd), Reading::default());
        // A count of blocks that are not there.
        assert_eq!(read(&[0x9f, 201, 0, 1, 0, 0, 0, 7], 7), Reading::default());
    }

    #[test]
    fn what_is_not_counted_as_a_block_or_not_of_this_version_is_not_read() {
        let mut report = Vec::new();
        write_report(&mut report, 7, None, Some(ABOUT));
        for first in [0x80, 0x41] {
            report[0] = first;
            assert_eq!(read(&report, 0xaabb_ccdd), Reading::default(), "{first:x}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(datagram in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = read(&datagram, 0);
        }

        #[test]
        fn no_claimed_length_makes_the_reader_panic(count in 0u8..32, kind in 200u8..=204, words in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut datagram = vec![0x80 | count, kind];
            datagram.extend(words.to_be_bytes());
            datagram.extend(body);
            let _ = read(&datagram, 0);
        }
    }
}
