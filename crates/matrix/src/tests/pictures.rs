use axum::http::StatusCode;
use ruma::user_id;

use super::*;
use crate::Resident;
use crate::catalogue::Language;

const PICTURE: &str = "mxc://localtest/1";

impl Scene {
    async fn pictured() -> Self {
        let homeserver = FakeHomeserver::start().await;
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("mxtrunk.db");
        let (service, events) = serve_with(&homeserver, &database, 16, |_| {}).await;
        Scene::of(homeserver, service, events, database, directory)
    }

    async fn restart_pictured(&mut self) {
        self.service.clone().shutdown().await;
        let served = serve_with(&self.homeserver, &self.database, 16, |_| {}).await;
        (self.service, self.events) = served;
    }

    async fn call_600(&self) {
        let made = self.service.ensure_virtual_user("600", "Echo");
        made.await.unwrap();
    }

    async fn is_borne_by(&self, user: &str) {
        until(&format!("{user} bears the picture"), || {
            let known = self.homeserver.known();
            known
                .pictures
                .get(user)
                .is_some_and(|borne| borne == PICTURE)
        })
        .await;
    }

    async fn icon(&self) -> Value {
        let path = "/thirdparty/protocol/m.protocol.pstn";
        self.get(path).await.1["icon"].clone()
    }
}

#[tokio::test]
async fn numbers_rooms_and_dial_pad_have_the_picture_that_is_uploaded_once() {
    let mut scene = Scene::pictured().await;
    let resident = Resident {
        user: user_id!("@alice:localtest").to_owned(),
        language: Language::English,
    };
    scene.service.keep_homes(vec![resident.clone()]);
    scene.call_600().await;
    scene.is_borne_by(TEL).await;
    scene.is_borne_by("@mxtrunk:localtest").await;
    assert_eq!(scene.icon().await, PICTURE);
    {
        let known = scene.homeserver.known();
        let (content_type, png) = &known.uploads[0];
        assert_eq!(content_type, "image/png");
        assert!(png.starts_with(b"\x89PNG\r\n"));
    }
    until("space and history bear it", || {
        let known = scene.homeserver.known();
        let avatar = ("m.room.avatar".to_owned(), String::new());
        let bears = |room: &&crate::fake_homeserver::FakeRoom| {
            room.state
                .get(&avatar)
                .is_some_and(|content| content["url"] == PICTURE)
        };
        known.rooms.values().filter(bears).count() == 2
    })
    .await;

    scene.restart_pictured().await;
    until("the start is over", || scene.homeserver.known().pings == 2).await;
    scene.service.keep_homes(vec![resident]);
    let made = scene.service.ensure_virtual_user("601", "Bob");
    made.await.unwrap();
    scene.is_borne_by("@tel_601:localtest").await;
    assert_eq!(scene.icon().await, PICTURE);
    assert_eq!(scene.homeserver.known().uploads.len(), 1);
}

#[tokio::test]
async fn a_homeserver_without_room_for_pictures_is_told_of_and_left_alone_and_calls_go_on() {
    let homeserver = FakeHomeserver::start().await;
    homeserver.known().takes_no_uploads = true;
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("mxtrunk.db");
    let (service, events) = serve_with(&homeserver, &database, 16, |_| {}).await;
    let scene = Scene::of(homeserver, service, events, database, directory);
    let asked = || {
        let known = scene.homeserver.known();
        let uploads = known
            .requests
            .iter()
            .filter(|asked| asked.ends_with("/upload"));
        uploads.count()
    };
    until("it was asked", || asked() == 1).await;
    scene.call_600().await;
    assert_eq!(scene.icon().await, "");
    assert!(scene.homeserver.known().pictures.is_empty());
    assert_eq!(asked(), 1);
}

#[tokio::test]
async fn a_picture_that_a_failing_homeserver_did_not_take_comes_later() {
    let homeserver = FakeHomeserver::start().await;
    homeserver.known().trouble = Some((2, StatusCode::BAD_GATEWAY));
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("mxtrunk.db");
    let (service, events) = serve_with(&homeserver, &database, 16, |_| {}).await;
    let scene = Scene::of(homeserver, service, events, database, directory);
    scene.call_600().await;
    scene.is_borne_by(TEL).await;
    assert_eq!(scene.homeserver.known().uploads.len(), 1);
}
