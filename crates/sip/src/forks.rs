//! The early dialogs of an INVITE of ours (RFC 3261 §12.1.2): a proxy may ring several phones for it, and each that
//! answers provisionally has a dialog, a description and a CSeq of its own.

use rsipstack::sip::{HeadersExt, Request, Response};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::snapshot::{self, DialogSnapshot};

/// Early dialogs that are kept apart; of further ones only the 200 counts.
const FORKS: usize = 16;

/// All early dialogs of one INVITE.
#[derive(Default)]
pub(crate) struct Forks {
    all: Vec<Fork>,
    /// The peer's offer that waits for our side; one at a time, whosever it is.
    pub(crate) offer: Option<Offer>,
}

/// One early dialog.
pub(crate) struct Fork {
    pub(crate) dialog: DialogSnapshot,
    /// The peer's last answer to our offer.
    answer: Option<String>,
    /// What it has offered since, and we took (UPDATE).
    updated: Option<String>,
    /// Our last description, where that is not the INVITE's.
    said: Option<String>,
    /// CSeq number of the peer's last request.
    remote_cseq: Option<u32>,
    /// It has said that it knows UPDATE (RFC 3311).
    takes_update: bool,
}

/// An offer in an UPDATE.
pub(crate) struct Offer {
    tx: Box<Transaction>,
    tag: String,
    sdp: String,
    /// When it is refused if our side says nothing.
    pub(crate) until: Instant,
}

/// Why an UPDATE with an offer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// It is of no dialog that we know.
    Unknown,
    /// It came after one with a higher number (§12.2.2).
    OutOfOrder,
    /// Our INVITE's offer has no answer in this dialog yet: the two have crossed (RFC 3311 §5.2).
    Crossed,
    /// Another offer of the peer has no answer yet (RFC 3311 §5.2).
    Pending,
}

/// What a dialog that was answered takes over from its early time.
pub(crate) struct Agreed {
    /// The peer's description.
    pub(crate) heard: Option<String>,
    /// Ours, where that is not the INVITE's.
    pub(crate) said: Option<String>,
    pub(crate) remote_cseq: Option<u32>,
}

impl Forks {
    /// The early dialog that a provisional response makes or belongs to; `None` where there are too many.
    pub(crate) fn of(&mut self, dialog: &DialogSnapshot, response: &Response) -> Option<&mut Fork> {
        let tag = tag_of(response);
        let index = match self.position(&tag) {
            Some(index) => index,
            None if self.all.len() == FORKS => return None,
            None => {
                self.all.push(Fork {
                    dialog: dialog.clone(),
                    answer: None,
                    updated: None,
                    said: None,
                    remote_cseq: None,
                    takes_update: false,
                });
                self.all.len() - 1
            }
        };
        let fork = self.all.get_mut(index)?;
        fork.dialog.learn_from_response(response);
        // Without its route (RFC 3262 makes it known early) a request would come to nobody who knows the dialog.
        let is_reached = !fork.dialog.route_set.is_empty() || !snapshot::is_routed(response);
        fork.takes_update |= is_reached && snapshot::takes_update(response);
        Some(fork)
    }

    /// The dialog that is heard: the last one that has described early media, else the last there is.
    pub(crate) fn heard(&self) -> Option<&DialogSnapshot> {
        let forks = self.all.iter().rev();
        let mut forks = forks.filter(|fork| fork.is_dialog()).peekable();
        let last = forks.peek().copied();
        let heard = forks.find(|fork| fork.is_described()).or(last);
        heard.map(|fork| &fork.dialog)
    }

    /// The one early dialog there is, if it takes UPDATE. Of several each may be over without the others.
    pub(crate) fn only_one(&self) -> Option<&DialogSnapshot> {
        let mut dialogs = self.all.iter().filter(|fork| fork.is_dialog());
        match (dialogs.next(), dialogs.next()) {
            (Some(only), None) if only.takes_update => Some(&only.dialog),
            _ => None,
        }
    }

    fn position(&self, tag: &str) -> Option<usize> {
        self.all
            .iter()
            .position(|fork| fork.dialog.remote_tag == tag)
    }

    fn by_tag(&mut self, tag: &str) -> Option<&mut Fork> {
        let index = self.position(tag)?;
        self.all.get_mut(index)
    }

    /// Whether an UPDATE with an offer may be taken now.
    pub(crate) fn admit(&mut self, update: &Request) -> Result<(), NotNow> {
        let is_busy = self.offer.is_some();
        let fork = remote_tag(update).and_then(|tag| self.by_tag(&tag));
        let fork = fork.ok_or(NotNow::Unknown)?;
        if !fork.takes(update) {
            return Err(NotNow::OutOfOrder);
        }
        match (fork.answer.is_none(), is_busy) {
            (true, _) => Err(NotNow::Crossed),
            (false, true) => Err(NotNow::Pending),
            (false, false) => Ok(()),
        }
    }

    /// Keeps an UPDATE until our side has answered its offer.
    pub(crate) fn keep(&mut self, tx: Transaction, sdp: String, until: Instant) {
        self.offer = Some(Offer {
            tag: remote_tag(&tx.original).unwrap_or_default(),
            tx: Box::new(tx),
            sdp,
            until,
        });
    }

    /// An UPDATE without an offer refreshes its dialog's target.
    pub(crate) fn refresh(&mut self, request: &Request) {
        if let Some(fork) = remote_tag(request).and_then(|tag| self.by_tag(&tag))
            && fork.takes(request)
        {
            fork.dialog.take_remote_target(request);
        }
    }

    /// Our side answers the offer that waits: what its UPDATE is answered through.
    pub(crate) fn answer_offer(&mut self, sdp: &str) -> Option<Transaction> {
        let offer = self.offer.take()?;
        if let Some(fork) = self.by_tag(&offer.tag) {
            fork.updated = Some(offer.sdp);
            fork.said = Some(sdp.to_owned());
            fork.dialog.take_remote_target(&offer.tx.original);
        }
        Some(*offer.tx)
    }

    /// The offer that waits is not taken.
    pub(crate) fn drop_offer(&mut self) -> Option<Transaction> {
        self.offer.take().map(|offer| *offer.tx)
    }

    /// What the dialog of a 200 has agreed on by now. A 200 may repeat the answer of before an UPDATE, or hold none.
    pub(crate) fn agreed(&mut self, response: &Response, sdp: Option<String>) -> Agreed {
        let last = self.all.iter().rev().find_map(Fork::described).cloned();
        let Some(fork) = self.by_tag(&tag_of(response)) else {
            // Some change their tag between 183 and 200, and answer in the 183 alone.
            return Agreed {
                heard: sdp.or(last),
                said: None,
                remote_cseq: None,
            };
        };
        let is_repeated = sdp.is_none() || sdp == fork.answer;
        let heard = match fork.updated.take() {
            Some(updated) if is_repeated => Some(updated),
            _ => sdp.or(fork.answer.take()).or(last),
        };
        Agreed {
            heard,
            said: fork.said.take(),
            remote_cseq: fork.remote_cseq,
        }
    }
}

impl Fork {
    /// Takes the answer in a provisional response; true if it is news.
    pub(crate) fn describe(&mut self, sdp: &str) -> bool {
        if self.answer.as_deref() == Some(sdp) {
            return false;
        }
        self.answer = Some(sdp.to_owned());
        true
    }

    /// What 100 Trying has begun has no tag, and is none (§12.1).
    fn is_dialog(&self) -> bool {
        !self.dialog.remote_tag.is_empty()
    }

    /// Whether it has described early media.
    pub(crate) fn is_described(&self) -> bool {
        self.answer.is_some()
    }

    fn described(&self) -> Option<&String> {
        self.updated.as_ref().or(self.answer.as_ref())
    }

    /// Counts a request of the peer; false if it is out of order.
    fn takes(&mut self, request: &Request) -> bool {
        let cseq = request.cseq_header().ok().and_then(|cseq| cseq.seq().ok());
        let cseq = cseq.unwrap_or(0);
        if self.remote_cseq.is_some_and(|last| cseq <= last) {
            return false;
        }
        self.remote_cseq = Some(cseq);
        true
    }
}

fn remote_tag(request: &Request) -> Option<String> {
    snapshot::request_tags(request).map(|(_, _, remote)| remote)
}

fn tag_of(response: &Response) -> String {
    snapshot::remote_tag_of(response).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rsipstack::sip::Header;

    use super::*;
    use crate::snapshot::tests::sample;

    fn response(tag: &str) -> Response {
        Response {
            headers: vec![Header::To(format!("<sip:a@h>;tag={tag}").into())].into(),
            ..Response::default()
        }
    }

    fn described(tags: &[&str]) -> Forks {
        let mut forks = Forks::default();
        for tag in tags {
            let fork = forks.of(&sample(), &response(tag)).expect("room");
            assert!(fork.describe(tag));
        }
        forks
    }

    #[test]
    fn each_branch_has_a_description_of_its_own_which_is_news_once() {
        let mut forks = described(&["a", "b"]);
        let again = forks.of(&sample(), &response("a")).expect("it is known");
        assert!(!again.describe("a") && again.describe("a2"));
        assert_eq!(
            forks.agreed(&response("b"), None).heard.as_deref(),
            Some("b")
        );
        assert_eq!(
            forks.agreed(&response("a"), None).heard.as_deref(),
            Some("a2")
        );
    }

    #[test]
    fn an_answer_of_a_branch_that_nobody_knows_counts_by_itself_or_by_the_last_description() {
        let mut forks = described(&["a", "b"]);
        let own = forks.agreed(&response("c"), Some("c".into()));
        assert_eq!(own.heard.as_deref(), Some("c"));
        assert_eq!(
            forks.agreed(&response("c"), None).heard.as_deref(),
            Some("b")
        );
        assert_eq!(Forks::default().agreed(&response("c"), None).heard, None);
    }

    #[test]
    fn a_200_that_repeats_what_an_update_has_overtaken_changes_nothing() {
        let updated = || {
            let mut forks = described(&["a"]);
            forks.by_tag("a").expect("it is known").updated = Some("moved".into());
            forks
        };
        for (sdp, heard) in [(None, "moved"), (Some("a"), "moved"), (Some("new"), "new")] {
            let agreed = updated().agreed(&response("a"), sdp.map(String::from));
            assert_eq!(agreed.heard.as_deref(), Some(heard), "{sdp:?}");
        }
    }

    #[test]
    fn a_flood_of_branches_is_bounded() {
        let mut forks = Forks::default();
        let known = (0..100).filter(|n| forks.of(&sample(), &response(&n.to_string())).is_some());
        assert_eq!(known.count(), FORKS);
    }
}
