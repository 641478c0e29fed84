//! The widget above each history, and the language that a person has chosen.

use ruma::user_id;

use super::*;
use crate::Resident;
use crate::catalogue::Language;

const PAGE: &str = "https://phone.example.org/line/";

impl Scene {
    fn keep_alice(&self) {
        let user = user_id!("@alice:localtest").to_owned();
        let language = Language::English;
        self.service.keep_homes(vec![Resident { user, language }]);
    }

    async fn history(&self) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let home = self.store().home(ALICE).await.unwrap();
            if let Some(home) = home.filter(|home| home.settled) {
                return home.history.unwrap();
            }
            assert!(tokio::time::Instant::now() < deadline, "there is no home");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn state(&self, room: &str, event_type: &str, key: &str) -> Value {
        let known = self.homeserver.known();
        let key = (event_type.to_owned(), key.to_owned());
        let state = known.rooms[room].state.get(&key);
        state.cloned().unwrap_or(Value::Null)
    }

    fn widget(&self, room: &str) -> Value {
        self.state(room, "im.vector.modular.widgets", "org.mxtrunk.line")
    }

    async fn starts_with(&mut self, widget: Option<&str>) {
        self.widget = widget.map(str::to_owned);
        self.restart().await;
        self.keep_alice();
    }
}

#[tokio::test]
async fn the_widget_stands_above_the_history_moves_with_its_address_and_goes_with_its_section() {
    let mut scene = Scene::start().await;
    scene.keep_alice();
    let history = scene.history().await;
    assert_eq!(scene.widget(&history), Value::Null);

    scene.starts_with(Some(PAGE)).await;
    let leads = |scene: &Scene, url: &str| {
        let widget = scene.widget(&history);
        widget["url"]
            .as_str()
            .is_some_and(|found| found.starts_with(&format!("{url}?")))
    };
    until("the widget is there", || leads(&scene, PAGE)).await;
    let widget = scene.widget(&history);
    assert_eq!(widget["id"], "org.mxtrunk.line");
    assert_eq!(widget["type"], "m.custom");
    assert_eq!(widget["name"], "Your line");
    // Whoever may see the room's state learns nothing about anybody from it.
    assert!(!widget.to_string().contains("alice") && !widget.to_string().contains("user_id"));
    let place = || scene.state(&history, "io.element.widgets.layout", "");
    until("it has its place", || {
        place()["widgets"]["org.mxtrunk.line"]["container"] == "top"
    })
    .await;

    scene.starts_with(Some("https://other.example.org/")).await;
    until("it leads elsewhere", || {
        leads(&scene, "https://other.example.org/")
    })
    .await;

    scene.starts_with(None).await;
    until("it is gone", || scene.widget(&history) == json!({})).await;
    let gone = || scene.state(&history, "io.element.widgets.layout", "") == json!({});
    until("its place too", gone).await;
}

#[tokio::test]
async fn a_widget_of_a_run_whose_database_is_lost_goes_too() {
    let mut scene = Scene::start().await;
    scene.starts_with(Some(PAGE)).await;
    let history = scene.history().await;
    assert_ne!(scene.widget(&history), Value::Null);
    scene.database = scene._directory.path().join("another.db");
    scene.starts_with(None).await;
    assert_eq!(scene.history().await, history);
    until("it is gone", || scene.widget(&history) == json!({})).await;
}

#[tokio::test]
async fn a_home_whose_widget_stands_is_left_alone_after_a_restart() {
    let mut scene = Scene::start().await;
    scene.starts_with(Some(PAGE)).await;
    let history = scene.history().await;
    scene.starts_with(Some(PAGE)).await;
    scene.homeserver.known().requests.clear();
    // Another pass, which has something to do.
    let bob = user_id!("@bob:localtest").to_owned();
    let alice = user_id!("@alice:localtest").to_owned();
    let language = Language::English;
    let both = [alice, bob].map(|user| Resident { user, language });
    scene.service.keep_homes(both.to_vec());
    until("the second home is there", || {
        scene.homeserver.known().rooms.len() == 4
    })
    .await;
    let known = scene.homeserver.known();
    assert!(
        !known
            .requests
            .iter()
            .any(|request| request.contains(&history))
    );
}

#[tokio::test]
async fn the_language_that_a_person_has_chosen_goes_before_that_of_the_line() {
    let mut scene = Scene::start().await;
    scene.starts_with(Some(PAGE)).await;
    let history = scene.history().await;
    let alice = user_id!("@alice:localtest");
    assert_eq!(scene.service.language_of(alice), Language::English);
    scene.service.choose_language(alice, Language::French);
    assert_eq!(scene.service.language_of(alice), Language::French);
    until("the rooms and the widget are renamed", || {
        scene.state(&history, "m.room.name", "")["name"] == "Historique des appels"
            && scene.widget(&history)["name"] == "Votre ligne"
    })
    .await;
    // The file is read anew: what she has chosen still holds.
    scene.keep_alice();
    assert_eq!(scene.service.language_of(alice), Language::French);
}
