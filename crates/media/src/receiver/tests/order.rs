//! Packets from a phone that overtake one another, on their way to a browser.

use super::*;

const MS: Duration = Duration::from_millis(1);
const FIRST: u16 = 65_533;

/// A browser that hears what a receiver has.
struct Browser {
    start: Instant,
    receiver: Receiver,
    /// The number in each frame heard, with the frames lost before it and when it came, ms.
    heard: Vec<(i64, u16, u32)>,
}

impl Browser {
    fn new() -> Self {
        let mut receiver = Receiver::new(JitterSettings::default());
        receiver.feed_directly();
        Browser {
            start: origin(),
            receiver,
            heard: Vec::new(),
        }
    }

    /// Lets packet `n`, which was sent at 20 `n` ms, arrive at `ms`; before that, what is due.
    fn arrives(&mut self, n: u16, ms: u32) {
        self.pass_to(ms);
        let payload = [n as u8; FRAME];
        let coded = Coded::Plain(Codec::Pcma, &payload);
        let now = self.start + ms * MS;
        self.receiver.receive_audio(now, stamp(n), coded);
        self.hear(ms);
    }

    /// A key in the place of packet `n`.
    fn key(&mut self, n: u16, ms: u32) {
        let now = self.start + ms * MS;
        let press = [1, 0x0a, 0, 160];
        self.receiver.receive_event(now, stamp(n), &press, 8000);
        self.hear(ms);
    }

    fn pass_to(&mut self, ms: u32) {
        while let Some(due) = self.receiver.due() {
            let at = due.duration_since(self.start).as_millis() as u32;
            if at > ms {
                return;
            }
            self.receiver.give_up(due);
            self.hear(at);
        }
    }

    fn hear(&mut self, ms: u32) {
        while let Some(frame) = self.receiver.next_direct() {
            let n = frame.at / FRAME as i64;
            let mut sent = [0; FRAME];
            Law::A.decode(&[n as u8; FRAME], &mut sent);
            assert_eq!(frame.pcm, sent);
            self.heard.push((n, frame.lost_before, ms));
        }
    }

    fn late(&self) -> u64 {
        self.receiver.drops.late
    }
}

fn stamp(n: u16) -> Stamp {
    Stamp {
        ssrc: 1,
        sequence: FIRST.wrapping_add(n),
        timestamp: u32::from(n) * FRAME as u32,
        marker: false,
    }
}

#[test]
fn packets_in_order_are_heard_at_once() {
    let mut browser = Browser::new();
    for n in 0..6 {
        browser.arrives(n, 20 * u32::from(n));
        assert_eq!(browser.receiver.due(), None);
    }
    let expected: Vec<_> = (0..6).map(|n| (n, 0, 20 * n as u32)).collect();
    assert_eq!(browser.heard, expected);
}

#[test]
fn a_packet_that_was_overtaken_is_waited_for_and_nothing_is_lost() {
    let mut browser = Browser::new();
    for (n, ms) in [(0, 0), (2, 40), (3, 60), (1, 61), (4, 80)] {
        browser.arrives(n, ms);
    }
    let expected = [(0, 0, 0), (1, 0, 61), (2, 0, 61), (3, 0, 61), (4, 0, 80)];
    assert_eq!(browser.heard, expected);
    assert_eq!(browser.late(), 0);
}

#[test]
fn a_lost_packet_delays_the_next_by_40_ms_and_stays_a_gap() {
    let mut browser = Browser::new();
    for n in [0, 2, 3, 4, 5] {
        browser.arrives(n, 20 * u32::from(n));
    }
    let expected = [(0, 0, 0), (2, 1, 80), (3, 0, 80), (4, 0, 80), (5, 0, 100)];
    assert_eq!(browser.heard, expected);
}

#[test]
fn two_gaps_are_waited_for_one_after_the_other() {
    let mut browser = Browser::new();
    for (n, ms) in [(0, 0), (2, 40), (4, 70)] {
        browser.arrives(n, ms);
    }
    browser.pass_to(1000);
    assert_eq!(browser.heard, [(0, 0, 0), (2, 1, 80), (4, 1, 110)]);
}

#[test]
fn where_packets_are_lost_and_never_late_waiting_shrinks_to_20_ms() {
    let mut browser = Browser::new();
    for n in (0..200).filter(|n| n % 10 != 5) {
        browser.arrives(n, 20 * u32::from(n));
    }
    let last = browser.heard.iter().rev().find(|frame| frame.1 > 0);
    let (n, lost, at) = *last.unwrap();
    assert_eq!((n, lost), (196, 1));
    assert_eq!(at, 20 * 196 + 20);
}

#[test]
fn where_packets_are_late_they_are_waited_for_as_long_as_they_take() {
    let mut browser = Browser::new();
    let mut arrivals: Vec<(u32, u16)> = (0..100)
        .map(|n| {
            let late = if n % 10 == 5 { 95 } else { 0 };
            (20 * u32::from(n) + late, n)
        })
        .collect();
    arrivals.sort_unstable();
    for (ms, n) in arrivals {
        browser.arrives(n, ms);
    }
    assert_eq!(
        browser.late(),
        1,
        "the first is given up: nobody could know"
    );
    let lost: u16 = browser.heard.iter().map(|frame| frame.1).sum();
    assert_eq!(lost, 1);
    assert_eq!(browser.heard.len(), 99);
}

#[test]
fn nobody_waits_longer_than_120_ms() {
    // Late by this much, then the next gap is waited for so long: 10 ms more than was seen, and no more than helps.
    for (late, waits) in [(105, 115), (110, 120), (111, 40), (350, 40)] {
        let mut browser = Browser::new();
        let in_time = (0..20).filter(|n| *n != 1).map(|n| (20 * u32::from(n), n));
        let mut packets: Vec<_> = in_time.chain([(40 + late, 1), (400, 20)]).collect();
        packets.sort_unstable();
        for (ms, n) in packets {
            browser.arrives(n, ms);
        }
        browser.arrives(22, 440);
        browser.pass_to(1000);
        assert_eq!(browser.heard.last(), Some(&(22, 1, 440 + waits)));
    }
}

#[test]
fn one_that_came_just_in_time_makes_the_next_be_waited_for_a_little_longer() {
    let mut browser = Browser::new();
    for (n, ms) in [(0, 0), (2, 40), (1, 78), (4, 100)] {
        browser.arrives(n, ms);
    }
    browser.pass_to(1000);
    assert_eq!(browser.heard.last(), Some(&(4, 1, 148)));
}

#[test]
fn a_gap_of_more_than_a_second_is_not_reproduced() {
    let mut browser = Browser::new();
    browser.arrives(0, 0);
    browser.arrives(80, 1600);
    browser.pass_to(2000);
    assert_eq!(browser.heard, [(0, 0, 0), (80, 0, 1640)]);
}

#[test]
fn packets_that_come_twice_do_not_make_anyone_wait_longer() {
    let mut browser = Browser::new();
    for n in [0, 2, 3, 4, 5] {
        browser.arrives(n, 20 * u32::from(n));
        browser.arrives(n, 20 * u32::from(n) + 1);
    }
    browser.arrives(5, 400);
    browser.arrives(0, 401);
    assert_eq!(browser.late(), 7);
    let before = browser.heard.len();
    browser.arrives(7, 420);
    browser.pass_to(1000);
    assert_eq!(browser.heard[before..], [(7, 1, 460)]);
}

#[test]
fn no_more_than_seven_are_kept_waiting() {
    let mut browser = Browser::new();
    browser.arrives(0, 0);
    for n in 2..20 {
        browser.arrives(n, 1);
    }
    let numbers: Vec<_> = browser.heard.iter().map(|frame| frame.0).collect();
    assert_eq!(numbers, [vec![0], (2..20).collect()].concat());
    assert_eq!(browser.heard[1], (2, 1, 1));
}

#[test]
fn a_key_between_packets_is_no_gap_even_if_it_comes_early() {
    let mut browser = Browser::new();
    browser.arrives(0, 0);
    browser.key(2, 40);
    assert!(browser.receiver.due().is_some());
    browser.arrives(1, 50);
    assert_eq!(browser.receiver.due(), None);
    browser.arrives(3, 60);
    assert_eq!(browser.heard, [(0, 0, 0), (1, 0, 50), (3, 0, 60)]);
}

#[test]
fn a_packet_that_cannot_be_decoded_is_not_waited_for() {
    let mut browser = Browser::new();
    browser.arrives(0, 0);
    let empty = Coded::Plain(Codec::Pcma, &[]);
    let now = browser.start + 20 * MS;
    browser.receiver.receive_audio(now, stamp(1), empty);
    browser.arrives(2, 40);
    assert_eq!(browser.heard, [(0, 0, 0), (2, 1, 40)]);
}

/// libopus would take it for a lost one and make up some sound.
#[test]
fn an_opus_packet_without_anything_is_no_sound() {
    let mut browser = Browser::new();
    let empty: std::sync::Arc<[u8]> = [].into();
    for n in 0..10 {
        let now = browser.start + 20 * u32::from(n) * MS;
        let coded = Coded::Opus(&empty);
        browser.receiver.receive_audio(now, stamp(n), coded);
    }
    assert_eq!(browser.receiver.next_direct(), None);
    assert_eq!(browser.receiver.drops.undecodable, 10);
}

#[test]
fn a_sender_that_counts_anew_is_heard_at_once() {
    let mut browser = Browser::new();
    browser.arrives(300, 0);
    browser.arrives(302, 10);
    browser.arrives(7, 20);
    browser.arrives(8, 40);
    let numbers: Vec<_> = browser.heard.iter().map(|frame| frame.0).collect();
    assert_eq!(numbers, [300, 7, 8]);
}

#[test]
fn a_packet_that_comes_later_than_anybody_waits_teaches_nothing() {
    let mut browser = Browser::new();
    for n in [0, 2, 3, 4, 5] {
        browser.arrives(n, 20 * u32::from(n));
    }
    browser.arrives(1, 300);
    browser.arrives(7, 320);
    browser.pass_to(1000);
    assert_eq!(browser.heard.last(), Some(&(7, 1, 360)));
}

#[test]
fn a_sender_that_leaps_is_heard_within_40_ms() {
    for (to, latest) in [(20_000, 40), (32_768, 40), (40_000, 0)] {
        let mut browser = Browser::new();
        browser.arrives(100, 0);
        browser.arrives(101, 20);
        browser.arrives(to, 40);
        browser.arrives(to.wrapping_add(1), 60);
        browser.pass_to(1000);
        let after = &browser.heard[2..];
        assert_eq!(after.len(), 2, "{to}: {after:?}");
        assert!(
            after.iter().all(|frame| frame.2 <= 60 + latest),
            "{to}: {after:?}"
        );
    }
}

#[test]
fn what_has_no_sound_is_neither_waited_for_nor_lost() {
    let mut browser = Browser::new();
    let after = |ms| origin() + ms * MS;
    browser.arrives(0, 0);
    // A telephone-event cut short, an unknown payload type.
    browser
        .receiver
        .receive_event(after(20), stamp(1), &[1, 2], 8000);
    browser.receiver.receive_unknown(after(40), stamp(2));
    browser.arrives(3, 60);
    assert_eq!(browser.heard, [(0, 0, 0), (3, 0, 60)]);
    assert_eq!(browser.receiver.stats().0.lost, 0);
}

#[test]
fn the_keys_of_another_source_do_not_move_the_stream() {
    let mut browser = Browser::new();
    browser.arrives(0, 0);
    let elsewhere = Stamp {
        ssrc: 2,
        ..stamp(30)
    };
    let now = browser.start + 20 * MS;
    browser
        .receiver
        .receive_event(now, elsewhere, &[1, 0x0a, 0, 160], 8000);
    for n in 1..5 {
        browser.arrives(n, 20 * u32::from(n) + 100);
    }
    assert_eq!(browser.heard.len(), 5);
    assert_eq!(browser.late(), 0);
}
