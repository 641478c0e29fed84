//! Packets that never arrive, and streams that begin anew.

use super::*;

fn without(packets: Vec<Sent>, lost: impl Fn(usize) -> bool) -> Vec<Sent> {
    let kept = packets.into_iter().enumerate().filter(|(n, _)| !lost(*n));
    kept.map(|(_, packet)| packet).collect()
}

fn with_fec(encoder: &mut opus::Encoder) {
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(20).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
}

/// How far two recordings of one sound are apart, in dB below the sound.
fn fidelity(sound: &[i16], other: &[i16]) -> f64 {
    let apart: Vec<i16> = sound
        .iter()
        .zip(other)
        .map(|(a, b)| a.saturating_sub(*b))
        .collect();
    dbov(sound) - dbov(&apart)
}

#[test]
fn what_the_next_packet_repeats_is_heard_and_not_made_up() {
    let is_lost = |n: usize| n > 50 && n.is_multiple_of(10);
    let hear = |tune: fn(&mut opus::Encoder)| {
        let packets = opus_stream(&vowel(10.0), tune);
        let repeated = packets.iter().enumerate().filter(|(n, packet)| {
            let repeats = matches!(&packet.payload, Payload::Opus(p) if redundant(p));
            *n > 0 && is_lost(n - 1) && repeats
        });
        let repeated = repeated.count() as u64;
        let mut phone = Phone::hears_opus();
        phone.listen(without(packets, is_lost), 4000, 10 * SECOND);
        (phone.receiver.stats().0, repeated)
    };
    let (stats, repeated) = hear(with_fec);
    println!(
        "{repeated} of {} repeated, {} recovered",
        stats.concealed, stats.recovered
    );
    assert!((40..=46).contains(&stats.concealed), "{}", stats.concealed);
    assert!(repeated > 20, "libopus repeated {repeated}");
    // Before the second loss nothing speaks for leaving time for redundancy.
    assert!(stats.recovered + 2 >= repeated, "{}", stats.recovered);
    let (plain, repeated) = hear(|_| {});
    assert_eq!((plain.recovered, repeated), (0, 0));
}

#[test]
fn of_two_lost_in_a_row_the_first_is_made_up_and_the_second_recovered() {
    let mut phone = Phone::hears_opus();
    // Two single losses first: they make the buffer leave time for redundancy.
    let packets = without(opus_stream(&vowel(10.0), with_fec), |n| {
        [100, 120, 209, 210, 259, 260, 309, 310, 359, 360].contains(&n)
    });
    phone.listen(packets, 4000, 10 * SECOND);
    let stats = phone.receiver.stats().0;
    println!(
        "{} concealed, {} recovered",
        stats.concealed, stats.recovered
    );
    assert_eq!(stats.concealed, 10);
    assert!((5..=6).contains(&stats.recovered), "{}", stats.recovered);
}

#[test]
fn redundancy_is_closer_to_the_sound_than_concealment() {
    // The same sound once whole and once with every fifth packet lost, delays being the same.
    let pcm = voice(10.0);
    let decode = |lossy: bool, fec: bool| {
        let packets = opus_stream(&pcm, with_fec);
        let mut decoder = crate::codec::opus_decoder().unwrap();
        let mut heard = Vec::new();
        for (n, pair) in packets.windows(2).enumerate() {
            let [Payload::Opus(this), Payload::Opus(next)] = [&pair[0].payload, &pair[1].payload]
            else {
                unreachable!("Opus was asked for");
            };
            let mut frame = [0; FRAME];
            let lost = lossy && n % 5 == 4;
            let redundant = redundant(next) && fec;
            let result = match (lost, redundant) {
                (false, _) => decoder.decode(this, &mut frame, false),
                (true, true) => decoder.decode(next, &mut frame, true),
                (true, false) => decoder.decode(&[], &mut frame, false),
            };
            result.unwrap();
            heard.extend(frame);
        }
        heard
    };
    let whole = decode(false, false);
    let (recovered, concealed) = (decode(true, true), decode(true, false));
    let gain = fidelity(&whole, &recovered) - fidelity(&whole, &concealed);
    println!("{gain:.1} dB");
    assert!(gain > 3.0, "{gain} dB");
}

fn redundant(packet: &[u8]) -> bool {
    super::paced::redundancy_in(packet) == Some(FRAME)
}

#[test]
fn lost_g711_goes_on_in_its_pitch_without_a_click() {
    let mut phone = Phone::hears_law();
    let packets = without(law_stream(&tone(440.0, 10.0)), |n| {
        n > 50 && n.is_multiple_of(20)
    });
    phone.listen(packets, 4000, 10 * SECOND);
    let heard = phone.between(2.0, 9.5);
    let click = largest_click(440.0, heard);
    assert!(click < 900.0, "{click}");
    let level = dbov(heard) - dbov(&tone(440.0, 1.0));
    assert!(level > -0.5, "{level} dB");
    assert!((20..=24).contains(&phone.receiver.stats.concealed));
}

#[test]
fn a_long_loss_fades_into_the_background() {
    let mut phone = Phone::hears_law();
    let pcm = voice(10.0);
    phone.listen(law_stream(&pcm[..3 * 8000 + 800]), 4000, 6 * SECOND);
    let background = phone.between(4.0, 6.0);
    let level = dbov(background);
    println!("{level:.1} dBov");
    // The voice's own background has -65 dBov.
    assert!((-70.0..-58.0).contains(&level), "{level} dBov");
    assert!(phone.delays.len() == 300);
}

#[test]
fn a_blackout_of_3_s_is_over_when_it_is_over() {
    for (stream, mut phone) in [
        (law_stream(&voice(12.0)), Phone::hears_law()),
        (opus_stream(&voice(12.0), with_fec), Phone::hears_opus()),
    ] {
        let packets = without(stream, |n| (200..350).contains(&n));
        phone.listen(packets, 4000, 12 * SECOND);
        let stats = phone.receiver.stats().0;
        assert!(
            (145..=155).contains(&stats.concealed),
            "{}",
            stats.concealed
        );
        assert_eq!(phone.receiver.drops.late, 0);
        assert!(phone.mean_delay(8.0, 10.0) < 40.0);
        let apart = dbov(phone.between(8.0, 11.5)) - dbov(phone.between(1.0, 3.5));
        assert!(apart.abs() < 3.0, "{apart} dB");
    }
}

#[test]
fn another_source_is_heard_at_once() {
    let mut phone = Phone::hears_law();
    let mut packets = law_stream(&tone(440.0, 6.0));
    for packet in &mut packets[150..] {
        packet.stamp.ssrc = 99;
        packet.stamp.sequence = packet.stamp.sequence.wrapping_mul(3);
        packet.stamp.timestamp = packet.stamp.timestamp.wrapping_add(123_456_789);
    }
    for (n, packet) in packets.iter_mut().enumerate().skip(150) {
        packet.stamp.sequence = 11 + n as u16;
    }
    phone.listen(packets, 4000, 6 * SECOND);
    assert_eq!(phone.receiver.drops.late, 0);
    let dead = (140..170).filter(|n| phone.frame(*n).iter().all(|s| *s == 0));
    assert_eq!(dead.count(), 0, "the line is never dead");
    let level = dbov(phone.between(3.2, 5.5)) - dbov(phone.between(1.0, 2.5));
    assert!(level.abs() < 0.5, "{level} dB");
}

#[test]
fn jumps_in_time_and_in_number_are_survived() {
    for (sequence, timestamp) in [(32_768, 0), (0, 3_000_000), (20_000, 0xffff_0000), (0, 800)] {
        let mut phone = Phone::hears_law();
        let mut packets = law_stream(&tone(440.0, 8.0));
        for packet in &mut packets[200..] {
            packet.stamp.sequence = packet.stamp.sequence.wrapping_add(sequence);
            packet.stamp.timestamp = packet.stamp.timestamp.wrapping_add(timestamp);
        }
        phone.listen(packets, 4000, 8 * SECOND);
        let (stats, drops) = phone.receiver.stats();
        assert!(
            drops.late <= 6,
            "{sequence} {timestamp}: {} late",
            drops.late
        );
        assert!(
            stats.concealed <= 10,
            "{sequence} {timestamp}: {}",
            stats.concealed
        );
        let level = dbov(phone.between(4.5, 7.5)) - dbov(phone.between(1.0, 3.5));
        assert!(level.abs() < 0.5, "{sequence} {timestamp}: {level} dB");
        let delay = phone.mean_delay(7.0, 7.8);
        assert!(delay < 40.0, "{sequence} {timestamp}: {delay} ms");
    }
}

#[test]
fn g711_of_any_ptime_comes_out_whole() {
    for ms in [10, 20, 30, 40, 60, 120] {
        let samples = ms * 8;
        let pcm = tone(440.0, 12.0);
        let mut phone = Phone::hears_law();
        let packets = pcm
            .chunks_exact(samples)
            .enumerate()
            .map(|(n, chunk)| Sent {
                arrives: ((n + 1) * ms) as u64 * 1000,
                stamp: Stamp {
                    ssrc: 1,
                    sequence: n as u16,
                    timestamp: (n * samples) as u32,
                    marker: false,
                },
                payload: Payload::Law(chunk.iter().map(|s| Law::A.encoder()(*s)).collect()),
            });
        phone.listen(packets.collect::<Vec<_>>(), 4000, 11 * SECOND);
        let (stats, drops) = phone.receiver.stats();
        assert_eq!((drops.late, drops.malformed), (0, 0), "{ms} ms");
        // The first packets may come too late for a stream that only just began.
        assert!(stats.concealed <= 6, "{ms} ms: {}", stats.concealed);
        let click = largest_click(440.0, phone.between(3.0, 10.5));
        assert!(click < 900.0, "{ms} ms: {click}");
        let delay = phone.mean_delay(5.0, 10.5);
        println!("{ms} ms: {delay:.1} ms, {} changes", stats.stretched);
        assert!(delay < ms as f64 + 30.0, "{ms} ms: {delay}");
    }
}

#[test]
fn redundancy_is_waited_for_though_packets_were_played_as_soon_as_they_came() {
    // At this phase a packet waits 7 ms: at the turn of a lost one, the one after it is 13 ms away.
    let mut phone = Phone::hears_opus();
    let packets = opus_stream(&voice(20.0), with_fec);
    let lost = |n: usize| n > 200 && n % 20 == 3;
    let repeated = packets.iter().enumerate().filter(|(n, packet)| {
        *n > 0 && lost(n - 1) && matches!(&packet.payload, Payload::Opus(p) if redundant(p))
    });
    let repeated = repeated.count() as u64;
    phone.listen(without(packets, lost), 7000, 20 * SECOND);
    let recovered = phone.receiver.stats.recovered;
    println!("{recovered} of {repeated}");
    assert!(recovered + 4 >= repeated, "{recovered} of {repeated}");
}
