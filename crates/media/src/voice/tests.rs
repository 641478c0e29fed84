//! Packets towards a browser: their numbers, their times, and which of them carry redundancy.

use super::*;
use crate::virtual_time::origin;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(20);

fn voice(dtx: bool) -> Voice {
    let settings = OpusSettings {
        dtx,
        ..OpusSettings::default()
    };
    Voice::new(&settings, 0, 1000).unwrap()
}

fn frame(pcm: Frame, at: i64, lost_before: u16) -> DirectFrame {
    DirectFrame {
        pcm,
        at,
        lost_before,
    }
}

/// Loud enough to be talk.
fn talk(n: usize) -> Frame {
    std::array::from_fn(|sample| {
        let angle = (n * FRAME + sample) as f64 * 0.7;
        (angle.sin() * 8000.0) as i16
    })
}

/// Sequence number, timestamp, marker and length.
type Stamp = (u64, u32, bool, usize);

fn stamp(packet: &VoicePacket<'_>) -> Stamp {
    (
        packet.sequence,
        packet.timestamp,
        packet.marker,
        packet.payload.len(),
    )
}

fn stamps(frames: &[(u32, i64, u16)]) -> Vec<(u64, u32, bool)> {
    let start = origin();
    let mut voice = voice(false);
    let mut stamps = Vec::new();
    for (tick, at, lost) in frames {
        let frame = frame([0; FRAME], *at, *lost);
        let send = |packet: VoicePacket<'_>| {
            stamps.push((packet.sequence, packet.timestamp, packet.marker));
        };
        voice.take(start + TICK * *tick, &frame, send).unwrap();
    }
    stamps
}

#[test]
fn a_source_that_is_new_and_behind_its_own_beginning_is_no_overflow() {
    let mut voice = voice(false);
    let now = origin();
    voice.take(now, &frame([0; FRAME], 0, 0), |_| {}).unwrap();
    voice.forget_source();
    let behind = frame([0; FRAME], -160, 0);
    assert!(voice.take(now + TICK, &behind, |_| {}).is_ok());
}

#[test]
fn a_steady_source_steps_by_one_packet_and_960_ticks() {
    let stamps = stamps(&[(0, 50, 0), (1, 210, 0), (2, 370, 0)]);
    assert_eq!(
        stamps,
        [(1, 1960, true), (2, 2920, false), (3, 3880, false)]
    );
}

#[test]
fn a_lost_packet_stays_a_gap_in_sequence_and_time() {
    let stamps = stamps(&[(0, 0, 0), (2, 320, 1)]);
    assert_eq!(stamps[1], (3, 1960 + 1920, false));
}

#[test]
fn a_silence_of_the_sender_is_a_gap_in_time_only() {
    let stamps = stamps(&[(0, 0, 0), (10, 1600, 0)]);
    assert_eq!(stamps[1], (2, 1960 + 9600, true));
}

#[test]
fn a_jump_of_the_source_does_not_reach_the_browser() {
    let stamps = stamps(&[(0, 0, 0), (1, 9_000_000, 0), (2, 9_000_160, 0), (3, 5, 0)]);
    let times: Vec<_> = stamps.iter().map(|stamp| stamp.1).collect();
    assert_eq!(times, [1960, 2920, 3880, 4840]);
}

/// What goes out for frames that talk or do not, the frame's number beside each packet.
fn spoken(frames: &[(bool, u16)]) -> Vec<(usize, Stamp)> {
    let start = origin();
    let mut voice = voice(true);
    let mut out = Vec::new();
    for (n, (talks, lost)) in frames.iter().enumerate() {
        let pcm = if *talks { talk(n) } else { [0; FRAME] };
        let frame = frame(pcm, (n * FRAME) as i64, *lost);
        let send = |packet: VoicePacket<'_>| out.push((n, stamp(&packet)));
        voice.take(start + TICK * n as u32, &frame, send).unwrap();
    }
    out
}

#[test]
fn a_silent_phone_costs_two_packets_in_420_ms_and_no_gap_in_the_sequence() {
    let mut frames = [(true, 0); 200];
    frames[50..150].fill((false, 0));
    let out = spoken(&frames);
    let numbers: Vec<u64> = out.iter().map(|(_, stamp)| stamp.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let told: Vec<usize> = out.iter().filter(|o| o.1.3 == 1).map(|o| o.0).collect();
    assert_eq!(told, [62, 83, 104, 125, 146]);
    let silent = out.iter().filter(|(n, _)| (62..150).contains(n)).count();
    assert_eq!(silent, 5 + 4);
    for (n, stamp) in &out[..60] {
        assert_eq!(stamp.1, 1960 + 960 * *n as u32);
    }
}

#[test]
fn a_spurt_begins_with_the_frame_before_and_a_marker() {
    let mut frames = [(true, 0); 200];
    frames[50..150].fill((false, 0));
    let out = spoken(&frames);
    let onset: Vec<_> = out.iter().filter(|o| o.0 == 150).map(|o| o.1).collect();
    assert_eq!(onset.len(), 2);
    assert_eq!(onset[0].1, 1960 + 960 * 149);
    assert_eq!(onset[1].1, 1960 + 960 * 150);
    let marked: Vec<usize> = out.iter().filter(|o| o.1.2).map(|o| o.0).collect();
    assert_eq!(marked, [0, 150]);
}

#[test]
fn loss_in_a_silence_leaves_no_gap() {
    let mut frames = [(true, 0); 120];
    frames[50..100].fill((false, 0));
    frames[80].1 = 1;
    frames[100].1 = 1;
    let numbers: Vec<u64> = spoken(&frames).iter().map(|o| o.1.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    // What was skipped last was not just before the onset.
    assert_eq!(spoken(&frames).iter().filter(|o| o.0 == 100).count(), 1);
}

/// Keys and what passes straight through are sent too: no gaps of ours, which reports would be forgiven.
#[test]
fn every_kind_of_packet_counts_as_sent() {
    let mut voice = voice(false);
    let now = origin();
    voice.take(now, &frame(talk(0), 0, 0), |_| {}).unwrap();
    for _ in 0..3 {
        voice.next_sequence();
    }
    for _ in 0..3 {
        let Standing {
            sequence,
            timestamp,
        } = voice.standing(now, Codec::Opus);
        let placed = Placed {
            sequence,
            timestamp,
            marker: false,
            newest: true,
        };
        voice.passed(now, Codec::Opus, placed);
    }
    let report = Reception {
        highest: 7,
        lost: 6,
    };
    voice.report(report).unwrap();
    assert_eq!(voice.lost(), 6);
}

/// A receiver that missed the beginning could not tell the turn (RFC 3711 section 3.3.1).
#[test]
fn the_first_number_is_in_the_first_half_of_its_turn() {
    let voice = Voice::new(&OpusSettings::default(), u16::MAX, 0).unwrap();
    assert!(voice.standing(origin(), Codec::Opus).sequence <= 0x8000);
}

/// Whether the packets of ten frames carry redundancy: libopus sets a bit for it in the SILK header.
fn has_fec(voice: &mut Voice, from: usize) -> bool {
    let start = origin();
    let mut flagged = 0;
    for n in from..from + 10 {
        let frame = frame(talk(n), (n * FRAME) as i64, 0);
        let send = |packet: VoicePacket<'_>| {
            // RFC 6716 section 4.2.3: the VAD bit, then the LBRR bit of the one frame.
            flagged += usize::from(packet.payload[1] & 0x40 != 0);
        };
        voice.take(start + TICK * n as u32, &frame, send).unwrap();
    }
    flagged >= 8
}

/// At a low complexity libopus takes some persuading.
#[test]
fn light_loss_turns_redundancy_on_at_every_complexity() {
    for complexity in 0..=10 {
        let settings = OpusSettings {
            complexity,
            dtx: false,
            ..OpusSettings::default()
        };
        let mut voice = Voice::new(&settings, 0, 1000).unwrap();
        let _ = has_fec(&mut voice, 0);
        let highest = 10;
        voice.report(Reception { highest, lost: 1 }).unwrap();
        assert!(has_fec(&mut voice, 10), "at complexity {complexity}");
    }
}

#[test]
fn reported_loss_turns_redundancy_on_and_reports_of_our_own_gaps_do_not() {
    let mut voice = voice(false);
    assert!(!has_fec(&mut voice, 0));
    voice
        .report(Reception {
            highest: 10,
            lost: 2,
        })
        .unwrap();
    assert!(has_fec(&mut voice, 10));
    assert_eq!(voice.lost(), 2);
}

#[test]
fn redundancy_takes_nothing_from_the_sound_and_what_it_is_given_is_taken_back() {
    let mut voice = voice(false);
    let bitrate = |voice: &mut Voice| match voice.encoder.get_bitrate() {
        Ok(opus::Bitrate::Bits(bits)) => bits,
        other => panic!("{other:?}"),
    };
    assert_eq!(bitrate(&mut voice), 24_000);
    assert!(!has_fec(&mut voice, 0));
    let report = |highest, lost| Reception { highest, lost };
    voice.report(report(10, 2)).unwrap();
    assert_eq!(bitrate(&mut voice), 32_000);
    let _ = has_fec(&mut voice, 10);
    for n in 2..40 {
        let _ = has_fec(&mut voice, n * 10);
        voice.report(report(10 + n as u64 * 10, 2)).unwrap();
    }
    assert_eq!(bitrate(&mut voice), 24_000);
}

#[test]
fn complexity_may_change_while_the_encoder_runs() {
    let mut voice = voice(false);
    assert!(!has_fec(&mut voice, 0));
    for complexity in [0, 10, 255] {
        voice.set_encoder_complexity(complexity).unwrap();
    }
    assert_eq!(voice.encoder.get_complexity().unwrap(), 10);
}
