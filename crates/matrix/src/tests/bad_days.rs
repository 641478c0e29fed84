//! A homeserver that fails, asks to slow down, or answers when nobody waits any more, in each phase of a call: what is
//! written comes late, or not at all and that is known in time; and nothing stands twice.

use axum::http::StatusCode;
use mxtrunk_store::Home;
use ruma::{room_id, user_id};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::call_events::{CallEventOut, CallRef, Description, Version};
use crate::fake_homeserver::Trouble;
use crate::{HomeserverError, RoomError};

/// How long one request may take here; 5 s in the field.
const REQUEST: Duration = Duration::from_millis(200);

/// An answer that comes when nobody waits for it; 30 s in the field.
const TOO_LATE: Trouble = Trouble::Late(Duration::from_millis(600));

const TROUBLES: [Trouble; 5] = [
    Trouble::Refused(StatusCode::INTERNAL_SERVER_ERROR),
    Trouble::Refused(StatusCode::BAD_GATEWAY),
    Trouble::Refused(StatusCode::SERVICE_UNAVAILABLE),
    Trouble::Refused(StatusCode::TOO_MANY_REQUESTS),
    TOO_LATE,
];

impl Scene {
    async fn impatient() -> Self {
        Self::waiting(REQUEST).await
    }

    /// One request may take `within`.
    async fn waiting(within: Duration) -> Self {
        let homeserver = FakeHomeserver::start().await;
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("mxtrunk.db");
        let impatient = |config: &mut MatrixConfig| {
            config.request_timeout = within;
            config.pictures = false;
        };
        let (service, events) = serve_with(&homeserver, &database, 16, impatient).await;
        let scene = Scene::of(homeserver, service, events, database, directory).with_room();
        let scene = scene.await;
        until("the start is over", || scene.homeserver.known().pings == 1).await;
        scene
    }

    /// Sends one event after the other, each into trouble.
    async fn say(&self, trouble: Trouble, times: u32) -> Vec<Result<(), HomeserverError>> {
        let (room, user) = (room_id!("!room"), user_id!("@tel_600:localtest"));
        let mut outcomes = Vec::new();
        for (n, event) in our_events().iter().enumerate() {
            self.homeserver.strike(trouble, times);
            let txn_id = format!("t{n}");
            let sent = self.service.send_call_event(room, user, &txn_id, event);
            outcomes.push(sent.await.map(drop));
        }
        outcomes
    }

    /// The next thing that Alice's first call from 601 asks for is a room, and that meets trouble.
    async fn meets_only_the_making_of_a_room(&self, trouble: Trouble) {
        let bob = self.service.ensure_virtual_user("601", "Bob");
        bob.await.unwrap();
        // Else the trouble would be met by the question for her space.
        let home = Home {
            space: Some("!space".to_owned()),
            settled: true,
            ..Home::nowhere(ALICE)
        };
        self.store().put_home(&home).await.unwrap();
        self.homeserver.strike(trouble, 1);
    }

    fn types_in_the_room(&self) -> Vec<String> {
        let known = self.homeserver.known();
        let events = known.rooms[ROOM].events.iter();
        events
            .map(|(_, event_type, ..)| event_type.clone())
            .collect()
    }
}

/// One of each kind.
fn our_events() -> Vec<CallEventOut> {
    let call = CallRef {
        call_id: "c".to_owned(),
        party_id: "GW".to_owned(),
        version: Version::V1,
    };
    vec![
        CallEventOut::Invite {
            call: call.clone(),
            lifetime: Duration::from_secs(60),
            sdp: "v=0".into(),
        },
        CallEventOut::Candidates {
            call: call.clone(),
            candidates: vec![String::new()],
        },
        CallEventOut::Answer {
            call: call.clone(),
            sdp: "v=0".into(),
        },
        CallEventOut::SelectAnswer {
            call: call.clone(),
            selected_party_id: "LAPTOP".to_owned(),
        },
        CallEventOut::Negotiate {
            call: call.clone(),
            description: Description::Offer("v=0".into()),
            lifetime: Duration::from_secs(10),
        },
        CallEventOut::AssertedIdentity {
            call: call.clone(),
            id: user_id!("@tel_601:localtest").to_owned(),
            display_name: "Bob".to_owned(),
        },
        CallEventOut::Reject {
            call: call.clone(),
            reason: None,
        },
        CallEventOut::Hangup {
            call,
            reason: "user_hangup",
        },
    ]
}

#[tokio::test]
async fn each_event_of_a_call_that_meets_trouble_comes_late_and_once_and_in_its_order() {
    let expected: Vec<_> = our_events()
        .iter()
        .map(|event| event.kind().event_type().to_owned())
        .collect();
    let mut all = JoinSet::new();
    for trouble in TROUBLES {
        let expected = expected.clone();
        all.spawn(async move {
            let scene = Scene::impatient().await;
            let outcomes = scene.say(trouble, 1).await;
            assert!(
                outcomes.iter().all(Result::is_ok),
                "{trouble:?}: {outcomes:?}"
            );
            assert_eq!(scene.types_in_the_room(), expected, "{trouble:?}");
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn what_a_homeserver_never_takes_is_given_up_before_a_caller_loses_patience() {
    let mut all = JoinSet::new();
    for trouble in TROUBLES {
        all.spawn(async move {
            let scene = Scene::impatient().await;
            scene.homeserver.strike(trouble, u32::MAX);
            let (room, user) = (room_id!("!room"), user_id!("@tel_600:localtest"));
            let alice = user_id!("@alice:localtest");
            let begun = Instant::now();
            let (service, events) = (&scene.service, our_events());
            let content = json!({ "msgtype": "m.notice", "body": "missed" });
            let (invite, history, place) = tokio::join!(
                service.send_call_event(room, user, "t", &events[0]),
                service.write_as_service(room, "h", &content, None),
                service.ensure_call_room(alice, "601", "Bob", PATIENCE),
            );
            assert!(invite.is_err() && history.is_err(), "{trouble:?}");
            assert!(matches!(place, Err(RoomError::Homeserver(_))), "{place:?}");
            assert!(begun.elapsed() < PATIENCE, "{trouble:?}");
            // What was carried out, though its answer was late every time, stands once.
            let stands = usize::from(trouble == TOO_LATE);
            assert_eq!(scene.types_in_the_room().len(), 2 * stands, "{trouble:?}");
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn a_call_room_is_made_late_or_with_the_next_call_and_never_twice() {
    let alice = user_id!("@alice:localtest");
    for trouble in TROUBLES {
        let scene = Scene::impatient().await;
        let call = || {
            scene
                .service
                .ensure_call_room(alice, "601", "Bob", PATIENCE)
        };
        let made = || scene.homeserver.known().rooms.len() - 1;
        scene.meets_only_the_making_of_a_room(trouble).await;
        match (trouble, call().await.map(drop)) {
            // It was not carried out for sure: it is asked for again.
            (Trouble::Refused(StatusCode::TOO_MANY_REQUESTS), Ok(())) => {}
            (Trouble::Refused(_), Err(_)) => assert_eq!(made(), 0, "{trouble:?}"),
            (Trouble::Late(_), Err(_)) => {
                // The person joins it, and so it is found.
                let mut join = member(ALICE, ALICE, "join");
                join["room_id"] = json!("!made1");
                assert_eq!(scene.push("1", json!([join])).await.0, 200);
            }
            (trouble, outcome) => panic!("{trouble:?}: {outcome:?}"),
        }
        call().await.unwrap();
        assert_eq!(made(), 1, "{trouble:?}");
    }
}

/// A busy homeserver took 5.1 s once, and the call was refused.
#[tokio::test]
async fn a_room_to_ring_in_may_take_longer_than_what_would_be_asked_for_again() {
    let scene = Scene::waiting(Duration::from_secs(1)).await;
    let late = Trouble::Late(Duration::from_millis(1_100));
    scene.meets_only_the_making_of_a_room(late).await;
    let alice = user_id!("@alice:localtest");
    let room = scene
        .service
        .ensure_call_room(alice, "601", "Bob", PATIENCE);
    room.await.unwrap();
}

#[tokio::test]
async fn a_virtual_user_that_is_invited_comes_late_and_the_call_after_it_is_not_lost() {
    for trouble in TROUBLES {
        let mut scene = Scene::impatient().await;
        scene.homeserver.put_room("!dialled", &[ALICE]);
        scene.homeserver.strike(trouble, 1);
        let mut events = [member(ALICE, TEL, "invite"), hangup(ALICE)];
        for event in &mut events {
            event["room_id"] = json!("!dialled");
        }
        assert_eq!(scene.push("1", json!(events)).await.0, 200);
        let RoomEvent::Call(call) = scene.next_event().await else {
            panic!("a call event");
        };
        assert_eq!(
            (call.room.as_str(), call.virtual_user.as_str()),
            ("!dialled", TEL)
        );
        until("it has joined", || {
            let known = scene.homeserver.known();
            known.rooms["!dialled"]
                .memberships
                .get(TEL)
                .is_some_and(|word| word == "join")
        })
        .await;
    }
}
