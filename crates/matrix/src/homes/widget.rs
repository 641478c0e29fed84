//! The widget in the history room: two state events, which lead Element to the page that shows a person their line.

use mxtrunk_store::Home;
use ruma::RoomId;
use serde_json::{Value, json};

use crate::appservice::Inner;
use crate::catalogue::Language;
use crate::homeserver::HomeserverError;

/// Its id, and the key of its state event: one in each history.
const ID: &str = "org.mxtrunk.line";

const WIDGET: &str = "im.vector.modular.widgets";
const LAYOUT: &str = "io.element.widgets.layout";

/// What part of the room's height it has above the history, percent.
const HEIGHT: u8 = 45;

impl Inner {
    /// Puts the widget there, has it lead where it should, or takes it away.
    pub(super) async fn settle_widget(
        &self,
        history: &RoomId,
        language: Language,
        home: &mut Home,
    ) -> Result<(), HomeserverError> {
        let states = match (&self.widget, &home.widget) {
            (None, None) => return Ok(()),
            (None, Some(_)) => [json!({}), json!({})],
            (Some(url), _) => {
                let creator = self.namespace.service_account();
                [widget(url, creator.as_str(), language), layout()]
            }
        };
        let [widget, layout] = states;
        for (event_type, key, content) in [(WIDGET, ID, widget), (LAYOUT, "", layout)] {
            let homeserver = &self.homeserver;
            homeserver
                .set_state(history, None, event_type, key, &content)
                .await?;
        }
        home.widget.clone_from(&self.widget);
        Ok(())
    }

    /// What a history that was found again has, for a store that knows nothing of it.
    pub(super) async fn adopt_widget(
        &self,
        history: &RoomId,
        home: &mut Home,
    ) -> Result<(), HomeserverError> {
        let state = self.homeserver.all_state(history).await?;
        let widget = state
            .into_iter()
            .find(|(event_type, key, _)| event_type == WIDGET && key == ID);
        let url = widget.and_then(|(.., content)| Some(content.get("url")?.as_str()?.to_owned()));
        home.widget = url;
        Ok(())
    }
}

/// Element fills in what begins with a dollar sign (MSC2873), and adds the widget's id and its own address. Who looks at
/// it does not stand there: the page asks for proof (OpenID).
fn widget(url: &str, creator: &str, language: Language) -> Value {
    let name = language.phrases().widget;
    let url = format!(
        "{url}?theme=$org.matrix.msc2873.client_theme&lang=$org.matrix.msc2873.client_language"
    );
    json!({
        "id": ID, "type": "m.custom", "name": name, "url": url, "creatorUserId": creator,
        "waitForIframeLoad": true, "data": { "title": "" },
    })
}

/// Above the history, in its whole width.
fn layout() -> Value {
    json!({ "widgets": { ID: { "container": "top", "index": 0, "width": 100, "height": HEIGHT } } })
}
