//! A call's queue: what it is told, and what happens when it is told too much.

use mxtrunk_call::{LegId, Reason};
use mxtrunk_matrix::IncomingCallEvent;
use mxtrunk_matrix::call_events::CallEventIn;
use mxtrunk_matrix::voip_v1::SendOutcome;
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use ruma::OwnedUserId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::calls::LegEntry;
use crate::incoming;
use crate::phone_side::PhoneLeg;

/// What a call may have waiting. A client's candidates and a trunk's retransmissions stay far below.
pub(crate) const INBOX: usize = 256;

/// What a call is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// An event of its room.
    Matrix(IncomingCallEvent),
    /// What became of an event that it sent.
    Sent(SendOutcome),
    /// News of one of its SIP legs.
    Sip(LegId, sip::Happened),
    /// News of the media of a leg.
    Media(LegId, media::Happened),
    /// Its person has put this telephone, of another call, in their own place; `None`: it did not come.
    Adopt(Option<Box<Adopted>>),
    /// Its person wants its telephone in the place of their own in another call.
    Yield(Wish),
    /// Somebody has left its room.
    Left(OwnedUserId),
    /// Somebody has said something in its room that cannot be read.
    Unreadable(OwnedUserId),
    /// A telephone calls to take the place of one of its telephones.
    Replaced(Box<Replacing>),
    /// The gateway wants it to end.
    Finish(Reason),
}

/// A telephone that calls to take the place of another one.
#[derive(Debug)]
pub(crate) struct Replacing {
    pub(crate) replaced: LegId,
    /// Its own leg.
    pub(crate) entry: LegEntry,
    pub(crate) invite: incoming::Invite,
}

/// A person wants the telephones of two calls joined; this tells the one of the other.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Whose wish it is.
    pub(crate) user: OwnedUserId,
    /// The other call.
    pub(crate) other: CallInbox,
    /// Its telephone, and over which trunk that is reached.
    pub(crate) phone: LegId,
    pub(crate) trunk: sip::TrunkName,
    /// The number of that telephone.
    pub(crate) number: String,
    /// A line pays for it by limits, which the PBX does not keep.
    pub(crate) is_bounded: bool,
}

/// A telephone leg that goes over from one call to another.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) phone: PhoneLeg,
    pub(crate) number: String,
    pub(crate) entry: LegEntry,
}

/// The near end of a call's queue.
#[derive(Debug, Clone)]
pub(crate) struct CallInbox {
    queue: mpsc::Sender<Box<Told>>,
    overwhelmed: CancellationToken,
}

/// The far end of a call's queue.
#[derive(Debug)]
pub(crate) struct CallMail {
    /// Boxes: a queue holds room for 32, were it empty.
    pub(crate) queue: mpsc::Receiver<Box<Told>>,
    /// Cancelled when something that comes only once did not fit.
    pub(crate) overwhelmed: CancellationToken,
}

impl CallInbox {
    /// A queue, and its far end.
    pub(crate) fn new() -> (Self, CallMail) {
        let (near, far) = mpsc::channel(INBOX);
        let overwhelmed = CancellationToken::new();
        let mail = CallMail {
            queue: far,
            overwhelmed: overwhelmed.clone(),
        };
        (
            CallInbox {
                queue: near,
                overwhelmed,
            },
            mail,
        )
    }

    /// Whether both are of the same call.
    pub(crate) fn is(&self, other: &CallInbox) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// Tells the call what has to have an answer; `false`: it is over, or drowning, and gives none.
    pub(crate) fn ask(&self, told: Told) -> bool {
        self.queue.try_send(Box::new(told)).is_ok()
    }

    /// Tells the call. Candidates leave room for what comes only once; where even that does not fit, the call
    /// is drowning in what a peer sends, and ends.
    pub(crate) fn tell(&self, told: Told) {
        if told.is_candidates() && self.queue.capacity() < INBOX / 2 {
            debug!("a call's queue is half full: candidates were dropped");
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(Box::new(told)) {
            warn!("a call's queue is full: ending the call");
            self.overwhelmed.cancel();
        }
    }
}

impl Told {
    fn is_candidates(&self) -> bool {
        matches!(self, Told::Matrix(event) if matches!(event.event, CallEventIn::Candidates { .. }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::{EventId, RoomId, UserId};

    use super::*;

    fn candidates() -> Told {
        Told::Matrix(IncomingCallEvent {
            room: RoomId::parse("!room:localtest").unwrap(),
            sender: UserId::parse("@alice:localtest").unwrap(),
            event_id: EventId::parse("$event").unwrap(),
            age: Duration::ZERO,
            virtual_user: UserId::parse("@tel_600:localtest").unwrap(),
            number: "600".into(),
            event: CallEventIn::Candidates {
                call_id: "call".into(),
                party_id: None,
                candidates: vec!["candidate:1".into()],
            },
        })
    }

    #[tokio::test]
    async fn a_flood_of_candidates_leaves_room_for_the_hangup() {
        let (inbox, mut mail) = CallInbox::new();
        for _ in 0..10 * INBOX {
            inbox.tell(candidates());
        }
        inbox.tell(Told::Finish(Reason::HungUp));
        assert!(!mail.overwhelmed.is_cancelled());
        let mut last = None;
        while let Ok(told) = mail.queue.try_recv() {
            last = Some(told);
        }
        assert!(matches!(
            last.as_deref(),
            Some(Told::Finish(Reason::HungUp))
        ));
    }

    #[tokio::test]
    async fn a_queue_that_loses_what_comes_only_once_ends_its_call() {
        let (inbox, mail) = CallInbox::new();
        for _ in 0..=INBOX {
            inbox.tell(Told::Finish(Reason::HungUp));
        }
        assert!(mail.overwhelmed.is_cancelled());
    }
}
