//! Arrivals of every kind, in virtual time.

use super::*;
use crate::virtual_time::origin;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

struct Line {
    start: Instant,
    buffer: JitterBuffer<u16>,
    heard: Vec<Heard>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Silence,
    Packet(u16),
    Lost { redundancy: bool },
    Gap,
}

impl Line {
    fn new() -> Self {
        let start = origin();
        Line {
            start,
            buffer: JitterBuffer::new(start, JitterSettings::default(), 1),
            heard: Vec::new(),
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
                let now = self.start + MS * when;
                let content = Content::Audio(n);
                self.buffer.insert(now, n, u32::from(n) * 160, content);
            }
            self.pull(self.start + MS * at);
        }
    }

    fn pull(&mut self, now: Instant) {
        let heard = match self.buffer.pull(now) {
            Due::Silence => Heard::Silence,
            Due::Packet(n) => Heard::Packet(n),
            Due::Lost { next } => Heard::Lost {
                redundancy: next.is_some(),
            },
            Due::Gap => Heard::Gap,
        };
        if let Heard::Packet(_) = heard {
            self.buffer.played(160);
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
}

#[test]
fn a_regular_stream_comes_out_whole_after_the_initial_delay() {
    let mut line = Line::new();
    line.run(500, |_| Some(0));
    assert_eq!(line.packets(), (0..500).collect::<Vec<_>>());
    let begin = line.heard.iter().position(|h| *h == Heard::Packet(0));
    assert_eq!(begin, Some(1));
    assert!(!line.buffer.has_spare_frame());
}

#[test]
fn reordered_packets_come_out_in_order() {
    let mut line = Line::new();
    line.run(100, |n| Some(if n % 10 == 5 { 25 } else { 0 }));
    assert_eq!(line.packets(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_lost_packet_is_announced_with_the_one_that_follows_it() {
    let mut line = Line::new();
    line.run(100, |n| (n != 50).then_some(0));
    assert_eq!(line.packets().len(), 99);
    let lost = line
        .heard
        .iter()
        .position(|h| matches!(h, Heard::Lost { .. }))
        .unwrap();
    assert_eq!(line.heard[lost], Heard::Lost { redundancy: true });
    assert_eq!(line.heard[lost - 1], Heard::Packet(49));
    assert_eq!(line.heard[lost + 1], Heard::Packet(51));
}

#[test]
fn a_burst_of_loss_takes_its_own_time_and_no_more() {
    let mut line = Line::new();
    line.run(100, |n| (!(40..50).contains(&n)).then_some(0));
    assert_eq!(line.packets().len(), 90);
    let missing = line
        .heard
        .iter()
        .skip_while(|h| **h != Heard::Packet(39))
        .skip(1)
        .take_while(|h| **h != Heard::Packet(50))
        .count();
    assert_eq!(missing, 10);
}

#[test]
fn a_delay_that_grows_is_followed_without_losing_a_packet() {
    let mut line = Line::new();
    line.run(300, |n| Some(if n < 100 { 0 } else { 90 }));
    assert_eq!(line.packets(), (0..300).collect::<Vec<_>>());
}

#[test]
fn a_delay_that_falls_leaves_a_frame_to_spare() {
    let mut line = Line::new();
    line.run(600, |n| Some(if n < 100 { 90 } else { 0 }));
    assert!(line.buffer.has_spare_frame());
}

#[test]
fn a_packet_later_than_the_limit_is_dropped() {
    let mut line = Line::new();
    line.run(200, |n| Some(if n == 100 { 400 } else { 0 }));
    assert_eq!(line.packets().len(), 199);
}

#[test]
fn a_stream_that_pauses_and_goes_on_is_heard_again() {
    let mut line = Line::new();
    line.run(400, |n| (!(100..250).contains(&n)).then_some(0));
    let packets = line.packets();
    assert_eq!(packets.last(), Some(&399));
    assert!(packets.len() >= 249, "{}", packets.len());
}

#[test]
fn a_timeline_that_jumps_is_followed() {
    for jump in [-400_000i64, -9000, 9000, 400_000] {
        let mut line = Line::new();
        for n in 0..200u16 {
            let now = line.start + MS * 20 * u32::from(n);
            let offset = if n < 100 { 1_000_000 } else { 1_000_000 + jump };
            let timestamp = (i64::from(n) * 160 + offset) as u32;
            line.buffer.insert(now, n, timestamp, Content::Audio(n));
            line.pull(now + MS);
        }
        let packets = line.packets();
        assert!(packets.len() > 170, "jump {jump}: {}", packets.len());
        assert!(*packets.last().unwrap() >= 195, "jump {jump}");
    }
}

#[test]
fn a_sender_that_counts_anew_is_heard_again() {
    let mut line = Line::new();
    for n in 0..200u16 {
        let now = line.start + MS * 20 * u32::from(n);
        let sequence = if n < 100 { 9000 + n } else { n };
        let timestamp = u32::from(n) * 160;
        line.buffer
            .insert(now, sequence, timestamp, Content::Audio(n));
        line.pull(now + MS);
    }
    let packets = line.packets();
    assert!(packets.len() > 175, "{}", packets.len());
}

#[test]
fn a_burst_at_the_beginning_does_not_become_delay() {
    let mut line = Line::new();
    line.run(100, |n| {
        Some(if n < 20 { 400 - u32::from(n) * 20 } else { 0 })
    });
    let last_pull = line.heard.iter().rposition(|h| *h == Heard::Packet(99));
    assert!(last_pull.unwrap() <= 102, "{last_pull:?}");
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
        for (sequence, timestamp, wait, audio) in arrivals {
            now += MS * wait;
            let content = if audio { Content::Audio(sequence) } else { Content::Event };
            line.buffer.insert(now, sequence, timestamp, content);
            line.pull(now);
        }
    }

    #[test]
    fn under_jitter_within_the_limit_every_packet_is_heard_once(delays in proptest::collection::vec(0u32..19, 300)) {
        let mut line = Line::new();
        line.run(300, |n| Some(delays[usize::from(n)]));
        prop_assert_eq!(line.packets(), (0..300).collect::<Vec<_>>());
    }
}
