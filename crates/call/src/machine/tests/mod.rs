//! The call machine as inputs → expected actions, in virtual time.

mod early;
mod ending;
mod referral;
mod replaced;
mod setup;
mod talk;
mod transfer;
mod whatever;

use std::time::{Duration, Instant};

use super::*;
use crate::{Device, LegKind};

const CALLER: LegId = LegId(1);
const CALLEE: LegId = LegId(2);

/// A call with its own clock.
struct Scene {
    call: Call,
    now: Instant,
}

impl Scene {
    fn begin(caller: LegKind, callee: LegKind) -> Scene {
        Scene::begin_with(caller, callee, Some("offer of the caller".into()))
    }

    fn begin_with(caller: LegKind, callee: LegKind, offer: Option<Sdp>) -> Scene {
        let now = Instant::now();
        let call = Call::new(
            now,
            Timings::default(),
            Leg {
                id: CALLER,
                kind: caller,
            },
            Leg {
                id: CALLEE,
                kind: callee,
            },
            offer,
        );
        Scene { call, now }
    }

    fn outgoing() -> Scene {
        Scene::begin(LegKind::Matrix, LegKind::Sip)
    }

    /// The same, and what the callee sends before it picks up is to be heard.
    fn outgoing_with_early_media() -> Scene {
        let mut scene = Scene::outgoing();
        scene.call = scene.call.with_early_media(EarlyMedia::Connect);
        scene
    }

    fn incoming() -> Scene {
        Scene::begin(LegKind::Sip, LegKind::Matrix)
    }

    /// Up to the point where the callee has our offer.
    fn offered(mut self) -> Scene {
        self.actions();
        self.media(CALLER, described("that it can be answered"));
        self.media(CALLEE, described("our offer"));
        self
    }

    /// Up to the point where the callee has picked up, and our answer to the caller is there.
    fn picked_up(mut self) -> Scene {
        self.leg(CALLEE, answered());
        self.media(CALLER, described("our answer"));
        self
    }

    /// Up to the point where both talk and all media is connected.
    fn talking(self) -> Scene {
        let mut scene = self.offered();
        scene.leg(CALLEE, LegEvent::Ringing);
        let mut scene = scene.picked_up();
        scene.media(CALLEE, MediaEvent::Connected);
        scene.media(CALLER, MediaEvent::Connected);
        assert!(scene.call.is_talking());
        scene
    }

    fn leg(&mut self, leg: LegId, event: LegEvent) -> Vec<Action> {
        self.call.handle(self.now, Input::Leg(leg, event));
        self.actions()
    }

    fn media(&mut self, leg: LegId, event: MediaEvent) -> Vec<Action> {
        self.call.handle(self.now, Input::Media(leg, event));
        self.actions()
    }

    fn finish(&mut self, reason: Reason) -> Vec<Action> {
        self.call.handle(self.now, Input::Finish(reason));
        self.actions()
    }

    /// Lets the next deadline pass.
    fn wait(&mut self) -> (Deadline, Vec<Action>) {
        let (at, deadline) = self.call.poll_timeout().expect("a deadline stands");
        self.call.handle_timeout(at - Duration::from_millis(1));
        assert!(self.actions().is_empty(), "woken too early, it acted");
        self.now = at;
        self.call.handle_timeout(at);
        (deadline, self.actions())
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.call.poll_action()).collect()
    }

    fn ended(&self) -> (Side, Reason) {
        let ended = self.call.story().ended.clone().expect("the call has ended");
        (ended.by, ended.reason)
    }
}

fn described(sdp: &str) -> MediaEvent {
    MediaEvent::LocalDescription { sdp: sdp.into() }
}

fn answered() -> LegEvent {
    LegEvent::Answered {
        sdp: "answer of the callee".into(),
        device: Some(Device("DESK".into())),
    }
}

fn close_both() -> [Action; 2] {
    [CALLER, CALLEE].map(|leg| Action::Media(MediaAction::Close { leg }))
}

fn ends(leg: LegId, action: LegAction) -> Vec<Action> {
    let mut actions = vec![Action::Leg(leg, action)];
    actions.extend(close_both());
    actions
}

fn apply_bridge_and_describe() -> [Action; 3] {
    [
        Action::Media(MediaAction::ApplyAnswer {
            leg: CALLEE,
            sdp: "answer of the callee".into(),
        }),
        Action::Media(MediaAction::Bridge {
            a: CALLER,
            b: CALLEE,
        }),
        Action::Media(MediaAction::Describe { leg: CALLER }),
    ]
}

fn answer_caller() -> Action {
    Action::Leg(
        CALLER,
        LegAction::Answer {
            sdp: "our answer".into(),
        },
    )
}
