//! The SIP dialogs of one call, as they are written down: what it takes to end every telephone of it after a crash.

use std::collections::BTreeMap;

use mxtrunk_call::LegId;
use mxtrunk_sip::DialogSnapshot;
use tracing::warn;

/// Those that there are, by leg. Two, while or after one telephone takes the place of another, or of the person.
#[derive(Debug, Default)]
pub(crate) struct Dialogs(BTreeMap<LegId, DialogSnapshot>);

impl Dialogs {
    pub(crate) fn keep(&mut self, leg: LegId, dialog: &DialogSnapshot) {
        self.0.insert(leg, dialog.clone());
    }

    pub(crate) fn has(&self, leg: LegId) -> bool {
        self.0.contains_key(&leg)
    }

    /// The leg is gone. `false`: it had no dialog.
    pub(crate) fn forget(&mut self, leg: LegId) -> bool {
        self.0.remove(&leg).is_some()
    }

    /// One as it stands, more as a list; nothing where there is none.
    pub(crate) fn write(&self) -> Option<String> {
        let mut all = self.0.values();
        let written = match (all.next(), all.next()) {
            (None, _) => return None,
            (Some(only), None) => serde_json::to_string(only),
            (Some(_), Some(_)) => serde_json::to_string(&self.0.values().collect::<Vec<_>>()),
        };
        written
            .inspect_err(|error| warn!(%error, "a dialog could not be written down"))
            .ok()
    }
}

/// What [`Dialogs::write`] wrote, in this version or an earlier one; what cannot be read is nobody's.
pub(crate) fn read(text: &str) -> Vec<DialogSnapshot> {
    let one = serde_json::from_str(text).map(|one| vec![one]);
    one.or_else(|_| serde_json::from_str(text))
        .inspect_err(|error| warn!(%error, "the dialogs of an orphaned call cannot be read"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxtrunk_sip::{Transport, TrunkName};

    fn dialog(call_id: &str) -> DialogSnapshot {
        DialogSnapshot {
            trunk: TrunkName("pbx".into()),
            transport: Transport::Udp,
            call_id: call_id.into(),
            local: "<sip:2001@192.0.2.9>".into(),
            local_tag: "l".into(),
            remote: "<sip:1001@192.0.2.1>".into(),
            remote_tag: "r".into(),
            local_cseq: 0,
            remote_target: "sip:1001@192.0.2.1:5060".into(),
            route_set: Vec::new(),
            peer: ([192, 0, 2, 1], 5060).into(),
            account: None,
            refusal: None,
        }
    }

    #[test]
    fn both_telephones_of_a_call_are_read_back_and_the_one_of_an_earlier_version_too() {
        let mut dialogs = Dialogs::default();
        assert_eq!(dialogs.write(), None);
        dialogs.keep(LegId(2), &dialog("first"));
        let text = dialogs.write().expect("there is one");
        let before = serde_json::to_string(&dialog("first")).expect("plain data");
        assert_eq!(text, before);
        assert_eq!(read(&text), [dialog("first")]);
        dialogs.keep(LegId(3), &dialog("second"));
        let text = dialogs.write().expect("there are two");
        assert_eq!(read(&text), [dialog("first"), dialog("second")]);
        assert!(dialogs.forget(LegId(2)));
        assert!(!dialogs.forget(LegId(2)));
        let text = dialogs.write().expect("there is one");
        assert_eq!(read(&text), [dialog("second")]);
        assert!(read("junk").is_empty());
    }
}
