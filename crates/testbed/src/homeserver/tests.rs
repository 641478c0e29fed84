use super::*;
use crate::process::until;

const ROOM: &str = "!room:localtest";
const TEL: &str = "@tel_1:localtest";

async fn homeserver() -> (Homeserver, String) {
    let registration = Registration {
        listen: ([127, 0, 0, 1], 0).into(),
        server_name: "localtest".to_owned(),
        gateway: "http://127.0.0.1:9".to_owned(),
        as_token: "as".to_owned(),
        hs_token: "hs".to_owned(),
        sender: "mxtrunk".to_owned(),
        transactions: "test".to_owned(),
    };
    let homeserver = Homeserver::start(registration).await.unwrap();
    let listen = homeserver.shared.registration.listen;
    homeserver.put_room(ROOM, &[TEL, "@alice:localtest"]);
    (
        homeserver,
        format!("http://{listen}/_matrix/client/v3/rooms"),
    )
}

async fn put(url: &str, token: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.put(url).bearer_auth(token);
    let request = request.header("content-type", "application/json");
    request.body("{}").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_event_that_is_sent_twice_with_one_transaction_id_comes_once() {
    let (homeserver, rooms) = homeserver().await;
    let mut sent = homeserver.subscribe();
    for txn in ["one", "one", "two"] {
        let url = format!("{rooms}/{ROOM}/send/m.call.answer/{txn}?user_id={TEL}");
        assert_eq!(put(&url, "as").await, 200);
    }
    assert_eq!(sent.recv().await.unwrap().event_type, "m.call.answer");
    assert_eq!(sent.recv().await.unwrap().sender, TEL);
    assert!(sent.try_recv().is_err());
}

#[tokio::test]
async fn who_is_not_in_the_room_or_has_no_token_sends_nothing() {
    let (_homeserver, rooms) = homeserver().await;
    let stranger = format!("{rooms}/{ROOM}/send/m.call.answer/1?user_id=@tel_2:localtest");
    assert_eq!(put(&stranger, "as").await, 403);
    let member = format!("{rooms}/{ROOM}/send/m.call.answer/1?user_id={TEL}");
    assert_eq!(put(&member, "another").await, 401);
}

#[tokio::test]
async fn what_is_carried_out_late_and_repeated_in_time_stands_once() {
    let (homeserver, rooms) = homeserver().await;
    let mut sent = homeserver.subscribe();
    let late = Duration::from_millis(200);
    homeserver.late("/send/", Late::Everything, late, 1);
    let url = format!("{rooms}/{ROOM}/send/m.call.answer/one?user_id={TEL}");
    let first = tokio::spawn({
        let url = url.clone();
        async move { put(&url, "as").await }
    });
    // Its fate is known once it has come.
    until("the first one", Duration::from_secs(10), async || {
        let is_met = homeserver.shared.known().troubles == Troubles::default();
        is_met.then_some(())
    })
    .await
    .unwrap();
    assert_eq!(put(&url, "as").await, 200);
    sent.recv().await.unwrap();
    assert_eq!(first.await.unwrap(), 200);
    assert!(sent.try_recv().is_err());
}
