//! Digits heard and sent.

use std::time::Instant;

use super::*;
use crate::virtual_time::origin;
use proptest::prelude::*;

const NARROW: EventClock = EventClock {
    event: 8000,
    audio: 8000,
};
const WIDE: EventClock = EventClock {
    event: 48_000,
    audio: 48_000,
};

fn event(event: u8, end: bool, duration: u16) -> TelephoneEvent {
    TelephoneEvent {
        event,
        end,
        volume: 10,
        duration,
    }
}

fn presses(
    receiver: &mut DigitReceiver,
    packets: &[(u32, TelephoneEvent)],
    clock: u32,
) -> Vec<Press> {
    packets
        .iter()
        .flat_map(|(timestamp, packet)| receiver.receive(*timestamp, *packet, clock))
        .flatten()
        .filter(|press| *press != Press::Holds)
        .collect()
}

fn send_all(sender: &mut DigitSender, start: Instant) -> Vec<EventPacket> {
    (0..1000u32)
        .take_while(|_| true)
        .filter_map(|n| sender.next(start + UPDATE * n, 160 * n))
        .collect()
}

#[test]
fn repeated_end_packets_are_one_digit() {
    let mut receiver = DigitReceiver::default();
    let packets = [
        (100, event(5, false, 160)),
        (100, event(5, false, 320)),
        (100, event(5, true, 800)),
        (100, event(5, true, 800)),
        (100, event(5, true, 800)),
    ];
    assert_eq!(
        presses(&mut receiver, &packets, 8000),
        [
            Press::Begins {
                event: 5,
                volume: 10
            },
            Press::Ends { units: 800 }
        ]
    );
}

/// RFC 4733 has events for modems and lines too: they are no keys.
#[test]
fn events_that_are_no_keys_are_not_heard() {
    let mut receiver = DigitReceiver::default();
    for code in 17..=255 {
        let packets = [(u32::from(code), event(code, true, 800))];
        assert_eq!(presses(&mut receiver, &packets, 8000), [], "{code}");
    }
}

#[test]
fn a_key_held_for_a_minute_is_passed_on_as_one_of_10_s() {
    let mut receiver = DigitReceiver::default();
    let mut packets: Vec<_> = (0..8)
        .map(|n| (9 + n * 0xffff, event(5, false, 0xffff)))
        .collect();
    packets.push((9 + 7 * 0xffff, event(5, true, 0xffff)));
    let heard = presses(&mut receiver, &packets, 8000);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1], Press::Ends { units: LONGEST });
}

#[test]
fn no_more_than_32_digits_wait_to_be_sent() {
    let mut sender = DigitSender::new(NARROW);
    let press = Press::Begins {
        event: 5,
        volume: 10,
    };
    let taken = (0..1000).filter(|_| sender.press(origin(), press));
    assert_eq!(taken.count(), 32);
}

#[test]
fn a_digit_of_which_only_one_end_packet_arrives_is_not_lost() {
    let mut receiver = DigitReceiver::default();
    let heard = presses(&mut receiver, &[(9, event(11, true, 4800))], 48_000);
    assert_eq!(
        heard,
        [
            Press::Begins {
                event: 11,
                volume: 10
            },
            Press::Ends { units: 800 }
        ]
    );
}

#[test]
fn keys_are_heard_after_the_timeline_went_back() {
    let far = 1_000_000_000;
    let mut receiver = DigitReceiver::default();
    let before = presses(&mut receiver, &[(far, event(1, true, 800))], 8000);
    let after = presses(&mut receiver, &[(5_000, event(2, true, 800))], 8000);
    // Of the second every end was lost before the timeline went on elsewhere.
    let unended = presses(&mut receiver, &[(far, event(3, false, 800))], 8000);
    let last = presses(&mut receiver, &[(5_000, event(4, true, 800))], 8000);
    let begun = begun(&[before, after, unended, last].concat());
    assert_eq!(begun, [1, 2, 3, 4]);
}

#[test]
fn the_same_key_twice_is_two_digits() {
    let mut receiver = DigitReceiver::default();
    let packets = [(100, event(1, true, 800)), (2000, event(1, true, 800))];
    assert_eq!(presses(&mut receiver, &packets, 8000).len(), 4);
}

#[test]
fn a_long_press_in_segments_is_one_digit() {
    let mut receiver = DigitReceiver::default();
    let packets = [
        (0, event(1, false, 65_000)),
        (65_535, event(1, false, 960)),
        (65_535, event(1, true, 9600)),
    ];
    assert_eq!(
        presses(&mut receiver, &packets, 48_000),
        [
            Press::Begins {
                event: 1,
                volume: 10
            },
            Press::Ends {
                units: (65_535 + 9600) / 6
            }
        ]
    );
}

#[test]
fn a_sent_digit_has_one_marker_and_three_ends() {
    let now = origin();
    let mut sender = DigitSender::new(NARROW);
    sender.press(
        now,
        Press::Begins {
            event: 3,
            volume: 8,
        },
    );
    sender.press(now, Press::Ends { units: 800 });
    let sent = send_all(&mut sender, now);
    let events: Vec<_> = sent
        .iter()
        .map(|packet| TelephoneEvent::parse(&packet.payload).unwrap())
        .collect();
    let durations: Vec<_> = events.iter().map(|event| event.duration).collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800, 800]);
    assert_eq!(events.iter().filter(|event| event.end).count(), 3);
    assert!(sent[0].marker && sent[1..].iter().all(|packet| !packet.marker));
    assert!(
        sent.iter()
            .all(|packet| packet.timestamp == sent[0].timestamp)
    );
}

#[test]
fn a_digit_whose_end_is_lost_ends_by_itself() {
    let now = origin();
    let mut sender = DigitSender::new(NARROW);
    sender.press(
        now,
        Press::Begins {
            event: 3,
            volume: 8,
        },
    );
    let sent = send_all(&mut sender, now);
    let last = TelephoneEvent::parse(&sent.last().unwrap().payload).unwrap();
    assert!(last.end);
    assert!(last.duration >= 1600 && last.duration < 2400, "{last:?}");
}

#[test]
fn digits_dialled_in_a_burst_all_go_out_apart_and_in_order() {
    let now = origin();
    let mut sender = DigitSender::new(WIDE);
    for digit in 0..10 {
        sender.press(
            now,
            Press::Begins {
                event: digit,
                volume: 8,
            },
        );
        sender.press(now, Press::Ends { units: 0 });
    }
    let sent = send_all(&mut sender, now);
    let starts: Vec<_> = sent
        .iter()
        .filter(|packet| packet.marker)
        .map(|packet| packet.payload[0])
        .collect();
    assert_eq!(starts, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_press_longer_than_sixteen_bits_is_sent_in_segments() {
    let now = origin();
    let mut sender = DigitSender::new(WIDE);
    sender.press(
        now,
        Press::Begins {
            event: 0,
            volume: 8,
        },
    );
    sender.press(now, Press::Ends { units: 16_000 });
    let sent = send_all(&mut sender, now);
    let first = sent[0].timestamp;
    let last = sent.last().unwrap();
    let in_last = TelephoneEvent::parse(&last.payload).unwrap().duration;
    let total = last.timestamp - first + u32::from(in_last);
    assert_eq!(total, 96_000);
    assert_eq!(sent.iter().filter(|packet| packet.marker).count(), 1);
}

/// An end packet overtaken by the next digit ended that one, whose next packet was then taken for a third.
#[test]
fn a_late_end_of_the_last_digit_does_not_end_this_one() {
    let mut receiver = DigitReceiver::default();
    let packets = [
        (100, event(1, true, 800)),
        (2000, event(2, false, 160)),
        (100, event(1, true, 800)),
        (2000, event(2, false, 320)),
        (2000, event(2, true, 480)),
    ];
    let heard = presses(&mut receiver, &packets, 8000);
    assert_eq!(begun(&heard), [1, 2]);
    assert_eq!(heard.len(), 4, "{heard:?}");
}

/// With the ends of the first lost, the second was taken for its next segment.
#[test]
fn the_same_key_twice_in_quick_succession_is_two_digits_though_all_ends_are_lost() {
    for clock in [8000, 48_000] {
        let unit = clock / 8000;
        let mut receiver = DigitReceiver::default();
        let packets = [
            (0, event(7, false, 160 * unit as u16)),
            (0, event(7, false, 320 * unit as u16)),
            (640 * unit, event(7, false, 160 * unit as u16)),
            (640 * unit, event(7, true, 320 * unit as u16)),
        ];
        assert_eq!(begun(&presses(&mut receiver, &packets, clock)), [7, 7]);
    }
}

#[test]
fn a_held_key_stays_one_digit_though_the_last_packets_of_a_segment_are_lost() {
    for lost in 0..10u32 {
        let mut receiver = DigitReceiver::default();
        let mut packets = Vec::new();
        // Three seconds at 48 kHz, 20 ms each: two segments of 65,280 and a rest.
        for n in 1..=150u32 {
            let (segment, within) = ((n - 1) / 68, (n - 1) % 68 + 1);
            let is_lost = within > 68 - lost;
            if !is_lost || n == 150 {
                packets.push((segment * 65_280, event(5, n == 150, (within * 960) as u16)));
            }
        }
        let heard = presses(&mut receiver, &packets, 48_000);
        assert_eq!(begun(&heard), [5], "{lost} lost: {heard:?}");
    }
}

fn begun(presses: &[Press]) -> Vec<u8> {
    let begun = presses.iter().filter_map(|press| match press {
        Press::Begins { event, .. } => Some(*event),
        Press::Holds | Press::Ends { .. } => None,
    });
    begun.collect()
}

/// One packet as it is sent, and what the network does to it.
#[derive(Debug, Clone)]
struct OnTheWay {
    arrives: u32,
    timestamp: u32,
    event: TelephoneEvent,
}

/// The packets of `keys`, each with its updates, three ends and a pause, all in ms. `fate` of a packet: lost, or the
/// delays of its copies.
fn journey(keys: &[Key], clock: u32) -> (Vec<OnTheWay>, bool) {
    let mut packets = Vec::new();
    let (mut now, mut heard_first) = (0, Vec::new());
    for key in keys {
        let begin = now;
        let updates = key.updates.len();
        let mut first = None;
        for (n, fate) in key.updates.iter().chain(&key.ends).enumerate() {
            let lasted = (n.min(updates) as u32 + 1) * 20;
            now += 20;
            for delay in fate {
                let arrives = now + delay;
                first = Some(first.map_or(arrives, |first: u32| first.min(arrives)));
                packets.push(OnTheWay {
                    arrives,
                    timestamp: begin * (clock / 1000),
                    event: event(key.event, n >= updates, (lasted * (clock / 1000)) as u16),
                });
            }
        }
        heard_first.extend(first);
        now += key.pause;
    }
    packets.sort_by_key(|packet| packet.arrives);
    // Of a key overtaken as a whole nothing can be known.
    let in_order = heard_first.windows(2).all(|pair| pair[0] < pair[1]);
    (packets, in_order)
}

#[derive(Debug, Clone)]
struct Key {
    event: u8,
    updates: Vec<Vec<u32>>,
    ends: Vec<Vec<u32>>,
    pause: u32,
}

fn fate() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0u32..90, 0..3)
}

fn key() -> impl Strategy<Value = Key> {
    let updates = proptest::collection::vec(fate(), 2..12);
    let ends = proptest::collection::vec(fate(), 3).prop_filter("one of three arrives", |ends| {
        ends.iter().any(|fate| !fate.is_empty())
    });
    // Few keys, so that the same one often comes twice.
    (0u8..3, updates, ends, 40u32..200).prop_map(|(event, updates, ends, pause)| Key {
        event,
        updates,
        ends,
        pause,
    })
}

proptest! {
    #[test]
    fn every_key_is_heard_and_sent_once_through_loss_duplicates_and_reordering(
        keys in proptest::collection::vec(key(), 1..8),
        wide in any::<bool>(),
    ) {
        let (clock, events) = if wide { (48_000, WIDE) } else { (8000, NARROW) };
        let (packets, in_order) = journey(&keys, clock);
        prop_assume!(in_order);
        let pressed: Vec<u8> = keys.iter().map(|key| key.event).collect();
        let start = origin();
        let (mut receiver, mut sender) = (DigitReceiver::default(), DigitSender::new(events));
        let (mut arriving, mut sent) = (packets.iter().peekable(), Vec::new());
        let mut heard = Vec::new();
        for tick in 0..600u32 {
            let now = start + UPDATE * tick;
            while let Some(packet) = arriving.next_if(|packet| packet.arrives <= tick * 20) {
                for press in receiver.receive(packet.timestamp, packet.event, clock).into_iter().flatten() {
                    heard.push(press);
                    prop_assert!(sender.press(now, press));
                }
            }
            sent.extend(sender.next(now, tick * 160 * (clock / 8000)));
        }
        prop_assert_eq!(begun(&heard), pressed.clone());
        let marked = sent.iter().filter(|packet| packet.marker).map(|packet| packet.payload[0]);
        prop_assert_eq!(marked.collect::<Vec<_>>(), pressed);
    }

    #[test]
    fn any_series_of_packets_is_survived(
        packets in proptest::collection::vec((any::<u32>(), any::<[u8; 4]>(), any::<bool>()), 0..60)
    ) {
        let now = origin();
        let mut receiver = DigitReceiver::default();
        let mut sender = DigitSender::new(WIDE);
        for (n, (timestamp, bytes, wide)) in packets.into_iter().enumerate() {
            let clock = if wide { 48_000 } else { 8000 };
            let packet = TelephoneEvent::parse(&bytes).unwrap();
            for press in receiver.receive(timestamp, packet, clock).into_iter().flatten() {
                sender.press(now, press);
            }
            sender.next(now + UPDATE * n as u32, timestamp);
        }
    }
}
