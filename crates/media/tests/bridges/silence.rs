//! One-way sound is told live; a phone that is gone is given up, a muted browser and a call on hold are not.

use mxtrunk_media::{Happened, IceMode, Law, LegId, TimedOut};

use crate::bridged;
use crate::world::World;

const SECOND: u64 = 1000;

/// What was told about silences of a leg, with its time in seconds after `from_ms`.
struct Listener {
    from_ms: u64,
    seen: usize,
}

impl Listener {
    fn new(world: &World) -> Self {
        Listener {
            from_ms: world.ms,
            seen: world.events.len(),
        }
    }

    /// Runs, and returns what was told meanwhile: leg, second, what.
    fn told(&mut self, world: &mut World, ms: u64) -> Vec<(LegId, u64, Happened)> {
        let mut told = Vec::new();
        for _ in 0..ms {
            world.run(1);
            for event in &world.events[self.seen..] {
                let about_silence = matches!(
                    event.what,
                    Happened::Silent { .. }
                        | Happened::SilenceOver { .. }
                        | Happened::TimedOut { .. }
                );
                if about_silence {
                    let second = (world.ms - self.from_ms) / SECOND;
                    told.push((event.leg, second, event.what.clone()));
                }
            }
            self.seen = world.events.len();
        }
        told
    }
}

fn is_silent(what: &Happened) -> bool {
    matches!(what, Happened::Silent { lasted } if lasted.as_secs() == 5)
}

fn is_over_after(what: &Happened, seconds: u64) -> bool {
    matches!(what, Happened::SilenceOver { lasted } if lasted.as_secs() == seconds)
}

#[test]
fn a_direction_that_falls_silent_is_told_after_5_s_and_again_when_it_is_back() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(SECOND);
    let mut listener = Listener::new(&world);
    assert_eq!(listener.told(&mut world, 10 * SECOND), []);
    for leg in [phone, browser] {
        let mut listener = Listener::new(&world);
        world.set_talking(leg, false);
        let told = listener.told(&mut world, 8 * SECOND);
        assert!(
            matches!(told.as_slice(), [(of, 4 | 5, what)] if *of == leg && is_silent(what)),
            "{told:?}"
        );
        world.set_talking(leg, true);
        let told = listener.told(&mut world, 3 * SECOND);
        assert!(
            matches!(told.as_slice(), [(of, 8, what)] if *of == leg && is_over_after(what, 8)),
            "{told:?}"
        );
    }
}

#[test]
fn a_muted_browser_that_sends_nothing_is_told_and_never_killed_while_it_consents() {
    let (mut world, browser, _) = bridged(Law::Mu);
    world.run(SECOND);
    world.set_talking(browser, false);
    let mut listener = Listener::new(&world);
    let told = listener.told(&mut world, 70 * SECOND);
    assert!(
        matches!(told.as_slice(), [(leg, 4 | 5, what)] if *leg == browser && is_silent(what)),
        "{told:?}"
    );
    assert!(!world.happened(browser, &Happened::Lost));
}

/// A muted Chromium sends a packet of silence every 400 ms at most.
#[test]
fn a_browser_in_dtx_is_not_silent() {
    let (mut world, browser, _) = bridged(Law::Mu);
    world.run(SECOND);
    let mut listener = Listener::new(&world);
    for _ in 0..50 {
        world.set_talking(browser, true);
        assert_eq!(listener.told(&mut world, 20), []);
        world.set_talking(browser, false);
        assert_eq!(listener.told(&mut world, 380), []);
    }
}

/// Two phones that talk, bridged.
fn phones() -> (World, LegId, LegId) {
    let mut world = World::new(IceMode::Full);
    let one = world.phone_is_called(Law::Mu, 440.0);
    let other = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), one, other);
    (world, one, other)
}

#[test]
fn a_phone_that_never_sends_is_given_up_after_the_initial_time() {
    let (mut world, _, phone) = phones();
    world.set_talking(phone, false);
    let told = Listener::new(&world).told(&mut world, 100 * SECOND);
    let which = TimedOut::Initial;
    assert!(
        matches!(told.as_slice(), [(_, 5, first), (leg, 30, last)]
            if is_silent(first) && *leg == phone && *last == Happened::TimedOut { which }),
        "{told:?}"
    );
}

/// A PBX that died and came back within seconds knows the call no more: nothing comes, ever.
#[test]
fn a_phone_whose_pbx_forgot_the_call_is_given_up_after_the_steady_time() {
    let (mut world, _, phone) = phones();
    world.run(SECOND);
    world.set_talking(phone, false);
    let told = Listener::new(&world).told(&mut world, 100 * SECOND);
    let which = TimedOut::Steady;
    assert!(
        matches!(told.as_slice(), [(_, 4 | 5, first), (leg, 59 | 60, last)]
            if is_silent(first) && *leg == phone && *last == Happened::TimedOut { which }),
        "{told:?}"
    );
}

#[test]
fn a_phone_that_only_reports_or_has_announced_its_pause_is_kept() {
    for comfort_noise in [false, true] {
        let (mut world, _, phone) = phones();
        world.run(SECOND);
        if comfort_noise {
            let noise = world.phone(phone).comfort_noise();
            world.phone_sends(phone, noise);
        }
        world.set_talking(phone, false);
        let mut listener = Listener::new(&world);
        let mut told = Vec::new();
        for _ in 0..40 {
            told.extend(listener.told(&mut world, 5 * SECOND));
            world.phone_reports(phone);
        }
        match comfort_noise {
            true => assert_eq!(told, []),
            false => assert!(
                matches!(told.as_slice(), [(leg, 4 | 5, what)] if *leg == phone && is_silent(what)),
                "{told:?}"
            ),
        }
    }
}

#[test]
fn a_call_on_hold_for_eleven_minutes_is_kept_and_one_that_is_forgotten_ends() {
    let (mut world, _, phone) = phones();
    world.run(SECOND);
    let description = world.phone(phone).description();
    let held = format!("{description}a=inactive\r\n");
    world.set_talking(phone, false);
    world.legs.apply_offer(world.now(), phone, &held);
    let mut listener = Listener::new(&world);
    assert_eq!(listener.told(&mut world, 11 * 60 * SECOND), []);
    // The resume begins a patience of its own.
    world.legs.apply_offer(world.now(), phone, &description);
    assert_eq!(listener.told(&mut world, 4 * SECOND), []);
    world.legs.apply_offer(world.now(), phone, &held);
    let times_out = |told: &[(LegId, u64, Happened)]| {
        let what = Happened::TimedOut {
            which: TimedOut::Held,
        };
        matches!(told, [(leg, _, last)] if *leg == phone && *last == what)
    };
    assert_eq!(listener.told(&mut world, 3599 * SECOND), []);
    let told = listener.told(&mut world, 2 * SECOND);
    assert!(times_out(&told), "{told:?}");
}
