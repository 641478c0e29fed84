//! Faults and deadlines.

use super::*;
use crate::profile::PhoneProfile;
use crate::virtual_time::origin;
use std::time::Duration;

#[test]
fn a_fault_in_one_leg_ends_that_leg_only() {
    let now = origin();
    let epoch = Epoch {
        instant: now,
        since_unix: Duration::ZERO,
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let mut legs = Legs::new(Settings::new(vec![address]), epoch, 1);
    let (faulty, healthy) = (LegId(1), LegId(2));
    legs.open_phone(now, faulty, address, &PhoneProfile::default(), None);
    legs.open_browser(now, healthy, None);
    legs.bridge(now, faulty, healthy);
    legs.work(faulty, |_, _| panic!("a fault of ours"));
    let failed = |event: Event| {
        let fault = matches!(
            event.what,
            Happened::Failed {
                why: MediaError::Fault,
                stats: Some(_)
            }
        );
        event.leg == faulty && fault
    };
    assert!(std::iter::from_fn(|| legs.poll_event()).any(failed));
    legs.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(legs.len(), 1);
    legs.close(healthy);
    assert!(legs.is_empty());
}

#[test]
fn deadlines_that_keep_changing_do_not_fill_the_memory() {
    let now = origin();
    let epoch = Epoch {
        instant: now,
        since_unix: Duration::ZERO,
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let mut legs = Legs::new(Settings::new(vec![address]), epoch, 1);
    legs.open_browser(now, LegId(1), None);
    for n in 0..10_000 {
        let later = now + Duration::from_secs(20_000 - n);
        if let Some(leg) = legs.legs.get_mut(&LegId(1)) {
            leg.armed = Some(later);
        }
        legs.timers.push(Reverse((later, LegId(1))));
        legs.forget_stale_timers();
    }
    assert!(legs.timers.len() < 200, "{}", legs.timers.len());
}
