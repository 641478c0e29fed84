//! What setting one call up costs in the pure cores, without the networks: an `m.call.invite` as
//! Element sends it is parsed, becomes a Matrix leg and a call, is answered by a telephone and hung up.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mxtrunk_call::{
    Action, Call, Input, Leg, LegEvent, LegId, LegKind, MediaEvent, Reason, Timings,
};
use mxtrunk_matrix::call_events::{CallEventIn, CallEventKind};
use mxtrunk_matrix::voip_v1::{self, Ids};
use ruma::{RoomId, UserId};
use serde_json::Value;

const INVITE: &str = include_str!("../tests/fixtures/m.call.invite.json");
const BROWSER: Leg = Leg {
    id: LegId(1),
    kind: LegKind::Matrix,
};
const PHONE: Leg = Leg {
    id: LegId(2),
    kind: LegKind::Sip,
};

fn call_setup(c: &mut Criterion) {
    c.bench_function("call_setup/element_calls_and_is_answered", |b| {
        b.iter(|| place(black_box(INVITE)))
    });
}

/// Runs one call from its invite to its end. Returns how many actions it took.
fn place(invite: &str) -> usize {
    let now = Instant::now();
    let event: Value = serde_json::from_str(invite).expect("the fixture is JSON");
    let parsed =
        CallEventIn::parse(CallEventKind::Invite, &event["content"]).expect("a real invite");
    let CallEventIn::Invite(invite) = parsed else {
        unreachable!("an invite was asked for");
    };
    let (mut leg, offer) =
        voip_v1::Leg::incoming(now, ids(), Duration::ZERO, invite).expect("it is fresh");
    let mut call = Call::new(now, Timings::default(), BROWSER, PHONE, Some(offer));
    let mut actions = 0;
    let inputs = [
        Input::Media(
            BROWSER.id,
            MediaEvent::LocalDescription {
                sdp: "answer".into(),
            },
        ),
        Input::Media(
            PHONE.id,
            MediaEvent::LocalDescription {
                sdp: "offer".into(),
            },
        ),
        Input::Leg(PHONE.id, LegEvent::Ringing),
        Input::Leg(
            PHONE.id,
            LegEvent::Answered {
                sdp: "answer".into(),
                device: None,
            },
        ),
        Input::Media(BROWSER.id, MediaEvent::Connected),
        Input::Leg(PHONE.id, LegEvent::Ended(Reason::HungUp)),
    ];
    for input in inputs {
        call.handle(now, input);
        actions += drain(now, &mut call, &mut leg);
    }
    for leg_id in [BROWSER.id, PHONE.id] {
        call.handle(now, Input::Media(leg_id, MediaEvent::Closed));
    }
    actions + drain(now, &mut call, &mut leg)
}

fn drain(now: Instant, call: &mut Call, leg: &mut voip_v1::Leg) -> usize {
    let mut count = 0;
    while let Some(action) = call.poll_action() {
        count += 1;
        match action {
            Action::Leg(id, action) if id == BROWSER.id => leg.handle_action(now, action),
            Action::Leg(..) | Action::Media(_) | Action::Finished => {}
        }
        while let Some(event) = leg.poll_send() {
            black_box(event.content());
        }
    }
    count
}

fn ids() -> Ids {
    Ids {
        room: RoomId::parse("!e_k1fRrhYBkzF-LMxdqNx0oL8K1i7POPnKxSDqK9Ohs").expect("a room id"),
        user: UserId::parse("@alice:localtest").expect("a user id"),
        virtual_user: UserId::parse("@tel_600:localtest").expect("a user id"),
        our_party_id: "party".into(),
    }
}

criterion_group!(benches, call_setup);
criterion_main!(benches);
