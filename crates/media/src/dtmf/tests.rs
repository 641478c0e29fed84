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

proptest! {
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
