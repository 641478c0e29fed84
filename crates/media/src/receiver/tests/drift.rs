//! Clocks that do not agree.

use super::*;

/// An hour with a sender whose clock is `ppm` parts in a million too fast.
fn an_hour_of_drift(ppm: i64) {
    const HERTZ: f64 = 440.0;
    // A cycle of the tone takes 200 samples: 400 of its frames are as good as an hour of them.
    let pcm = tone(HERTZ, 8.0);
    let coded: Vec<Vec<u8>> = law_stream(&pcm)
        .into_iter()
        .map(|packet| match packet.payload {
            Payload::Law(payload) => payload,
            _ => unreachable!("G.711 was asked for"),
        })
        .collect();
    let mut phone = Phone::hears_law();
    let mut next = 0u64;
    let arrives = |n: u64| n * FRAME_US * 1_000_000 / (1_000_000 + ppm) as u64;
    let mut largest = 0.0f64;
    for second in 0..3600 {
        let end = (second + 1) * SECOND;
        let mut packets = Vec::new();
        while arrives(next) < end {
            packets.push(Sent {
                arrives: arrives(next),
                stamp: Stamp {
                    ssrc: 1,
                    sequence: next as u16,
                    timestamp: (next * 160) as u32,
                    marker: false,
                },
                payload: Payload::Law(coded[next as usize % coded.len()].clone()),
            });
            next += 1;
        }
        let kept = phone
            .heard
            .split_off(phone.heard.len().saturating_sub(FRAME));
        phone.heard = kept;
        phone.listen(packets, second * SECOND + 7000, end);
        if second > 0 {
            largest = largest.max(largest_click(HERTZ, &phone.heard));
        }
    }
    let stats = phone.receiver.stats().0;
    let drops = phone.receiver.stats().1;
    let late = drops.late;
    let longest = phone.delays[100..].iter().max().unwrap();
    println!(
        "{ppm} ppm: {} changes, longest delay {longest:?}, mean {:.1} ms, concealed {}, late {late}, click {largest:.0}",
        stats.stretched,
        phone.mean_delay(2.0, 3599.0),
        stats.concealed
    );
    // 200 ppm are 720 ms in an hour, a change is 2.5 to 15 ms long.
    assert!((48..=300).contains(&stats.stretched), "{}", stats.stretched);
    assert_eq!((stats.concealed, late), (0, 0));
    assert!(*longest < Duration::from_millis(45), "{longest:?}");
    assert!(largest < 600.0, "a click of {largest}");
}

#[test]
fn an_hour_with_a_clock_200_ppm_too_fast_is_heard_without_a_click() {
    an_hour_of_drift(200);
}

#[test]
fn an_hour_with_a_clock_200_ppm_too_slow_is_heard_without_a_click() {
    an_hour_of_drift(-200);
}

#[test]
fn clocks_that_agree_are_left_alone() {
    let mut phone = Phone::hears_law();
    phone.listen(law_stream(&voice(60.0)), 3000, 60 * SECOND);
    let stats = phone.receiver.stats().0;
    assert!(stats.stretched <= 4, "{}", stats.stretched);
}
