//! Somebody else is at the other end now.

use super::*;

fn assert_bob(scene: &mut Scene) -> Vec<CallEventOut> {
    let bob = user_id!("@tel_1002:localtest").to_owned();
    scene.leg.assert_identity(bob, "Bob (1002)".to_owned());
    scene.sends()
}

fn bob_is_told() -> CallEventOut {
    CallEventOut::AssertedIdentity {
        call: call(Version::V1),
        id: user_id!("@tel_1002:localtest").to_owned(),
        display_name: "Bob (1002)".to_owned(),
    }
}

#[test]
fn a_client_in_the_call_is_told_at_once_in_one_event() {
    let mut scene = Scene::talking();
    let sends = assert_bob(&mut scene);
    assert_eq!(sends, [bob_is_told()]);
    let content = sends[0].content();
    let expected = serde_json::json!({ "id": "@tel_1002:localtest", "display_name": "Bob (1002)" });
    assert_eq!(content["asserted_identity"], expected);
    assert_eq!(content["party_id"], call(Version::V1).party_id);
    assert_eq!(sends[0].kind().event_type(), "m.call.asserted_identity");
}

#[test]
fn before_the_answer_it_waits_for_that() {
    let mut scene = Scene::invited();
    assert_eq!(assert_bob(&mut scene), []);
    let sdp = "our answer".into();
    let sends = scene.act(LegAction::Answer { sdp });
    assert!(matches!(sends[0], CallEventOut::Answer { .. }), "{sends:?}");
    assert_eq!(sends[1..], [bob_is_told()]);
    let mut scene = Scene::ringing();
    assert_eq!(assert_bob(&mut scene), []);
    let (_, sends) = scene.hear(answer(Some(LAPTOP)));
    assert_eq!(sends, [select(LAPTOP), bob_is_told()]);
}

#[test]
fn a_client_that_knows_no_such_event_or_has_left_is_not_told() {
    let mut old = Scene::invited_by(invite(Version::V0, None));
    assert_eq!(assert_bob(&mut old), []);
    let sdp = "our answer".into();
    assert_eq!(old.act(LegAction::Answer { sdp }).len(), 1);
    assert_eq!(assert_bob(&mut old), []);
    let mut gone = Scene::talking();
    gone.hear(hangup(Some(LAPTOP), None));
    assert_eq!(assert_bob(&mut gone), []);
}
