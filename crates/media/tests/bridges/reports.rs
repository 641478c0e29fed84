//! RTCP in both directions and on both sides: round trips, loss, and what we make of them.

use std::net::SocketAddr;
use std::time::Duration;

use mxtrunk_media::{
    CodecPolicy, Effort, Happened, IceMode, Law, LegId, LegStats, PhoneProfile, Quality, Socket,
};

use crate::world::World;
use crate::{PHONE_TONE, bridged};

/// A report block about our stream `ssrc`: 16 packets lost, jitter of 80 ticks.
fn block(ssrc: &[u8], last_sr: u32, delay: u32) -> Vec<u8> {
    let mut block = ssrc.to_vec();
    block.extend([64, 0, 0, 16, 0, 0, 1, 0, 0, 0, 0, 80]);
    block.extend(last_sr.to_be_bytes());
    block.extend(delay.to_be_bytes());
    block
}

fn receiver_report(ssrc: &[u8], last_sr: u32, delay: u32) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0x5e, 0xed];
    report.extend(block(ssrc, last_sr, delay));
    report
}

/// An empty sender report of this time.
fn sender_report(short_ntp: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6, 0, 0, 0x5e, 0xed];
    report.extend((u64::from(short_ntp) << 16).to_be_bytes());
    report.extend([0; 12]);
    report
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The world's time in 1/65536 s, as RTCP has it.
fn short_ntp(world: &World) -> u32 {
    let since_1900 = 1_800_000_000 + 2_208_988_800 + world.ms / 1000;
    ((since_1900 << 16) + world.ms % 1000 * 65_536 / 1000) as u32
}

/// Our last report to the phone: our SSRC, and the short NTP time of it.
fn last_report(world: &mut World, phone: LegId) -> (Vec<u8>, u32) {
    let report = world.phone(phone).reports.last().unwrap().clone();
    assert_eq!(report[1], 200, "a sender report");
    let short = (word(&report, 8) << 16) | (word(&report, 12) >> 16);
    (report[4..8].to_vec(), short)
}

fn rtcp(world: &mut World, socket: Socket, source: SocketAddr, datagram: &[u8]) {
    let now = world.now();
    world.legs.handle(now, socket, source, datagram);
    world.collect();
}

/// What has flowed so far, while the leg lives.
fn so_far(world: &mut World, leg: LegId) -> LegStats {
    world.legs.ask_report(leg);
    world.collect();
    match world.events.pop().unwrap().what {
        Happened::Report { stats } => stats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_phones_report_gives_round_trip_loss_and_jitter() {
    let (mut world, _, phone) = bridged(Law::Mu);
    world.run(5_100);
    let (ssrc, sent_at) = last_report(&mut world, phone);
    assert_eq!(so_far(&mut world, phone).round_trip, None);
    world.run(500);
    // It says that it kept our report for all the time but 80 ms.
    let trip = 80 * 65_536 / 1000;
    let kept = short_ntp(&world).wrapping_sub(sent_at) - trip;
    let report = receiver_report(&ssrc, sent_at, kept);
    let control = world.phone(phone).control();
    rtcp(&mut world, Socket::Rtcp(phone), control, &report);
    let stats = so_far(&mut world, phone);
    let trip = stats.round_trip.unwrap().as_millis();
    assert!((79..=80).contains(&trip), "{trip} ms");
    let reported = stats.sent.reported.unwrap();
    assert_eq!((reported.lost, reported.of), (16, stats.sent.packets));
    assert_eq!(reported.jitter, Duration::from_millis(10));
}

#[test]
fn our_report_lets_the_phone_measure_the_round_trip() {
    let (mut world, _, phone) = bridged(Law::Mu);
    world.run(3_000);
    let control = world.phone(phone).control();
    let report = sender_report(0x1234_5678);
    rtcp(&mut world, Socket::Rtcp(phone), control, &report);
    let heard = world.ms;
    world.run_until(5_000, |world| !world.phones[0].1.reports.is_empty());
    let block = &world.phone(phone).reports[0][28..];
    assert_eq!(word(block, 16), 0x1234_5678);
    let age = u64::from(word(block, 20)) * 1000 / 65_536;
    let expected = world.ms - heard;
    assert!(age.abs_diff(expected) <= 1, "{age} and not {expected} ms");
}

#[test]
fn reports_from_anywhere_else_and_forged_goodbyes_change_nothing() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(5_100);
    let (ssrc, sent_at) = last_report(&mut world, phone);
    let report = receiver_report(&ssrc, sent_at, 0);
    let (control, rtp) = (world.phone(phone).control(), world.phone(phone).address);
    let stranger = ([127, 0, 0, 9], 9).into();
    for source in [stranger, rtp] {
        rtcp(&mut world, Socket::Rtcp(phone), source, &report);
    }
    let stats = so_far(&mut world, phone);
    assert_eq!(stats.sent.reported, None);
    assert_eq!(stats.dropped.wrong_source, 2);
    // BYE alone, BYE behind a report, BYE of both sources.
    let bye = [
        0x82, 203, 0, 2, 0, 0, 0x5e, 0xed, ssrc[0], ssrc[1], ssrc[2], ssrc[3],
    ];
    let compound = [&sender_report(1)[..], &bye].concat();
    for datagram in [&bye[..], &compound] {
        rtcp(&mut world, Socket::Rtcp(phone), control, datagram);
    }
    let before = world.browser(browser).received.len();
    world.run(1_000);
    assert_eq!(world.browser(browser).received.len(), before + 50);
    assert_eq!(world.legs.len(), 2);
}

/// RFC 5761: a phone that offers it has RTCP on its RTP port, both ways.
#[test]
fn a_phone_that_offers_multiplexing_gets_and_sends_reports_on_the_rtp_port() {
    let mut world = World::new(IceMode::Full);
    let phone = world.new_phone(Law::Mu, PHONE_TONE);
    let offer = world.phone(phone).description() + "a=rtcp-mux\r\n";
    let rtp = world.phone_port(phone);
    let profile = PhoneProfile::default();
    let now = world.now();
    world
        .legs
        .open_phone(now, phone, rtp, &profile, Some(&offer));
    assert!(world.description(phone).contains("a=rtcp-mux\r\n"));
    let browser = world.browser_calls(440.0, 48_000);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    world.run(5_500);
    assert_eq!(world.phone(phone).reports.len(), 1);
    let (ssrc, sent_at) = last_report(&mut world, phone);
    let before = so_far(&mut world, phone);
    let source = world.phone(phone).address;
    let report = receiver_report(&ssrc, sent_at, 0);
    rtcp(&mut world, Socket::Rtp(phone), source, &report);
    // The odd port is nobody's now.
    let control = world.phone(phone).control();
    rtcp(&mut world, Socket::Rtcp(phone), control, &report);
    let stats = so_far(&mut world, phone);
    assert_eq!(stats.sent.reported.map(|told| told.lost), Some(16));
    assert!(stats.round_trip.is_some());
    assert_eq!(stats.received.packets, before.received.packets);
    assert_eq!(stats.dropped.unknown_payload, 0);
    assert_eq!(stats.dropped.wrong_source, before.dropped.wrong_source + 1);
}

#[test]
fn without_an_offer_of_multiplexing_rtcp_on_the_rtp_port_is_not_read() {
    let (mut world, _, phone) = bridged(Law::Mu);
    world.run(5_100);
    let (ssrc, sent_at) = last_report(&mut world, phone);
    let answer = world.phone(phone).description() + "a=rtcp-mux\r\n";
    let now = world.now();
    world.legs.apply_answer(now, phone, &answer);
    let source = world.phone(phone).address;
    let report = receiver_report(&ssrc, sent_at, 0);
    rtcp(&mut world, Socket::Rtp(phone), source, &report);
    let stats = so_far(&mut world, phone);
    assert_eq!(stats.sent.reported, None);
    assert_eq!(stats.dropped.unknown_payload, 1);
}

/// Whether a packet carries redundancy: the LBRR bit of a SILK packet of one frame (RFC 6716 section 4.2.3).
fn has_fec(payload: &[u8]) -> bool {
    payload.len() > 2 && payload[1] & 0x40 != 0
}

fn share_with_fec(world: &mut World, browser: LegId, ms: u64) -> f64 {
    let before = world.browser(browser).received.len();
    world.run(ms);
    let received = &world.browser(browser).received;
    let packets: Vec<_> = received.values().skip(before).collect();
    let with = packets.iter().filter(|packet| has_fec(&packet.2)).count();
    with as f64 / packets.len() as f64
}

#[test]
fn a_browser_that_reports_loss_gets_redundancy_and_a_clean_one_does_not() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    // A steady tone is no speech to libopus, and only speech is repeated.
    world.phone(phone).syllables = true;
    assert_eq!(share_with_fec(&mut world, browser, 12_000), 0.0);
    world.downlink = Box::new(|n| n % 10 != 0);
    world.run(12_000);
    let share = share_with_fec(&mut world, browser, 2_000);
    assert!(share > 0.4, "{share}");
    let stats = so_far(&mut world, browser);
    let reported = stats.sent.reported.unwrap();
    assert!((30..=80).contains(&reported.lost), "{reported:?}");
    assert!(stats.round_trip.is_some());
    // Clean again for a minute and more.
    world.downlink = Box::new(|_| true);
    world.run(90_000);
    assert_eq!(share_with_fec(&mut world, browser, 2_000), 0.0);
}

/// What the phone's network lost is in the browser's reports too, but redundancy of ours does not bring it back.
#[test]
fn loss_of_the_phone_leg_brings_the_browser_no_redundancy() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.weather[1] = Box::new(|n| (n % 10 != 0).then_some(1));
    world.phone(phone).syllables = true;
    world.run(25_000);
    assert_eq!(share_with_fec(&mut world, browser, 2_000), 0.0);
    let stats = so_far(&mut world, browser);
    assert_eq!(stats.sent.reported.map(|told| told.lost), Some(0));
    assert!(world.close(phone).received.lost > 100);
}

#[test]
fn the_quality_of_each_direction_is_known_while_the_call_lives() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(8_000);
    let (at_browser, at_phone) = (so_far(&mut world, browser), so_far(&mut world, phone));
    for (from, to) in [(&at_browser, &at_phone), (&at_phone, &at_browser)] {
        let quality = Quality::of(from, to).unwrap();
        assert!(quality.mos > 4.2, "{quality:?}");
    }
    // Two in a row: redundancy brings back the second only.
    world.weather[0] = Box::new(|n| (n % 10 > 1).then_some(1));
    world.run(30_000);
    let (at_browser, at_phone) = (so_far(&mut world, browser), so_far(&mut world, phone));
    let to_phone = Quality::of(&at_browser, &at_phone).unwrap();
    let to_browser = Quality::of(&at_phone, &at_browser).unwrap();
    assert!(to_phone.mos < to_browser.mos, "{to_phone:?} {to_browser:?}");
}

#[test]
fn complexity_can_be_changed_while_calls_run_and_holds_for_later_ones() {
    let usual = encoded(|_| {}, |_| {});
    let best = Effort {
        policy: CodecPolicy::Opus,
        opus_complexity: 10,
    };
    let changed = encoded(|_| {}, |world| world.legs.set_effort(best));
    assert_eq!(usual.0, changed.0);
    assert_ne!(usual.1, changed.1);
    let later = encoded(|world| world.legs.set_effort(best), |_| {});
    assert_ne!(usual.0, later.0);
}

/// What a browser gets in the beginning and later, of a tone whose every frame is the same.
fn encoded(
    before: impl FnOnce(&mut World),
    meanwhile: impl FnOnce(&mut World),
) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut world = World::new(IceMode::Full);
    before(&mut world);
    let browser = world.browser_calls(440.0, 48_000);
    let phone = world.phone_is_called(Law::Mu, 800.0);
    let now = world.now();
    world.legs.bridge(now, browser, phone);
    world.connect(browser);
    world.run(1_000);
    meanwhile(&mut world);
    world.run(1_000);
    let received = &world.browser(browser).received;
    let payloads = received.values().map(|packet| packet.2.clone());
    let mut early: Vec<_> = payloads.collect();
    let mut late = early.split_off(60);
    early.truncate(40);
    late.truncate(30);
    (early, late)
}
