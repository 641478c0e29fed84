//! The vocabulary between a call and the two things it is made of: the signalling of its legs, and their media.

use std::fmt;

use crate::Reason;

/// One leg of one call; unique within the process, also across calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg{}", self.0)
    }
}

/// The network that a leg is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegKind {
    /// A Matrix client: its media is WebRTC, which is up only some time after the answer.
    Matrix,
    /// A telephone behind a SIP trunk: its media is plain RTP, which is up with the answer.
    Sip,
}

impl LegKind {
    /// Whether media needs a handshake after the answer. A person's first word would be lost if the
    /// other side were told "answered" before that handshake is through.
    #[must_use]
    pub fn media_follows_answer(self) -> bool {
        match self {
            LegKind::Matrix => true,
            LegKind::Sip => false,
        }
    }

    /// Whether the far end's own system can be asked to call somebody else ([`LegAction::Refer`]). A Matrix client has no
    /// ear for that.
    #[must_use]
    pub fn can_be_referred(self) -> bool {
        match self {
            LegKind::Matrix => false,
            LegKind::Sip => true,
        }
    }
}

/// A leg's identity: which one, and on which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leg {
    /// Its id.
    pub id: LegId,
    /// Its network.
    pub kind: LegKind,
}

/// A session description. Signalling passes it on and never looks inside.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sdp(pub String);

impl fmt::Debug for Sdp {
    // It holds addresses and key fingerprints of people, and fills a screen: the log needs neither.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sdp({} bytes)", self.0.len())
    }
}

impl From<&str> for Sdp {
    fn from(text: &str) -> Self {
        Sdp(text.to_owned())
    }
}

impl From<String> for Sdp {
    fn from(text: String) -> Self {
        Sdp(text)
    }
}

/// The device of a person that answered, as that person's network names it (Matrix: the party id).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device(pub String);

/// What a leg's signalling tells the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegEvent {
    /// The far end alerts the person (SIP 180, or 183; Matrix: the invite stands in the room). After early media: from
    /// here on it may leave the ringback to us.
    Ringing,
    /// The far end plays something before it answers (SIP 183 with SDP).
    EarlyMedia {
        /// Its answer to our offer, so far. Another telephone that rings for the same call has another one.
        sdp: Sdp,
    },
    /// A person picked up.
    Answered {
        /// The answer to our offer.
        sdp: Sdp,
        /// Which of the person's devices it was, where the network says so.
        device: Option<Device>,
    },
    /// The far end trickled ICE candidates, as `candidate:` lines. An empty line means "no more".
    Candidates(Vec<String>),
    /// The far end offers anew in the middle of the call (hold, resume, ICE restart, session refresh).
    Reoffered {
        /// The new offer.
        sdp: Sdp,
    },
    /// The far end asks for a new offer of ours, to be given by [`LegAction::AnswerReoffer`]; its answer comes as
    /// [`Self::Reanswered`] (a re-INVITE without an offer, RFC 3261 section 14.2).
    OfferAsked,
    /// The far end answered our new offer, or changed what it answered before.
    Reanswered {
        /// Its answer.
        sdp: Sdp,
    },
    /// The far end will not have our new offer: the call goes on as it was.
    ReofferRefused {
        /// An offer of the far end came first, so that ours has to be made anew after it (RFC 3261 section 14.1).
        crossed: bool,
    },
    /// The far end wants another party called in its place. Its own network's word is checked: that party may be called.
    TransferAsked {
        /// The new party's leg, which is to be called.
        to: Leg,
    },
    /// A party calls us to take the far end's place, which its network allows (SIP INVITE with Replaces).
    Replaced {
        /// That party's leg.
        by: Leg,
        /// Its offer; `None` asks for ours.
        offer: Option<Sdp>,
    },
    /// The far end hands the other side's far end on to another party, and leaves. That one's own system is asked to
    /// call the party ([`LegAction::Refer`]); where it will not, we do. The far end's word is checked, as above.
    HandedOn {
        /// The new party's leg, should we have to call it.
        to: Leg,
    },
    /// What has become of [`LegAction::Refer`].
    Referred(Referral),
    /// The far end leaves its place to a party that has already answered us, in another call.
    Joined {
        /// That party's leg.
        with: Leg,
    },
    /// The far end refused, hung up, or could not be reached. The leg is gone.
    Ended(Reason),
}

/// What the call asks of a leg's signalling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegAction {
    /// Call the far end (SIP INVITE, `m.call.invite`).
    Offer {
        /// Our offer.
        sdp: Sdp,
    },
    /// Tell the caller that it rings (SIP 180; Element plays its ringback by itself).
    Ring,
    /// Tell the caller that the callee picked up.
    Answer {
        /// Our answer to the caller's offer; our offer, where the caller made none.
        sdp: Sdp,
    },
    /// Answer the far end's new offer, or its wish for ours.
    AnswerReoffer {
        /// Our answer, or our offer.
        sdp: Sdp,
    },
    /// Turn the far end's new offer down; the call goes on as it was.
    RefuseReoffer,
    /// Offer anew: the other side holds or resumes (re-INVITE, `m.call.negotiate`). Answered by
    /// [`LegEvent::Reanswered`] or [`LegEvent::ReofferRefused`].
    Reoffer {
        /// Our offer.
        sdp: Sdp,
    },
    /// Tell the far end how far the transfer has come that it asked for.
    ReportTransfer(TransferProgress),
    /// Ask the far end's own system to call another party in the place of the other side (SIP REFER). Answered by
    /// [`LegEvent::Referred`], or by the leg's end.
    Refer,
    /// Turn the caller away before an answer (SIP 4xx to 6xx, `m.call.reject`).
    Refuse(Reason),
    /// Take back our offer before it was answered (SIP CANCEL, `m.call.hangup`).
    Cancel(Reason),
    /// End an answered leg (SIP BYE, `m.call.hangup`).
    HangUp(Reason),
}

/// How far a transfer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferProgress {
    /// The new party is being called.
    Trying,
    /// It rings.
    Ringing,
    /// It has picked up, and taken the place of who asked.
    Answered,
    /// It will not come; the call goes on as it was.
    Failed(Reason),
}

/// What has become of a transfer that another system was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referral {
    /// The new party has picked up there, or that system has taken it over without telling. The leg is ours to end.
    Done,
    /// It will not, or cannot: nothing has changed.
    Refused,
    /// It has tried, and the new party does not come.
    Failed(Reason),
}

/// What a leg's media tells the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaEvent {
    /// The description asked for by [`MediaAction::Open`], [`MediaAction::Describe`], [`MediaAction::Reoffer`] or
    /// [`MediaAction::Offer`], in the order in which they were asked for.
    LocalDescription {
        /// Our offer, or our answer.
        sdp: Sdp,
    },
    /// Media can flow (WebRTC: ICE and DTLS are through), for the first time or again.
    Connected,
    /// Sound comes from a far end that has not picked up, after [`MediaAction::ApplyEarlyAnswer`]. Told once.
    EarlySound,
    /// The last word of a far end that has left without picking up was heard, after [`MediaAction::HearOut`].
    HeardOut,
    /// What the other side wants has changed (hold, resume): the leg's far end should get a new offer of ours.
    OfferDue,
    /// A new offer cannot be met; the leg's media goes on as it was.
    ReofferRefused,
    /// The leg's media could not be set up. It is gone.
    Failed {
        /// Why; for the log and the record.
        why: String,
        /// Whose fault it is.
        fault: MediaFault,
    },
    /// The far end has sent nothing at all for too long: nobody is there any more.
    TimedOut {
        /// When in the call that was; for the log and the record.
        why: String,
    },
    /// The far end stopped consenting to receive (RFC 7675), or closed. It may come back.
    Lost,
    /// The leg's media is closed and its ports are free. Always the last event of a leg.
    Closed,
}

/// Whose fault it is that a leg's media could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaFault {
    /// The far end's description: no codec in common, broken SDP.
    Description,
    /// Ours, for lack of room: no port or no file descriptor is left.
    Capacity,
    /// Anything else.
    Other,
}

/// What the call asks of the media plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaAction {
    /// Make a leg. Without the far end's offer it yields ours. With it, the description that comes says that the
    /// offer can be answered; what it is answered with follows from [`Self::Describe`].
    Open {
        /// The leg.
        leg: Leg,
        /// A leg that it will be bridged to, so that both live on one thread.
        beside: Option<LegId>,
        /// The far end's offer.
        offer: Option<Sdp>,
    },
    /// The far end answered our offer, and somebody picked up: the other side is heard there from now on.
    ApplyAnswer {
        /// The leg.
        leg: LegId,
        /// Its answer.
        sdp: Sdp,
    },
    /// The far end described its early media. Nobody has picked up: the other side is not heard there, its keys are.
    /// [`MediaEvent::EarlySound`] follows once sound comes.
    ApplyEarlyAnswer {
        /// The leg.
        leg: LegId,
        /// What it answered to our offer, so far.
        sdp: Sdp,
    },
    /// The far end rings after its early media: where it sends nothing more, the other side is to hear ringback of ours.
    Ringback {
        /// The leg.
        leg: LegId,
    },
    /// The far end has left, and nobody had picked up: what it said last, which the other side hears with a delay, is
    /// heard to its end. [`MediaEvent::HeardOut`] follows, unless the other side never connects.
    HearOut {
        /// The leg.
        leg: LegId,
    },
    /// The leg is bridged, so it is known what the other side speaks: yield our answer to the far end's offer.
    Describe {
        /// The leg.
        leg: LegId,
    },
    /// The far end offered anew.
    Reoffer {
        /// The leg.
        leg: LegId,
        /// Its offer.
        sdp: Sdp,
    },
    /// Make a new offer to the far end.
    Offer {
        /// The leg.
        leg: LegId,
    },
    /// The far end trickled candidates.
    AddCandidates {
        /// The leg.
        leg: LegId,
        /// `candidate:` lines.
        candidates: Vec<String>,
    },
    /// Let sound and keys flow between two legs.
    Bridge {
        /// One leg.
        a: LegId,
        /// The other.
        b: LegId,
    },
    /// End a leg's media. Answered by [`MediaEvent::Closed`].
    Close {
        /// The leg.
        leg: LegId,
    },
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A leg's signalling spoke.
    Leg(LegId, LegEvent),
    /// A leg's media spoke.
    Media(LegId, MediaEvent),
    /// A leg goes on in another call: this one ends without ending it.
    Release(LegId),
    /// The gateway itself wants the call to end (shut-down, the operator, a fault of ours).
    Finish(Reason),
}

/// What a call wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// For a leg's signalling.
    Leg(LegId, LegAction),
    /// For the media plane.
    Media(MediaAction),
    /// The call is over and owns nothing any more: complete its record and forget it. Always the last action.
    Finished,
}
