use super::*;

#[tokio::test]
async fn a_look_up_gives_the_virtual_user_and_makes_it() {
    let scene = Scene::start().await;
    for protocol in ["m.protocol.pstn", "im.vector.protocol.pstn"] {
        let path = format!("/thirdparty/user/{protocol}?m.id.phone=600");
        let (status, reply) = scene.get(&path).await;
        let fields = json!({ "m.id.phone": "600" });
        let expected = json!([{ "userid": TEL, "protocol": protocol, "fields": fields }]);
        assert_eq!((status, reply), (200, expected));
    }
    let known = scene.homeserver.known();
    assert!(known.users.contains(TEL));
    assert_eq!(known.display_names[TEL], "600");
}

#[tokio::test]
async fn a_look_up_names_nobody_and_takes_no_name_away() {
    let scene = Scene::start().await;
    let look_up = "/thirdparty/user/m.protocol.pstn?m.id.phone=600";
    scene.get(look_up).await;
    assert_eq!(scene.homeserver.known().display_names[TEL], "600");
    let named = scene.service.ensure_virtual_user("600", "Bob (600)").await;
    assert_eq!(named.unwrap(), TEL);
    scene.get(look_up).await;
    assert_eq!(scene.homeserver.known().display_names[TEL], "Bob (600)");
}

const LOOK_UP: &str = "/thirdparty/user/m.protocol.pstn?m.id.phone=";

/// More than five seconds' worth at once, and more than comes back while they are asked.
const MANY: usize = 400;

/// Some, that would not all be answered once those are used up.
const SOME: usize = 100;

#[tokio::test]
async fn whoever_goes_through_all_numbers_is_slowed_down() {
    let scene = Scene::start().await;
    let statuses = scene.look_up(&format!("{LOOK_UP}600"), MANY).await;
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(scene.service.counts().lookups_refused > 0);
}

#[tokio::test]
async fn whoever_goes_through_all_users_is_slowed_down() {
    let scene = Scene::start().await;
    let statuses = scene.look_up("/users/@tel_600:localtest", MANY).await;
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(scene.service.counts().lookups_refused > 0);
}

/// Element looks up each number before it calls it: an account that looked up without end kept everybody from dialling 112.
#[tokio::test]
async fn whoever_uses_up_the_look_ups_keeps_nobody_from_calling_for_help() {
    let scene = Scene::start().await;
    let statuses = scene.look_up(&format!("{LOOK_UP}600"), MANY).await;
    assert!(statuses.contains(&429), "{statuses:?}");
    for path in [&format!("{LOOK_UP}112"), "/users/@tel_112:localtest"] {
        let statuses = scene.look_up(path, SOME).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    // Each way of writing it would be one more user at the homeserver.
    let statuses = scene.look_up("/users/@tel_1-12:localtest", MANY).await;
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn what_means_no_number_takes_no_look_up_from_those_who_dial() {
    let scene = Scene::start().await;
    for path in [
        &format!("{LOOK_UP}nonsense!"),
        "/users/@tel_nonsense:localtest",
        "/users/@alice:localtest",
    ] {
        let statuses = scene.look_up(path, SOME).await;
        assert!(!statuses.contains(&429), "{statuses:?}");
    }
    assert_eq!(scene.get(&format!("{LOOK_UP}600")).await.0, 200);
    assert_eq!(scene.service.counts().lookups_refused, 0);
}

impl Scene {
    /// The status of each answer, so often or until it is slowed down.
    async fn look_up(&self, path: &str, times: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        while statuses.len() < times && statuses.last() != Some(&429) {
            statuses.push(self.get(path).await.0);
        }
        statuses
    }

    /// Somebody invites the virtual user of 600 into a room of their own.
    async fn invites(&self, txn: &str, person: &str, room: &str) {
        self.homeserver.put_room(room, &[person]);
        let mut invite = member(person, TEL, "invite");
        invite["room_id"] = json!(room);
        assert_eq!(self.push(txn, json!([invite])).await.0, 200);
    }

    fn is_in(&self, room: &str) -> bool {
        let known = self.homeserver.known();
        let membership = known.rooms[room].memberships.get(TEL);
        membership.is_some_and(|word| word == "join")
    }
}

/// Anybody on the homeserver got the names of all extensions in that way.
#[tokio::test]
async fn a_person_without_a_line_who_invites_a_number_learns_no_name() {
    let scene = Scene::start().await;
    scene.invites("1", MALLORY, "!hers").await;
    until("it came", || scene.is_in("!hers")).await;
    assert_eq!(scene.homeserver.known().display_names[TEL], "600");
    scene.invites("2", ALICE, ROOM).await;
    until("it came to Alice, too", || scene.is_in(ROOM)).await;
    assert_eq!(scene.homeserver.known().display_names[TEL], "Tel. 600");
    scene.invites("3", MALLORY, "!again").await;
    until("it came once more", || scene.is_in("!again")).await;
    assert_eq!(scene.homeserver.known().display_names[TEL], "Tel. 600");
}

#[tokio::test]
async fn invites_without_end_by_people_without_a_line_are_not_accepted_and_those_with_one_do_not_wait()
 {
    let scene = Scene::start().await;
    for n in 0..50 {
        let number = n.to_string();
        scene.invites(&number, MALLORY, &format!("!{number}")).await;
    }
    assert!(scene.service.counts().lookups_refused > 0);
    scene.invites("last", ALICE, ROOM).await;
    until("it came to Alice", || scene.is_in(ROOM)).await;
    let known = scene.homeserver.known();
    let joined = known.rooms.values();
    let joined = joined.filter(|room| room.memberships.get(TEL).is_some_and(|m| m == "join"));
    assert!(joined.count() < 50);
}

#[tokio::test]
async fn a_number_is_understood_however_it_was_typed_and_encoded() {
    let scene = Scene::start().await;
    let expected = [
        ("%2B49%2030-123", "@tel_+4930123:localtest"),
        ("+49 30 123", "@tel_+4930123:localtest"),
        ("+4930123", "@tel_+4930123:localtest"),
        ("*98", "@tel_=2a98:localtest"),
        ("%2331%23", "@tel_=2331=23:localtest"),
    ];
    for (typed, mxid) in expected {
        let path = format!("/thirdparty/user/m.protocol.pstn?m.id.phone={typed}");
        let (_, reply) = scene.get(&path).await;
        assert_eq!(reply[0]["userid"], mxid, "{typed}");
    }
}

#[tokio::test]
async fn what_cannot_be_called_is_not_found() {
    let scene = Scene::start().await;
    let paths = [
        "/thirdparty/user/m.protocol.pstn?m.id.phone=nonsense!",
        "/thirdparty/user/m.protocol.pstn?m.id.phone=",
        "/thirdparty/user/m.protocol.pstn",
        "/thirdparty/user/im.vector.protocol.sip_native?m.id.phone=600",
        "/thirdparty/user/unheard.of?m.id.phone=600",
        "/thirdparty/user?userid=@alice:localtest",
        "/thirdparty/user",
        "/thirdparty/location/m.protocol.pstn",
        "/thirdparty/location",
    ];
    for path in paths {
        assert_eq!(scene.get(path).await, (200, json!([])), "{path}");
    }
}

#[tokio::test]
async fn a_look_up_without_a_homeserver_is_no_empty_answer() {
    let scene = Scene::start().await;
    scene.homeserver.known().trouble = Some((u32::MAX, axum::http::StatusCode::FORBIDDEN));
    let (status, _) = scene
        .get("/thirdparty/user/m.protocol.pstn?m.id.phone=600")
        .await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn a_virtual_user_tells_its_number() {
    let scene = Scene::start().await;
    let (_, reply) = scene
        .get("/thirdparty/user?userid=@tel_=2a98:localtest")
        .await;
    assert_eq!(reply[0]["fields"]["m.id.phone"], "*98");
}

#[tokio::test]
async fn both_telephone_protocols_have_an_instance() {
    let scene = Scene::start().await;
    for protocol in crate::PROTOCOLS {
        let (status, reply) = scene.get(&format!("/thirdparty/protocol/{protocol}")).await;
        assert_eq!(status, 200);
        assert_eq!(reply["instances"].as_array().map(Vec::len), Some(1));
        assert_eq!(reply["user_fields"], json!(["m.id.phone"]));
    }
    assert_eq!(scene.get("/thirdparty/protocol/irc").await.0, 404);
}

#[tokio::test]
async fn a_user_exists_when_its_number_can_be_called() {
    let scene = Scene::start().await;
    assert_eq!(
        scene.get("/users/@tel_600:localtest").await,
        (200, json!({}))
    );
    assert!(scene.homeserver.known().users.contains(TEL));
    for user in [
        "@tel_nonsense:localtest",
        "@alice:localtest",
        "@tel_600:elsewhere",
        "600",
    ] {
        let (status, reply) = scene.get(&format!("/users/{user}")).await;
        assert_eq!(
            (status, &reply["errcode"]),
            (404, &json!("M_NOT_FOUND")),
            "{user}"
        );
    }
}

#[tokio::test]
async fn there_are_no_aliases_and_no_other_endpoints() {
    let scene = Scene::start().await;
    let (status, reply) = scene.get("/rooms/%23a:localtest").await;
    assert_eq!((status, &reply["errcode"]), (404, &json!("M_NOT_FOUND")));
    let (status, reply) = scene.get("/no/such/thing").await;
    assert_eq!((status, &reply["errcode"]), (404, &json!("M_UNRECOGNIZED")));
    let (status, reply) = scene.get("/transactions/1").await;
    assert_eq!((status, &reply["errcode"]), (405, &json!("M_UNRECOGNIZED")));
}

#[tokio::test]
async fn a_ping_is_answered() {
    let scene = Scene::start().await;
    let ping = scene.http.post(scene.url("/ping")).bearer_auth("hs-token");
    assert_eq!(answer(ping.body("{}")).await, (200, json!({})));
}

#[tokio::test]
async fn an_invited_virtual_user_is_made_and_joins() {
    let scene = Scene::start().await;
    scene.homeserver.put_room(ROOM, &[ALICE]);
    scene.push("1", json!([member(ALICE, TEL, "invite")])).await;
    let joined = || {
        let known = scene.homeserver.known();
        known.rooms[ROOM]
            .memberships
            .get(TEL)
            .is_some_and(|word| word == "join")
    };
    until("the virtual user joined", joined).await;
    let rooms = scene.store().rooms_of(ALICE, TEL).await.unwrap();
    assert_eq!(rooms[0].room_id, ROOM);
}

#[tokio::test]
async fn a_virtual_user_does_not_follow_a_stranger_from_elsewhere() {
    let scene = Scene::start().await;
    scene.homeserver.put_room(ROOM, &["@alice:elsewhere"]);
    scene
        .push("1", json!([member("@alice:elsewhere", TEL, "invite")]))
        .await;
    assert_eq!(scene.store().room(ROOM).await.unwrap(), None);
}

#[tokio::test]
async fn a_room_that_cannot_be_joined_is_forgotten() {
    let scene = Scene::start().await;
    scene.push("1", json!([member(ALICE, TEL, "invite")])).await;
    let gave_up = async {
        while scene.store().room(ROOM).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, gave_up).await.is_ok());
}
