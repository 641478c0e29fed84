//! Order, health and moves of targets.

use super::*;

/// Targets at port 1, 2, … of one address, by priority and weight.
fn targets(some: &[(u16, u16)]) -> Targets {
    let some = some.iter().zip(1..).map(|((priority, weight), port)| {
        Place::from(&config::Target {
            address: ([192, 0, 2, 1], port).into(),
            priority: *priority,
            weight: *weight,
        })
    });
    Targets::new(some, Transport::Udp)
}

fn ports(order: &[Arc<Target>]) -> Vec<u16> {
    order.iter().map(|t| t.hop.address.port()).collect()
}

fn order_of(targets: &Targets, urgency: Priority, random: fn(u32) -> u32) -> Vec<u16> {
    ports(&targets.order(urgency, Instant::now(), random))
}

#[test]
fn the_lowest_priority_goes_first_and_chance_decides_within_one() {
    let targets = targets(&[(20, 1), (10, 1), (10, 3)]);
    assert_eq!(order_of(&targets, Priority::Normal, |_| 0), [2, 3, 1]);
    let highest = |below: u32| below - 1;
    assert_eq!(order_of(&targets, Priority::Normal, highest), [3, 2, 1]);
}

#[test]
fn each_target_goes_first_as_often_as_its_weight_says() {
    let targets = targets(&[(0, 1), (0, 3), (0, 0)]);
    let mut firsts = [0; 3];
    for drawn in 0..4 {
        let order = targets.order(Priority::Normal, Instant::now(), |below| drawn % below);
        assert_eq!(order.len(), 3);
        firsts[usize::from(ports(&order)[0]) - 1] += 1;
    }
    assert_eq!(firsts, [1, 3, 0]);
}

#[test]
fn what_does_not_take_calls_is_left_out_except_by_a_call_for_help() {
    let targets = targets(&[(0, 1), (1, 1), (2, 1)]);
    let now = Instant::now();
    targets.all()[0].set_up(false);
    targets.all()[1].call_elsewhere_for(Duration::from_secs(7), now);
    assert_eq!(order_of(&targets, Priority::Normal, |_| 0), [3]);
    assert_eq!(order_of(&targets, Priority::Emergency, |_| 0), [3, 1, 2]);
    targets.all()[2].set_up(false);
    // With none it is no worse to try than not to.
    assert_eq!(order_of(&targets, Priority::Normal, |_| 0), [1, 2, 3]);
    assert!(targets.all()[1].takes_calls(now + Duration::from_secs(7)));
}

#[test]
fn no_503_shuts_a_target_off_for_hours() {
    let targets = targets(&[(0, 1)]);
    let (target, now) = (targets.all()[0].clone(), Instant::now());
    target.call_elsewhere_for(Duration::from_secs(86_400), now);
    assert!(!target.takes_calls(now + Duration::from_secs(299)));
    assert!(target.takes_calls(now + Duration::from_secs(300)));
}

#[test]
fn a_peer_that_speaks_from_another_port_is_the_one_target_there() {
    let target =
        |ip: [u8; 4], port| Place::from(&config::Target::from(SocketAddr::from((ip, port))));
    let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let some = [target(one, 1), target(other, 1), target(other, 2)];
    let targets = Targets::new(some.into_iter(), Transport::Tcp);
    let of = |ip: [u8; 4], port| targets.of((ip, port).into()).map(|t| t.hop.address);
    assert_eq!(of(one, 40_000), Some((one, 1).into()));
    assert_eq!(of(other, 2), Some((other, 2).into()));
    assert_eq!(of(other, 40_000), None);
    assert_eq!(of([192, 0, 2, 3], 1), None);
}

#[test]
fn a_dialog_that_begins_is_news_and_one_that_ends_is_not() {
    let target = targets(&[(0, 1)]).all()[0].clone();
    let mut dialogs = target.dialogs();
    let dialog = InDialog::with(Some(target));
    assert!(dialogs.has_changed().expect("the target lives"));
    assert_eq!(*dialogs.borrow_and_update(), 1);
    drop(dialog);
    assert!(!dialogs.has_changed().unwrap_or(false));
    assert_eq!(*dialogs.borrow(), 0);
}

#[test]
fn a_target_that_stays_keeps_its_health_and_takes_its_new_rank() {
    let targets = targets(&[(0, 1), (1, 1)]);
    targets.all()[0].set_up(false);
    let place = |port, priority| {
        Place::from(&config::Target {
            address: ([192, 0, 2, 1], port).into(),
            priority,
            weight: 1,
        })
    };
    let new = targets.move_to(vec![place(1, 5), place(3, 2), place(3, 1)]);
    assert_eq!(ports(&new), [3]);
    assert_eq!(ports(&targets.all()), [1, 3]);
    assert!(!targets.all()[0].is_up());
    assert_eq!(targets.all()[0].rank().priority, (5, 0));
}

#[test]
fn a_target_that_is_gone_is_known_until_its_calls_are_over() {
    let targets = targets(&[(0, 1)]);
    let target = targets.all()[0].clone();
    let dialog = InDialog::with(Some(target.clone()));
    let (old, new) = (target.hop.address, SocketAddr::from(([192, 0, 2, 9], 5060)));
    targets.move_to(vec![Place::from(&config::Target::from(new))]);
    assert!(targets.has_ip(old.ip()) && targets.has_ip(new.ip()));
    assert_eq!(targets.all().len(), 1);
    drop(dialog);
    assert!(target.is_left() && !targets.has_ip(old.ip()));
}

#[test]
fn only_a_change_of_health_is_news() {
    let target = targets(&[(0, 1)]).all()[0].clone();
    assert!(target.is_up());
    assert!(!target.set_up(true));
    assert!(target.set_up(false));
    assert!(!target.is_up());
}
