//! Arrivals of every kind, in virtual time.

use super::*;
use crate::virtual_time::origin;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const FRAME: usize = FRAME_UNITS as usize;

struct Line {
    start: Instant,
    buffer: JitterBuffer<u16>,
    heard: Vec<Heard>,
    /// What the delay should do, beside what was heard.
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Silence,
    Packet(u16),
    Lost { frames: i64 },
    Gap,
}

impl Line {
    fn new() -> Self {
        let start = origin();
        Line {
            start,
            buffer: JitterBuffer::new(start, JitterSettings::default(), 1),
            heard: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Packet `n` sent at `n * 20` ms arrives at `n * 20 + delay(n)` ms, or never.
    fn run(&mut self, frames: u16, delay: impl Fn(u16) -> Option<u32>) {
        let mut arrivals: Vec<(u32, u16)> = (0..frames)
            .filter_map(|n| delay(n).map(|late| (u32::from(n) * 20 + late, n)))
            .collect();
        arrivals.sort_unstable();
        let mut arrivals = arrivals.into_iter().peekable();
        for tick in 0..u32::from(frames) + 20 {
            let at = tick * 20 + 5;
            while let Some((when, n)) = arrivals.next_if(|(when, _)| *when <= at) {
                self.insert(self.start + MS * when, n, u32::from(n) * 160, n);
            }
            self.pull(self.start + MS * at);
        }
    }

    fn insert(&mut self, now: Instant, sequence: u16, timestamp: u32, content: u16) -> Inserted {
        self.buffer
            .insert(now, sequence, timestamp, Content::Audio(content))
    }

    fn pull(&mut self, now: Instant) {
        self.changes.push(self.buffer.change(now, 0));
        let heard = match self.buffer.due(now) {
            Due::Silence => Heard::Silence,
            Due::Packet(n) => Heard::Packet(n),
            Due::Lost { units, .. } => Heard::Lost {
                frames: units / FRAME_UNITS,
            },
            Due::Gap { .. } => Heard::Gap,
        };
        if heard != Heard::Silence {
            self.buffer.played(FRAME);
        }
        self.heard.push(heard);
    }

    fn packets(&self) -> Vec<u16> {
        let packet = |heard: &Heard| match heard {
            Heard::Packet(n) => Some(*n),
            _ => None,
        };
        self.heard.iter().filter_map(packet).collect()
    }

    fn position(&self, heard: Heard) -> usize {
        let found = self.heard.iter().position(|h| *h == heard);
        found.unwrap_or_else(|| panic!("no {heard:?} in {:?}", self.heard))
    }

    /// How long after it was sent packet `n` was heard, in ms.
    fn delay_of(&self, n: u16) -> usize {
        self.position(Heard::Packet(n)) * 20 + 5 - usize::from(n) * 20
    }
}

#[test]
fn a_regular_stream_comes_out_whole_after_the_initial_delay() {
    let mut line = Line::new();
    line.run(500, |_| Some(0));
    assert_eq!(line.packets(), (0..500).collect::<Vec<_>>());
    assert_eq!(line.position(Heard::Packet(0)), 1);
}

#[test]
fn reordered_packets_come_out_in_order() {
    let mut line = Line::new();
    line.run(100, |n| Some(if n % 10 == 5 { 25 } else { 0 }));
    assert_eq!(line.packets(), (0..100).collect::<Vec<_>>());
}

#[test]
fn packets_that_come_twice_are_heard_once_and_are_no_jitter() {
    let mut line = Line::new();
    for n in 0..200u16 {
        let now = line.start + MS * 20 * u32::from(n);
        assert_eq!(line.insert(now, n, u32::from(n) * 160, n), Inserted::Kept);
        if let Some(old) = n.checked_sub(4) {
            let again = line.insert(now, old, u32::from(old) * 160, old);
            assert_eq!(again, Inserted::Repeated);
        }
        line.pull(now + MS);
    }
    assert_eq!(line.packets(), (0..199).collect::<Vec<_>>());
    assert!(line.buffer.arrivals.spread() < 5 * 8);
}

#[test]
fn a_lost_packet_is_announced_with_the_one_that_follows_it() {
    let mut line = Line::new();
    line.run(100, |n| (n != 50).then_some(0));
    assert_eq!(line.packets().len(), 99);
    let lost = line.position(Heard::Lost { frames: 1 });
    assert_eq!(line.heard[lost - 1], Heard::Packet(49));
    assert_eq!(line.heard[lost + 1], Heard::Packet(51));
}

#[test]
fn two_lost_in_a_row_are_counted_down_to_the_packet_that_follows() {
    let mut line = Line::new();
    line.run(100, |n| (!(50..52).contains(&n)).then_some(0));
    let last = line.position(Heard::Lost { frames: 1 });
    assert_eq!(line.heard[last + 1], Heard::Packet(52));
    assert_eq!(line.heard[last - 2], Heard::Packet(49));
}

#[test]
fn a_burst_of_loss_takes_its_own_time_and_no_more() {
    let mut line = Line::new();
    line.run(100, |n| (!(40..50).contains(&n)).then_some(0));
    assert_eq!(line.packets().len(), 90);
    let before = line.position(Heard::Packet(39));
    let after = line.position(Heard::Packet(50));
    assert_eq!(after - before - 1, 10);
}

#[test]
fn a_delay_that_grows_is_followed_without_losing_a_packet() {
    let mut line = Line::new();
    line.run(300, |n| Some(if n < 100 { 0 } else { 90 }));
    assert_eq!(line.packets(), (0..300).collect::<Vec<_>>());
}

#[test]
fn a_delay_that_falls_leaves_something_to_take_out() {
    let mut line = Line::new();
    line.run(600, |n| Some(if n < 100 { 90 } else { 0 }));
    let spare = |change: &Change| matches!(change, Change::Shorten { by } if *by >= 80 * 8);
    // The last packets of the longer way came after the first of the shorter one, which is jitter for 5 s.
    assert!(line.changes[400..600].iter().all(spare));
}

#[test]
fn arrivals_that_become_uneven_ask_for_more_delay_within_a_second() {
    let mut line = Line::new();
    let uneven = |n: u16| u32::from(n) * 37 % 11 * 10;
    line.run(260, |n| Some(if n < 200 { 0 } else { uneven(n) }));
    let asked = line.changes[205..255].contains(&Change::Lengthen);
    assert!(asked, "{:?}", line.changes);
}

#[test]
fn a_regular_stream_asks_for_no_change_once_its_delay_is_small() {
    let mut line = Line::new();
    line.run(500, |_| Some(0));
    assert!(line.delay_of(499) <= 30, "{} ms", line.delay_of(499));
    assert!(line.changes[10..500].iter().all(|c| *c == Change::Keep));
}

#[test]
fn frequent_losses_ask_for_the_time_that_redundancy_needs() {
    let changes = |ticks: u32| {
        let mut line = Line::new();
        line.buffer = JitterBuffer::new(line.start, JitterSettings::default(), ticks.into());
        for n in 0..200u16 {
            let now = line.start + MS * 20 * u32::from(n);
            if n % 20 != 7 {
                line.insert(now, n, u32::from(n) * 160 * ticks, n);
            }
            line.pull(now + MS);
        }
        line.changes
    };
    assert!(changes(6).contains(&Change::Lengthen), "Opus may hold some");
    assert!(!changes(1).contains(&Change::Lengthen), "G.711 holds none");
}

#[test]
fn a_packet_later_than_the_limit_is_dropped() {
    let mut line = Line::new();
    line.run(200, |n| Some(if n == 100 { 400 } else { 0 }));
    assert_eq!(line.packets().len(), 199);
}

#[test]
fn a_stall_of_200_ms_loses_nothing_and_its_delay_can_be_taken_out_again() {
    let mut line = Line::new();
    line.run(600, |n| {
        Some(if (100..110).contains(&n) {
            (110 - u32::from(n)) * 20
        } else {
            0
        })
    });
    assert!(line.packets().len() >= 598, "{}", line.packets().len());
    assert!(matches!(line.changes[500], Change::Shorten { .. }));
}

#[test]
fn a_stream_that_pauses_and_goes_on_is_heard_again() {
    let mut line = Line::new();
    line.run(400, |n| (!(100..250).contains(&n)).then_some(0));
    let packets = line.packets();
    assert_eq!(packets.last(), Some(&399));
    assert_eq!(packets.len(), 250);
    assert!(line.delay_of(399) <= 45, "{}", line.delay_of(399));
}

#[test]
fn a_timeline_that_jumps_is_followed() {
    for jump in [-400_000i64, -9000, 9000, 400_000, 0x8000_0000] {
        let mut line = Line::new();
        for n in 0..200u16 {
            let now = line.start + MS * 20 * u32::from(n);
            let offset = if n < 100 { 1_000_000 } else { 1_000_000 + jump };
            let timestamp = (i64::from(n) * 160 + offset) as u32;
            line.insert(now, n, timestamp, n);
            line.pull(now + MS);
        }
        let packets = line.packets();
        assert!(packets.len() > 185, "jump {jump}: {}", packets.len());
        assert!(*packets.last().unwrap() >= 195, "jump {jump}");
    }
}

#[test]
fn a_sender_that_counts_anew_is_heard_again() {
    for jump in [32_768u16, 40_000, 100, 30_000, 65_000] {
        let mut line = Line::new();
        for n in 0..200u16 {
            let now = line.start + MS * 20 * u32::from(n);
            let sequence = if n < 100 { n } else { n.wrapping_add(jump) };
            line.insert(now, sequence, u32::from(n) * 160, n);
            line.pull(now + MS);
        }
        assert_eq!(line.packets().len(), 199, "a jump of {jump} loses nothing");
    }
}

#[test]
fn a_burst_at_the_beginning_does_not_become_delay() {
    let mut line = Line::new();
    line.run(100, |n| {
        Some(if n < 20 { 400 - u32::from(n) * 20 } else { 0 })
    });
    assert!(line.delay_of(99) <= 45, "{}", line.delay_of(99));
}

#[test]
fn events_take_a_number_but_no_time() {
    let mut line = Line::new();
    for n in 0..20u16 {
        let now = line.start + MS * 20 * u32::from(n);
        let content = match n {
            10..15 => Content::Event,
            _ => Content::Audio(n),
        };
        line.buffer.insert(now, n, u32::from(n) * 160, content);
        line.pull(now + MS);
    }
    assert!(
        line.heard.iter().all(|h| !matches!(h, Heard::Lost { .. })),
        "{:?}",
        line.heard
    );
}

proptest! {
    #[test]
    fn any_arrival_is_survived_and_nothing_comes_out_twice(
        arrivals in proptest::collection::vec((any::<u16>(), any::<u32>(), 0u32..50, any::<bool>()), 0..200)
    ) {
        let mut line = Line::new();
        let mut now = line.start;
        for (n, (sequence, timestamp, wait, audio)) in arrivals.into_iter().enumerate() {
            now += MS * wait;
            let content = if audio { Content::Audio(n as u16) } else { Content::Event };
            line.buffer.insert(now, sequence, timestamp, content);
            line.pull(now);
        }
        let mut packets = line.packets();
        packets.sort_unstable();
        prop_assert!(packets.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn under_jitter_within_the_limit_every_packet_is_heard_once(delays in proptest::collection::vec(0u32..19, 300)) {
        let mut line = Line::new();
        line.run(300, |n| Some(delays[usize::from(n)]));
        prop_assert_eq!(line.packets(), (0..300).collect::<Vec<_>>());
    }
}
