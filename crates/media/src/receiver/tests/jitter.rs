//! Packets that arrive unevenly, in another order, or twice.

use super::*;

/// Delays each packet by `delay(n)` ms, or loses it.
fn weather(packets: Vec<Sent>, mut delay: impl FnMut(usize) -> Option<u32>) -> Vec<Sent> {
    let delayed = |(n, packet): (usize, Sent)| {
        delay(n).map(|ms| Sent {
            arrives: packet.arrives + 1000 * u64::from(ms),
            ..packet
        })
    };
    packets
        .into_iter()
        .enumerate()
        .filter_map(delayed)
        .collect()
}

#[test]
fn on_a_clean_link_the_buffer_adds_at_most_30_ms() {
    for phase in (0..20_000).step_by(2000) {
        let mut phone = Phone::hears_opus();
        phone.listen(opus_stream(&voice(6.0), |_| {}), phase, 6 * SECOND);
        let delay = phone.mean_delay(2.0, 6.0);
        println!(
            "phase {phase} µs: {delay:.1} ms, {} changes",
            phone.receiver.stats.stretched
        );
        assert!(delay <= 30.0, "{delay} ms at phase {phase}");
        assert_eq!(phone.receiver.stats().0.concealed, 0);
    }
}

#[test]
fn under_jitter_late_packets_are_rare_and_the_delay_is_modest() {
    for (jitter, limit) in [(30, 60.0), (100, 125.0)] {
        let mut random = Random(1);
        let mut phone = Phone::hears_opus();
        let packets = weather(opus_stream(&voice(60.0), |_| {}), |_| {
            Some(random.below(jitter))
        });
        phone.listen(packets, 11_000, 60 * SECOND);
        let (stats, drops) = phone.receiver.stats();
        let delay = phone.mean_delay(2.0, 60.0);
        println!(
            "{jitter} ms: delay {delay:.1} ms, concealed {}, late {}, {} changes",
            stats.concealed, drops.late, stats.stretched
        );
        assert!(stats.concealed < 30, "{} of 3000", stats.concealed);
        assert!(drops.late < 30, "{} of 3000", drops.late);
        assert!(delay < limit, "{delay} ms");
    }
}

#[test]
fn a_rise_of_jitter_is_followed_within_a_second_and_forgotten_within_ten() {
    let mut random = Random(3);
    let mut phone = Phone::hears_opus();
    let packets = weather(opus_stream(&voice(30.0), |_| {}), |n| {
        Some(if (500..1000).contains(&n) {
            random.below(80)
        } else {
            0
        })
    });
    let (before, after): (Vec<_>, Vec<_>) =
        packets.into_iter().partition(|p| p.arrives < 11 * SECOND);
    phone.listen(before, 4000, 11 * SECOND);
    let within_a_second = phone.receiver.stats.concealed;
    phone.listen(after, 11 * SECOND + 4000, 30 * SECOND);
    let later = phone.receiver.stats.concealed - within_a_second;
    println!("{within_a_second} in the first second, {later} in the nine after it");
    assert!(within_a_second <= 8, "{within_a_second}");
    assert!(later <= 6, "{later}");
    assert!(phone.mean_delay(12.0, 20.0) > 60.0);
    let calm = phone.mean_delay(28.0, 30.0);
    assert!(calm <= 30.0, "{calm} ms");
}

#[test]
fn a_single_spike_does_not_become_a_lasting_delay() {
    let mut phone = Phone::hears_opus();
    let stall = |n: usize| {
        if (500..508).contains(&n) {
            (508 - n as u32) * 20
        } else {
            0
        }
    };
    let packets = weather(opus_stream(&voice(20.0), |_| {}), |n| Some(stall(n)));
    phone.listen(packets, 4000, 20 * SECOND);
    let calm = phone.mean_delay(17.0, 20.0);
    assert!(calm <= 30.0, "{calm} ms");
    assert!(
        phone.receiver.stats.concealed <= 9,
        "{}",
        phone.receiver.stats.concealed
    );
    assert_eq!(phone.receiver.drops.late, 0);
}

#[test]
fn reordering_and_duplicates_are_not_heard() {
    let mut random = Random(9);
    let mut phone = Phone::hears_law();
    let clean = law_stream(&tone(440.0, 20.0));
    let mut packets = weather(clean, |_| Some(if random.below(20) == 0 { 25 } else { 0 }));
    let doubled: Vec<Sent> = packets.iter().step_by(3).cloned().collect();
    packets.extend(doubled.into_iter().map(|packet| Sent {
        arrives: packet.arrives + 31_000,
        ..packet
    }));
    phone.listen(packets, 4000, 20 * SECOND);
    let (stats, drops) = phone.receiver.stats();
    assert!(stats.concealed <= 2, "{}", stats.concealed);
    assert!(drops.late <= 2, "{}", drops.late);
    let click = largest_click(440.0, phone.between(2.0, 19.5));
    assert!(click < 900.0, "{click}");
}

#[test]
fn a_burst_after_a_stall_is_heard_whole() {
    let mut phone = Phone::hears_law();
    let stall = |n: usize| {
        if (200..210).contains(&n) {
            (210 - n as u32) * 20
        } else {
            0
        }
    };
    let packets = weather(law_stream(&voice(10.0)), |n| Some(stall(n)));
    phone.listen(packets, 4000, 11 * SECOND);
    assert_eq!(phone.receiver.drops.late, 0);
    let calm = phone.mean_delay(9.9, 10.0);
    assert!(calm < 60.0, "{calm} ms");
}

#[test]
fn stalls_that_recur_are_covered_and_forgotten_when_they_cease() {
    let mut phone = Phone::hears_law();
    let stall = |n: usize| match n % 400 {
        late @ 100..110 if n < 3200 => (110 - late as u32) * 20,
        _ => 0,
    };
    let packets = weather(law_stream(&voice(110.0)), |n| Some(stall(n)));
    let (before, after): (Vec<_>, Vec<_>) = packets
        .into_iter()
        .partition(|packet| packet.arrives < 17 * SECOND);
    phone.listen(before, 4000, 17 * SECOND);
    let at_first = phone.receiver.stats.concealed;
    phone.listen(after, 17 * SECOND + 4000, 110 * SECOND);
    let later = phone.receiver.stats.concealed - at_first;
    println!("{at_first} for the first two stalls, {later} for the six after them");
    assert!((15..=22).contains(&at_first), "{at_first}");
    assert!(later <= 12, "{later}");
    let calm = phone.mean_delay(100.0, 110.0);
    assert!(calm <= 30.0, "{calm} ms");
}
