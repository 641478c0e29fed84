//! Dialog information: `application/dialog-info+xml` (RFC 4235), and what it
//! means for the line.

use std::collections::BTreeMap;

use roxmltree::{Document, Node, ParsingOptions};

/// What a line is doing, by its dialogs at the PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// A call comes in, and nobody has answered it.
    Ringing,
    /// It is in a call, or places one.
    Busy,
}

/// The longest document that is read, in bytes; a dialog takes some 500.
const LONGEST: usize = 64 * 1024;
/// The most nodes of one.
const MAX_NODES: u32 = 5_000;
/// The most dialogs of a line that are kept.
const MAX_DIALOGS: usize = 64;
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";

/// Why a document is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialogsError {
    #[error("{0} bytes are too many")]
    TooLong(usize),
    #[error("not UTF-8")]
    NotUtf8,
    /// Entities are none that we expand: a document type is refused.
    #[error("not XML: {0}")]
    NotXml(#[from] roxmltree::Error),
    #[error("no dialog-info with a version and a state")]
    NotDialogInfo,
    #[error("more than {MAX_DIALOGS} dialogs")]
    TooMany,
}

/// How a document fits to those before it (RFC 4235 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The next one, or a full one.
    InOrder,
    /// It is older than what is known, and changed nothing.
    Old,
    /// One before it is missing: the whole has to be asked for.
    Gap,
}

/// The dialogs of a line.
#[derive(Debug, Default)]
pub(crate) struct Dialogs {
    version: Option<u64>,
    by_id: BTreeMap<String, Activity>,
}

impl Dialogs {
    /// Takes a document over. One that cannot be read changes nothing.
    pub(crate) fn take(&mut self, body: &[u8]) -> Result<Fit, DialogsError> {
        if body.len() > LONGEST {
            return Err(DialogsError::TooLong(body.len()));
        }
        let text = std::str::from_utf8(body).map_err(|_| DialogsError::NotUtf8)?;
        let options = ParsingOptions {
            allow_dtd: false,
            nodes_limit: MAX_NODES,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(text.trim_start(), options)?;
        let info = Info::read(document.root_element()).ok_or(DialogsError::NotDialogInfo)?;
        let fit = self.fit(&info);
        if fit == Fit::Old {
            return Ok(fit);
        }
        let mut by_id = match info.full {
            true => BTreeMap::new(),
            false => self.by_id.clone(),
        };
        for (id, activity) in info.dialogs {
            match activity {
                Activity::Idle => by_id.remove(&id),
                Activity::Ringing | Activity::Busy => by_id.insert(id, activity),
            };
        }
        if by_id.len() > MAX_DIALOGS {
            return Err(DialogsError::TooMany);
        }
        (self.by_id, self.version) = (by_id, Some(info.version));
        Ok(fit)
    }

    /// What the line is doing: in a call goes before ringing.
    pub(crate) fn activity(&self) -> Activity {
        let all = self.by_id.values();
        match (self.by_id.is_empty(), { all }.any(|a| *a == Activity::Busy)) {
            (true, _) => Activity::Idle,
            (false, true) => Activity::Busy,
            (false, false) => Activity::Ringing,
        }
    }

    /// A full document is taken whatever its version: the CSeq of its NOTIFY
    /// has put it in order, and a PBX that was started anew counts from 0.
    fn fit(&self, info: &Info) -> Fit {
        match self.version {
            _ if info.full => Fit::InOrder,
            None => Fit::Gap,
            Some(version) if info.version <= version => Fit::Old,
            Some(version) if info.version - version > 1 => Fit::Gap,
            Some(_) => Fit::InOrder,
        }
    }
}

/// A document as it stands.
struct Info {
    version: u64,
    full: bool,
    dialogs: Vec<(String, Activity)>,
}

impl Info {
    fn read(root: Node<'_, '_>) -> Option<Self> {
        if !root.has_tag_name((NAMESPACE, "dialog-info")) {
            return None;
        }
        let dialogs = root
            .children()
            .filter(|node| node.has_tag_name((NAMESPACE, "dialog")))
            .filter_map(|dialog| Some((dialog.attribute("id")?.to_owned(), activity(dialog)?)));
        Some(Self {
            version: root.attribute("version")?.trim().parse().ok()?,
            full: match root.attribute("state")?.trim() {
                "full" => true,
                "partial" => false,
                _ => return None,
            },
            dialogs: dialogs.collect(),
        })
    }
}

/// What one dialog means (RFC 4235 §3.7.1, §4.1.3). The caller of a call that
/// is not answered yet is busy; who does not say which side it is is called.
fn activity(dialog: Node<'_, '_>) -> Option<Activity> {
    let mut children = dialog.children();
    let state = children.find(|node| node.has_tag_name((NAMESPACE, "state")))?;
    let calls = dialog.attribute("direction") == Some("initiator");
    match state.text().unwrap_or_default().trim() {
        "terminated" => Some(Activity::Idle),
        "confirmed" => Some(Activity::Busy),
        "trying" | "proceeding" | "early" if calls => Some(Activity::Busy),
        "trying" | "proceeding" | "early" => Some(Activity::Ringing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: u64, state: &str, dialogs: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<dialog-info xmlns=\"{NAMESPACE}\" version=\"{version}\" \
             state=\"{state}\" entity=\"sip:2001@pbx\">{dialogs}</dialog-info>"
        )
    }

    fn dialog(id: &str, attributes: &str, state: &str) -> String {
        format!("<dialog id=\"{id}\" {attributes}><state>{state}</state></dialog>")
    }

    fn take(dialogs: &mut Dialogs, text: &str) -> Fit {
        dialogs.take(text.as_bytes()).expect("a sound document")
    }

    fn activity_of(content: &str) -> Activity {
        let mut dialogs = Dialogs::default();
        take(&mut dialogs, &document(0, "full", content));
        dialogs.activity()
    }

    #[test]
    fn dialogs_say_whether_the_line_is_idle_rings_or_is_busy() {
        let recipient = "direction=\"recipient\"";
        let initiator = "direction=\"initiator\"";
        let ringing = dialog("a", recipient, "early");
        let talking = dialog("b", "", "confirmed");
        assert_eq!(activity_of(""), Activity::Idle);
        assert_eq!(activity_of(&dialog("a", "", "terminated")), Activity::Idle);
        assert_eq!(activity_of(&ringing), Activity::Ringing);
        assert_eq!(activity_of(&dialog("a", "", "early")), Activity::Ringing);
        assert_eq!(
            activity_of(&dialog("a", initiator, "proceeding")),
            Activity::Busy
        );
        assert_eq!(activity_of(&(ringing + &talking)), Activity::Busy);
        // What a later RFC may add is passed over.
        assert_eq!(activity_of(&dialog("a", "", "parked")), Activity::Idle);
    }

    #[test]
    fn a_partial_document_changes_the_dialogs_that_it_names() {
        let mut dialogs = Dialogs::default();
        let two = dialog("a", "", "confirmed") + &dialog("b", "", "early");
        take(&mut dialogs, &document(4, "full", &two));
        let a_is_over = document(5, "partial", &dialog("a", "", "terminated"));
        assert_eq!(take(&mut dialogs, &a_is_over), Fit::InOrder);
        assert_eq!(dialogs.activity(), Activity::Ringing);
        let full = document(6, "full", "");
        assert_eq!(take(&mut dialogs, &full), Fit::InOrder);
        assert_eq!(dialogs.activity(), Activity::Idle);
    }

    #[test]
    fn an_old_partial_document_changes_nothing_and_a_gap_is_seen() {
        let mut dialogs = Dialogs::default();
        let talks = |version| document(version, "partial", &dialog("a", "", "confirmed"));
        // Nothing full was there before.
        assert_eq!(take(&mut dialogs, &talks(3)), Fit::Gap);
        assert_eq!(dialogs.activity(), Activity::Busy);
        take(&mut dialogs, &document(4, "full", ""));
        for old in [3, 4] {
            assert_eq!(take(&mut dialogs, &talks(old)), Fit::Old);
            assert_eq!(dialogs.activity(), Activity::Idle);
        }
        assert_eq!(take(&mut dialogs, &talks(6)), Fit::Gap);
        assert_eq!(dialogs.activity(), Activity::Busy);
    }

    #[test]
    fn a_full_document_of_a_pbx_that_counts_from_0_again_is_taken() {
        let mut dialogs = Dialogs::default();
        take(
            &mut dialogs,
            &document(9, "full", &dialog("a", "", "early")),
        );
        assert_eq!(take(&mut dialogs, &document(0, "full", "")), Fit::InOrder);
        assert_eq!(dialogs.activity(), Activity::Idle);
    }

    #[test]
    fn a_pbx_may_count_its_documents_by_the_clock() {
        let mut dialogs = Dialogs::default();
        let now = 1_795_881_600_000;
        take(&mut dialogs, &document(now, "full", ""));
        let rings = dialog("a", "", "early");
        let fit = take(&mut dialogs, &document(now + 1, "partial", &rings));
        assert_eq!(fit, Fit::InOrder);
        assert_eq!(dialogs.activity(), Activity::Ringing);
    }

    #[test]
    fn a_prefix_for_the_namespace_is_read_too() {
        let text = format!(
            "<d:dialog-info xmlns:d=\"{NAMESPACE}\" version=\"1\" state=\"full\" entity=\"e\">\
             <d:dialog id=\"x\"><d:state event=\"cancelled\" code=\"487\"> confirmed </d:state>\
             </d:dialog></d:dialog-info>"
        );
        let mut dialogs = Dialogs::default();
        take(&mut dialogs, &text);
        assert_eq!(dialogs.activity(), Activity::Busy);
    }

    #[test]
    fn what_is_no_dialog_information_is_refused_and_changes_nothing() {
        let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaa\">]><d>&a;</d>";
        // Sound but for what it declares.
        let declares = document(2, "full", &dialog("a", "", "&s;")).replacen(
            "<dialog-info",
            "<!DOCTYPE dialog-info [<!ENTITY s \"confirmed\">]><dialog-info",
            1,
        );
        let elsewhere = document(1, "full", "").replace(NAMESPACE, "urn:x");
        let no_state = document(1, "whole", "");
        let no_version = document(1, "full", "").replace("version=\"1\" ", "version=\"-1\" ");
        let mut dialogs = Dialogs::default();
        take(
            &mut dialogs,
            &document(1, "full", &dialog("a", "", "early")),
        );
        for text in [
            "",
            "<",
            "nothing",
            bomb,
            &declares,
            &elsewhere,
            &no_state,
            &no_version,
        ] {
            assert!(dialogs.take(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(dialogs.take(&[0xff]), Err(DialogsError::NotUtf8));
        assert_eq!(dialogs.activity(), Activity::Ringing);
    }

    #[test]
    fn a_document_and_the_dialogs_kept_are_bounded() {
        let mut dialogs = Dialogs::default();
        let long = document(1, "full", &" ".repeat(LONGEST));
        assert!(matches!(
            dialogs.take(long.as_bytes()),
            Err(DialogsError::TooLong(_))
        ));
        let deep = document(1, "full", &"<a>".repeat(20_000));
        assert!(dialogs.take(deep.as_bytes()).is_err());
        let all: Vec<_> = (0..=MAX_DIALOGS)
            .map(|n| dialog(&format!("{n}"), "", "early"))
            .collect();
        let many = document(1, "full", &all.concat());
        assert_eq!(dialogs.take(many.as_bytes()), Err(DialogsError::TooMany));
        let fits = document(1, "full", &all[1..].concat());
        assert_eq!(dialogs.take(fits.as_bytes()), Ok(Fit::InOrder));
        let one_more = document(2, "partial", &all[0]);
        assert_eq!(
            dialogs.take(one_more.as_bytes()),
            Err(DialogsError::TooMany)
        );
    }
}
