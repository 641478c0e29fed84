//! Packets of a phone that overtook others on their way to a browser.

use mxtrunk_media::Law;

use crate::bridged;
use crate::world::PHASE;

/// The leg is woken for it: its next frame to the phone may be due 20 ms later.
#[test]
fn a_packet_whose_forerunner_is_lost_is_heard_40_ms_after_it_came() {
    for delay in [4, 9, 14] {
        let (mut world, browser, phone) = bridged(Law::Mu);
        world.run(500);
        while world.ms % 20 != PHASE {
            world.run(1);
        }
        let mut sent = 0;
        world.weather[1] = Box::new(move |_| {
            sent += 1;
            (sent > 1).then_some(delay)
        });
        world.run(40);
        let came = world.ms + delay;
        // Nothing that comes later wakes the leg either.
        world.set_talking(phone, false);
        let before = world.browser(browser).received.len();
        world.run(delay + 39);
        assert_eq!(world.browser(browser).received.len(), before);
        world.run(1);
        assert_eq!(world.browser(browser).received.len(), before + 1);
        assert_eq!(world.ms, came + 40);
    }
}
