//! Attack 13, and what else SRTP has to live through.

use super::site::{ATTACKED, Phone, Site};
use crate::leg::Happened;
use crate::outbox::Socket;
use crate::profile::{PhoneProfile, SrtpPolicy};
use crate::srtp::{Crypto, Srtp, SrtpSecret};

fn profile(srtp: SrtpPolicy) -> PhoneProfile {
    PhoneProfile {
        srtp,
        ..PhoneProfile::default()
    }
}

fn phone() -> Phone {
    Phone::new(([192, 0, 2, 7], 40_000), 7)
}

fn call(line: usize) -> Site {
    Site::secured(&profile(SrtpPolicy::Required), phone(), line).bridge()
}

#[test]
fn a_call_over_each_suite_is_heard_both_ways_with_reports() {
    for line in 0..4 {
        let mut site = call(line);
        site.assert_both_heard(&mut []);
        site.run(300, &mut []);
        assert!(site.phone.reports > 0);
        assert_eq!(site.strays, []);
        let drops = site.drops();
        assert_eq!((drops.forged, drops.replayed, drops.malformed), (0, 0, 0));
    }
}

/// FreeSWITCH ended a call after 100 (CVE-2021-41105).
#[test]
fn two_hundred_bad_packets_do_no_harm_and_are_not_taken_for_a_sign_of_life() {
    let mut site = call(2);
    site.run(50, &mut []);
    site.phone.silent = true;
    site.run(50, &mut []);
    let source = site.phone.address;
    let ago = heard(&mut site);
    let mut forger = phone();
    forger.sequence = site.phone.sequence;
    for n in 0..200 {
        let mut forged = forger.frame();
        forged.extend([n; 10]);
        site.receive(source, &forged);
    }
    assert_eq!(heard(&mut site), ago);
    site.phone.silent = false;
    site.assert_both_heard(&mut []);
    assert_eq!(site.drops().forged, 200);
}

fn heard(site: &mut Site) -> Option<std::time::Duration> {
    while site.legs.poll_event().is_some() {}
    site.legs.probe(site.now, ATTACKED);
    match site.legs.poll_event().map(|event| event.what) {
        Some(Happened::Heard { ago }) => ago,
        other => panic!("{other:?}"),
    }
}

#[test]
fn replayed_packets_are_not_heard_again() {
    let mut site = call(0);
    let source = site.phone.address;
    let recorded: Vec<_> = (0..20).map(|_| site.phone.frame()).collect();
    for packet in &recorded {
        site.receive(source, packet);
    }
    for packet in &recorded {
        site.receive(source, packet);
    }
    site.assert_both_heard(&mut []);
    assert_eq!(site.drops().replayed, 20);
}

#[test]
fn plain_rtp_and_plain_reports_are_not_taken_where_srtp_is_agreed() {
    let mut site = call(2);
    let mut plain = Phone::attacker(site.phone.address);
    site.run(100, &mut [&mut plain]);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    let control = ([192, 0, 2, 7], 40_001).into();
    site.legs
        .handle(site.now, Socket::Rtcp(ATTACKED), control, &report);
    let drops = site.drops();
    assert_eq!((drops.forged, drops.malformed), (100, 1));
}

#[test]
fn the_call_goes_on_over_70_000_packets_and_a_repeated_key() {
    for line in [0, 3] {
        let mut site = call(line);
        site.run(70_000, &mut []);
        site.assert_both_heard(&mut []);
        // A session refresh: the same key in the offer, the same in our answer.
        let ours = refresh(&mut site, "sendrecv");
        assert_eq!(refresh(&mut site, "sendrecv"), ours);
        site.assert_both_heard(&mut []);
        let drops = site.drops();
        assert_eq!((drops.forged, drops.replayed), (0, 0));
    }
}

/// A re-INVITE with the key that the phone has; the key in our answer.
fn refresh(site: &mut Site, direction: &str) -> Crypto {
    // The phone's key of its answer, under the tag of a new offer: the suite stands in what it is.
    let theirs = site.phone.srtp.as_ref().expect("the call is secured");
    let line = theirs.in_use().expect("keys are agreed");
    let offer = site.phone.description(Some(&line.to_value()), direction);
    let answer = site.reinvite(&offer);
    let mut lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"));
    lines
        .find_map(Crypto::parse)
        .expect("the answer holds a key")
}

/// At 50 packets a second 11 min are 33,000: more than half a turn of the sequence numbers.
#[test]
fn eleven_minutes_of_hold_do_not_end_the_sound() {
    for counts_on in [false, true] {
        let mut site = call(2);
        site.run(100, &mut []);
        refresh(&mut site, "inactive");
        site.phone.silent = true;
        site.run(33_000, &mut []);
        if counts_on {
            // A PBX that numbers what it does not send.
            for _ in 0..33_000 {
                site.phone.frame();
            }
        }
        site.phone.silent = false;
        refresh(&mut site, "sendrecv");
        site.assert_both_heard(&mut []);
    }
}

#[test]
fn another_source_and_jumps_of_sequence_and_timestamp_are_followed() {
    let mut site = call(1);
    site.run(100, &mut []);
    site.phone.ssrc = 0x5eed;
    site.assert_both_heard(&mut []);
    site.phone.sequence = site.phone.sequence.wrapping_add(32_768);
    site.assert_both_heard(&mut []);
    site.phone.timestamp = site.phone.timestamp.wrapping_add(1 << 31);
    site.assert_both_heard(&mut []);
    site.phone.timestamp = site.phone.timestamp.wrapping_sub(100_000);
    site.assert_both_heard(&mut []);
}

#[test]
fn a_transfer_with_a_new_key_renews_ours_and_is_heard() {
    let mut site = call(2);
    site.run(66_000, &mut []);
    let mut other = Srtp::new(SrtpSecret::new([0x99; SrtpSecret::LEN]));
    let line = other.offer().remove(2);
    let offer = site.phone.description(Some(&line.to_value()), "sendrecv");
    let answer = site.reinvite(&offer);
    let mut lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"));
    let ours = lines
        .find_map(Crypto::parse)
        .expect("the answer holds a key");
    other.apply_answer(&[ours]).expect("the answer fits");
    site.phone.srtp = Some(other);
    site.phone.sequence = 9;
    site.phone.ssrc = 99;
    site.assert_both_heard(&mut []);
}

#[test]
fn a_trunk_that_requires_srtp_offers_it_and_refuses_plain_answers_and_offers() {
    let mut site = Site::secured(&profile(SrtpPolicy::Required), phone(), 0);
    let plain = phone().description(None, "sendrecv");
    site.legs.apply_offer(site.now, ATTACKED, &plain);
    let refused = site.legs.poll_event().map(|event| event.what);
    assert!(
        matches!(refused, Some(Happened::OfferRefused { .. })),
        "{refused:?}"
    );
    site.legs.apply_answer(site.now, ATTACKED, &plain);
    let failed = std::iter::from_fn(|| site.legs.poll_event()).map(|event| event.what);
    assert!(
        failed
            .into_iter()
            .any(|what| matches!(what, Happened::Failed { .. }))
    );
}

#[test]
fn srtp_that_is_only_offered_is_taken_up_or_left() {
    let offered = profile(SrtpPolicy::Offered);
    let mut left = Site::new(&offered, phone(), &phone()).bridge();
    left.assert_both_heard(&mut []);
    let mut taken = Site::secured(&offered, phone(), 1).bridge();
    taken.assert_both_heard(&mut []);
    // RFC 8643: over RTP/AVP, which a PBX without SRTP takes as well.
    let offer = Site::offer_of(&offered);
    assert!(offer.contains("m=audio 20002 RTP/AVP "), "{offer}");
    assert_eq!(offer.matches("a=crypto:").count(), 4);
    let required = Site::offer_of(&profile(SrtpPolicy::Required));
    assert!(required.contains("m=audio 20002 RTP/SAVP "), "{required}");
    let off = Site::offer_of(&PhoneProfile::default());
    assert!(
        off.contains(" RTP/AVP ") && !off.contains("crypto"),
        "{off}"
    );
}
