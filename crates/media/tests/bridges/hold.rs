//! Hold in every form, on either leg: who hears what, and which direction our answer has.

use mxtrunk_media::{Event, Happened, Law, LegId};
use str0m::media::Direction;

use crate::world::World;
use crate::{BROWSER_TONE, PHONE_TONE, assert_level, bridged, sound};

/// The offer's attribute, and the one that our answer has to carry (RFC 3264 section 6.1).
const FORMS: [(&str, &str); 4] = [
    ("sendrecv", "sendrecv"),
    ("sendonly", "recvonly"),
    ("recvonly", "sendonly"),
    ("inactive", "inactive"),
];

/// What the phone offers: a direction, and whether it names an address to send to.
#[derive(Debug, Clone, Copy)]
struct PhoneForm {
    attribute: &'static str,
    /// RFC 2543's hold: `c=IN IP4 0.0.0.0`.
    nowhere: bool,
    /// The attribute stands before the media line.
    session_level: bool,
}

/// The attribute of one who sends and receives so.
fn attribute(sends: bool, receives: bool) -> &'static str {
    match (sends, receives) {
        (true, true) => "sendrecv",
        (true, false) => "sendonly",
        (false, true) => "recvonly",
        (false, false) => "inactive",
    }
}

impl PhoneForm {
    fn all() -> impl Iterator<Item = PhoneForm> {
        FORMS.into_iter().flat_map(|(attribute, _)| {
            [(false, false), (false, true), (true, false), (true, true)].map(
                |(nowhere, session_level)| PhoneForm {
                    attribute,
                    nowhere,
                    session_level,
                },
            )
        })
    }

    fn sends(self) -> bool {
        matches!(self.attribute, "sendrecv" | "sendonly")
    }

    fn receives(self) -> bool {
        matches!(self.attribute, "sendrecv" | "recvonly") && !self.nowhere
    }

    fn offer(self, description: &str) -> String {
        let attribute = format!("a={}\r\n", self.attribute);
        let mut offer = match self.session_level {
            true => description.replacen("m=audio", &format!("{attribute}m=audio"), 1),
            false => format!("{description}{attribute}"),
        };
        if self.nowhere {
            offer = offer.replace("c=IN IP4 127.0.0.3", "c=IN IP4 0.0.0.0");
        }
        offer
    }

    /// Our answer: what the phone wants and the browser lets it have. We may always send: silence, where the browser
    /// does not.
    fn answered_with(self, browser: Direction) -> &'static str {
        attribute(self.receives(), self.sends() && browser.is_receiving())
    }
}

const SENDRECV: PhoneForm = PhoneForm {
    attribute: "sendrecv",
    nowhere: false,
    session_level: false,
};

fn direction_in(sdp: &str) -> &str {
    let directions: Vec<&str> = sdp
        .lines()
        .filter_map(|line| line.strip_prefix("a="))
        .filter(|name| FORMS.iter().any(|(known, _)| known == name))
        .collect();
    match directions.as_slice() {
        [one] => one,
        other => panic!("{other:?} in {sdp}"),
    }
}

fn phone_offers(world: &mut World, phone: LegId, form: PhoneForm) -> String {
    let offer = form.offer(&world.phone(phone).description());
    world.phone(phone).talks = form.sends();
    world.legs.apply_offer(world.now(), phone, &offer);
    world.description(phone)
}

fn browser_offers(world: &mut World, browser: LegId, direction: Direction) -> String {
    let offer = world.browser(browser).reoffer(direction);
    world.legs.apply_offer(world.now(), browser, &offer);
    let answer = world.description(browser);
    world.browser(browser).accept_answer(&answer);
    answer
}

/// Packets that reach phone and browser in a second, once what was in flight has landed.
fn packets_in_a_second(world: &mut World, browser: LegId, phone: LegId) -> (usize, usize) {
    world.run(100);
    let before = (
        world.phone(phone).received.len(),
        world.browser(browser).received.len(),
    );
    world.run(1000);
    (
        world.phone(phone).received.len() - before.0,
        world.browser(browser).received.len() - before.1,
    )
}

#[test]
fn every_form_of_hold_by_either_side_is_answered_and_obeyed_in_every_combination() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    // The browser talks both ways already: an offer of that comes last, for only a change makes one.
    for (attribute, mirrored) in FORMS.into_iter().rev() {
        phone_offers(&mut world, phone, SENDRECV);
        let direction = match attribute {
            "sendrecv" => Direction::SendRecv,
            "sendonly" => Direction::SendOnly,
            "recvonly" => Direction::RecvOnly,
            _ => Direction::Inactive,
        };
        let answer = browser_offers(&mut world, browser, direction);
        assert_eq!(direction_in(&answer), mirrored, "browser {attribute}");
        for form in PhoneForm::all() {
            let answer = phone_offers(&mut world, phone, form);
            let expected = form.answered_with(direction);
            assert_eq!(
                direction_in(&answer),
                expected,
                "browser {attribute}, {form:?}"
            );
            let (at_phone, at_browser) = packets_in_a_second(&mut world, browser, phone);
            // The phone's stream is unbroken whatever the browser does; the browser gets what the phone sends.
            let to_phone = form.receives();
            let to_browser = form.sends() && direction.is_receiving();
            let what = format!("browser {attribute}, phone {form:?}: {at_phone}, {at_browser}");
            assert_eq!(at_phone, if to_phone { 50 } else { 0 }, "{what}");
            match to_browser {
                true => assert!((48..=52).contains(&at_browser), "{what}"),
                false => assert_eq!(at_browser, 0, "{what}"),
            }
        }
    }
}

#[test]
fn music_on_hold_reaches_the_browser_and_the_resume_brings_both_back() {
    let (mut world, browser, phone) = bridged(Law::A);
    world.run(500);
    let hold = PhoneForm {
        attribute: "sendonly",
        nowhere: false,
        session_level: false,
    };
    for nowhere in [false, true] {
        phone_offers(&mut world, phone, PhoneForm { nowhere, ..hold });
        // Another device plays the music.
        world.phone(phone).becomes_another_device();
        let (at_phone, at_browser) = (
            world.phone(phone).audio().count(),
            world.browser(browser).received.len(),
        );
        world.run(2000);
        assert_eq!(world.phone(phone).audio().count(), at_phone);
        let music = world.browser(browser).heard(at_browser + 5);
        assert_level(sound::tone_level(PHONE_TONE, 48_000, &music));
        let resume = PhoneForm {
            attribute: "sendrecv",
            nowhere: false,
            session_level: false,
        };
        phone_offers(&mut world, phone, resume);
        world.run(1000);
        let heard = world.phone(phone).heard(at_phone + 5);
        assert_level(sound::tone_level(BROWSER_TONE, 8000, &heard));
    }
}

#[test]
fn a_phone_hears_silence_while_the_browser_holds_and_the_voice_after_it() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    for direction in [Direction::Inactive, Direction::RecvOnly] {
        browser_offers(&mut world, browser, direction);
        world.run(1000);
        let from = world.phone(phone).audio().count();
        world.run(1000);
        let heard = world.phone(phone).heard(from);
        assert_eq!(heard.len(), 8000, "the stream goes on");
        let level = sound::level(&heard);
        assert!(level < -30.0, "{direction:?}: {level} dB");
        browser_offers(&mut world, browser, Direction::SendRecv);
        world.run(200);
        let from = world.phone(phone).audio().count();
        world.run(1000);
        let heard = world.phone(phone).heard(from);
        assert_level(sound::tone_level(BROWSER_TONE, 8000, &heard));
    }
}

/// Nobody listens at a browser on hold: a key kept until the resume would be pressed minutes later.
#[test]
fn a_key_of_the_phone_while_the_browser_does_not_listen_is_not_pressed_at_the_resume() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    browser_offers(&mut world, browser, Direction::SendOnly);
    crate::press_at_phone(&mut world, phone, 5, 0b111_1111);
    world.run(500);
    browser_offers(&mut world, browser, Direction::SendRecv);
    world.run(500);
    assert_eq!(world.browser(browser).digits(), []);
    crate::press_at_phone(&mut world, phone, 6, 0b111_1111);
    world.run(500);
    let codes: Vec<u8> = world
        .browser(browser)
        .digits()
        .iter()
        .map(|d| d.0)
        .collect();
    assert_eq!(codes, [6]);
    assert!(world.close(browser).dropped.digits >= 1);
}

/// What a leg's far end should hear of the other side, and the events of it since the last time.
fn offer_due(world: &mut World, leg: LegId) -> Option<String> {
    world.collect();
    let is_due = |event: &Event| event.leg == leg && event.what == Happened::OfferDue;
    let before = world.events.len();
    world.events.retain(|event| !is_due(event));
    if world.events.len() == before {
        return None;
    }
    world.legs.reoffer(world.now(), leg);
    Some(world.description(leg))
}

#[test]
fn a_phones_hold_and_its_resume_are_offered_to_the_browser() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    assert_eq!(offer_due(&mut world, browser), None);
    for form in PhoneForm::all() {
        phone_offers(&mut world, phone, form);
        let both = form.sends() && form.receives();
        let offer = offer_due(&mut world, browser);
        // The resume after a form that is none is no news.
        if both && offer.is_none() {
            continue;
        }
        let offer = offer.unwrap_or_else(|| panic!("{form:?} is not passed on"));
        let expected = attribute(form.sends(), form.receives());
        assert_eq!(direction_in(&offer), expected, "{form:?}");
        let answer = world.browser(browser).answer(&offer);
        world.legs.apply_answer(world.now(), browser, &answer);
        let (at_phone, at_browser) = packets_in_a_second(&mut world, browser, phone);
        let what = format!("{form:?}: {at_phone}, {at_browser}");
        assert_eq!(at_phone > 0, form.receives(), "{what}");
        assert_eq!(at_browser > 40, form.sends(), "{what}");
        phone_offers(&mut world, phone, SENDRECV);
        if let Some(offer) = offer_due(&mut world, browser) {
            assert_eq!(direction_in(&offer), "sendrecv");
            let answer = world.browser(browser).answer(&offer);
            world.legs.apply_answer(world.now(), browser, &answer);
        }
        let (at_phone, at_browser) = packets_in_a_second(&mut world, browser, phone);
        assert!(
            at_phone == 50 && at_browser > 40,
            "{form:?}: {at_phone}, {at_browser}"
        );
    }
    assert_eq!(offer_due(&mut world, phone), None, "an answer is no hold");
}

#[test]
fn a_browsers_hold_and_its_resume_are_offered_to_the_phone() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    for (direction, expected, answered) in [
        (Direction::SendOnly, "sendonly", "recvonly"),
        (Direction::SendRecv, "sendrecv", "sendrecv"),
        (Direction::Inactive, "sendonly", "recvonly"),
        (Direction::SendRecv, "sendrecv", "sendrecv"),
    ] {
        browser_offers(&mut world, browser, direction);
        let offer = offer_due(&mut world, phone).expect("the hold is passed on");
        assert_eq!(direction_in(&offer), expected);
        // The codecs that are spoken, under their numbers, in a newer version of the same session.
        assert!(offer.contains(" RTP/AVP 0 96\r\n"), "{offer}");
        let answer = format!("{}a={answered}\r\n", world.phone(phone).description());
        world.phone(phone).talks = answered == "sendrecv";
        world.legs.apply_answer(world.now(), phone, &answer);
        assert_eq!(offer_due(&mut world, browser), None, "an answer is no hold");
        let (at_phone, at_browser) = packets_in_a_second(&mut world, browser, phone);
        assert_eq!(at_phone, 50, "the phone's stream is unbroken");
        assert_eq!(at_browser > 40, direction.is_receiving());
    }
}

#[test]
fn a_browser_that_resumes_while_the_phone_holds_is_told_so() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    browser_offers(&mut world, browser, Direction::SendOnly);
    phone_offers(
        &mut world,
        phone,
        PhoneForm {
            attribute: "sendonly",
            ..SENDRECV
        },
    );
    let answer = browser_offers(&mut world, browser, Direction::SendRecv);
    assert_eq!(direction_in(&answer), "sendonly");
    phone_offers(&mut world, phone, SENDRECV);
    let offer = offer_due(&mut world, browser).expect("the resume is passed on");
    assert_eq!(direction_in(&offer), "sendrecv");
}

#[test]
fn an_offer_of_the_browser_takes_the_place_of_ours() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    let hold = PhoneForm {
        attribute: "sendonly",
        ..SENDRECV
    };
    phone_offers(&mut world, phone, hold);
    offer_due(&mut world, browser).expect("the hold is passed on");
    let answer = browser_offers(&mut world, browser, Direction::SendOnly);
    assert_eq!(direction_in(&answer), "inactive");
    // A late answer to ours changes nothing.
    world.legs.apply_answer(world.now(), browser, &answer);
    phone_offers(&mut world, phone, SENDRECV);
    offer_due(&mut world, browser).expect("the resume is passed on");
}
