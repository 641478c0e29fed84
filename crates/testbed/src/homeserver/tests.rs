use super::*;

const ROOM: &str = "!room:localtest";
const TEL: &str = "@tel_1:localtest";

async fn homeserver() -> (Homeserver, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let registration = Registration {
        listen,
        server_name: "localtest".to_owned(),
        gateway: "http://127.0.0.1:9".to_owned(),
        as_token: "as".to_owned(),
        hs_token: "hs".to_owned(),
        sender: "mxtrunk".to_owned(),
        transactions: "test".to_owned(),
    };
    let homeserver = Homeserver::start(registration).await.unwrap();
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
