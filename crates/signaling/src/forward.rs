//! A call that its line has sent elsewhere: the caller stays where they are, and a telephone is called in the place of the
//! person, over the trunks and with the permissions of their line.

use std::time::Instant;

use mxtrunk_call::{Call, Input, Leg, LegAction, LegId, LegKind, Reason, Sdp};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::{Caller, Forwarded};
use mxtrunk_store::LineSettings;
use tracing::{debug, info};

use crate::call_task::{CallTask, in_time};
use crate::directory::Line;
use crate::legs::{LastWord, SipTarget};
use crate::limits::{Charge, Refusal};
use crate::outgoing;
use crate::phone_side::PhoneLeg;
use crate::routes::TrunkStanding;
use crate::treatment::{self, Forward, Why};

/// What it takes to forward a call that a line got.
pub(crate) struct Forwarding {
    line: Line,
    caller: Caller,
    offer: Option<Sdp>,
    /// How many more the call may take.
    hops: u8,
    stage: Stage,
    /// A telephone that hears 180 again begins its ringback anew.
    told_ringing: bool,
}

/// How far it is.
enum Stage {
    /// The person is called.
    Person,
    /// The person's leg is being closed; then this is to follow, or the caller hears this reason.
    Due(Forward, Reason),
    /// This telephone is called in their place.
    Elsewhere(Box<PhoneLeg>),
    /// It goes nowhere else any more.
    Over,
}

impl Forwarding {
    /// Of a call that `line` got from `caller`, with their offer and what is left of its hops.
    pub(crate) fn new(line: Line, caller: Caller, offer: Option<Sdp>, hops: u8) -> Self {
        Forwarding {
            line,
            caller,
            offer,
            hops,
            stage: Stage::Person,
            told_ringing: false,
        }
    }

    fn leg(&self) -> Option<&PhoneLeg> {
        match &self.stage {
            Stage::Elsewhere(leg) => Some(&**leg),
            _ => None,
        }
    }
}

/// What a caller hears whose call could not be forwarded.
fn instead_of(why: Why) -> Reason {
    match why {
        Why::Busy | Why::DoNotDisturb => Reason::Busy,
        Why::NoAnswer => Reason::NoAnswer,
        Why::Always | Why::Unreachable => Reason::NotReachable,
    }
}

impl CallTask {
    /// The telephone that is called in the person's place, if it is on this leg.
    pub(crate) fn forwarded_leg(&self, leg: LegId) -> Option<&PhoneLeg> {
        let elsewhere = self.forwarding.as_deref().and_then(Forwarding::leg);
        elsewhere.filter(|phone| phone.id == leg)
    }

    /// Whether this action of the machine is not to be performed: the caller is not refused, since their call is to be
    /// forwarded, and not told again that it rings.
    pub(crate) fn withholds(&mut self, leg: LegId, action: &LegAction) -> bool {
        if leg != self.phone.id {
            return false;
        }
        let Some(forwarding) = self.forwarding.as_deref_mut() else {
            return false;
        };
        match action {
            LegAction::Ring => std::mem::replace(&mut forwarding.told_ringing, true),
            LegAction::Refuse(reason) if matches!(forwarding.stage, Stage::Person) => {
                let settings = self.peers.line_settings.of(&forwarding.line.user);
                let Some(forward) = treatment::of_failure(&settings, *reason) else {
                    return false;
                };
                forwarding.stage = Stage::Due(forward, *reason);
                true
            }
            _ => false,
        }
    }

    /// The caller has gone, or the gateway stops: nothing follows. `Some`: the caller is still to be refused.
    pub(crate) fn give_up_forward(&mut self) -> Option<Reason> {
        let forwarding = self.forwarding.as_deref_mut()?;
        match std::mem::replace(&mut forwarding.stage, Stage::Over) {
            Stage::Due(_, reason) => Some(reason),
            stage => {
                forwarding.stage = stage;
                None
            }
        }
    }

    /// The call is forwarded instead of offered to the person.
    pub(crate) async fn forward_at_once(&mut self, forward: Forward) {
        let now = Instant::now();
        let reason = instead_of(forward.why);
        if let Some(forwarding) = self.forwarding.as_deref_mut() {
            forwarding.stage = Stage::Due(forward, reason);
        }
        if !self.follow_forward(now).await {
            self.call.handle(now, Input::Finish(reason));
        }
    }

    /// The call with the person has come to its end. `true`: one with somebody else has begun.
    pub(crate) async fn follow_forward(&mut self, now: Instant) -> bool {
        let Some(forwarding) = self.forwarding.as_deref_mut() else {
            return false;
        };
        let (forward, reason) = match std::mem::replace(&mut forwarding.stage, Stage::Over) {
            Stage::Due(forward, reason) => (forward, reason),
            stage => {
                forwarding.stage = stage;
                return false;
            }
        };
        match self.way_of(&forward) {
            Ok((phone, charge)) => {
                self.call_elsewhere(now, phone, charge, &forward);
                // The history tells of it while the call lives, and after a crash.
                let (to, why) = (&forward.to, forward.why.word());
                let store = &self.peers.store;
                let kept = store.put_forwarded_to(self.record.id(), to, why);
                in_time(self.record.id(), kept).await;
                true
            }
            Err(refusal) => {
                let call = &self.record.id().0;
                refusal.warn(call);
                let (why, obstacle) = (forward.why.word(), refusal.reason.word());
                info!(%call, why, obstacle, "a call could not be forwarded as its line has set it");
                self.trace.transfer(&format!("not forwarded: {obstacle}"));
                if self.is_ending() {
                    let refuse = LegAction::Refuse(reason);
                    self.perform_phone(now, self.phone.id, refuse).await;
                }
                false
            }
        }
    }

    /// The way that the call takes: any that the line itself could take, to a number that it may call. Calls for help are
    /// not forwarded to: who calls is not who needs it.
    fn way_of(&self, forward: &Forward) -> Result<(PhoneLeg, Option<Charge>), Refusal> {
        let forwarding = self.forwarding.as_deref().ok_or(Reason::Failed)?;
        let router = self.transfers.router();
        let directory = self.peers.directory.now();
        let (line, phones) = (&forwarding.line, &self.peers.phones);
        let asked = (&*line.user, forward.to.as_str());
        let ways = outgoing::ways(&directory, &router.settings, asked, |trunk| {
            TrunkStanding::of(phones, trunk)
        })?;
        let best = ways
            .into_iter()
            .min_by_key(|(_, standing)| standing.obstacle());
        let (way, standing) = best.ok_or(Reason::NotFound)?;
        if way.priority == Priority::Emergency {
            return Err(Reason::Forbidden.into());
        }
        if way.number == line.extension || Some(&way.number) == line.did.as_ref() {
            return Err(Reason::Busy.into());
        }
        standing.check()?;
        let charge = way.charge(router, &directory)?;
        let settings = self.peers.line_settings.of(&line.user);
        let by = caller_of(line, &settings, Priority::Normal);
        let trunk = router.settings.trunks.now().of(&way.trunk);
        let from = match trunk.shows_line {
            true => by.clone(),
            false => forwarding.caller.clone(),
        };
        // As the trunk writes numbers.
        let plan = directory.plan();
        let number = plan.normalise(&by.number);
        let number = number.map(|number| trunk.rules.dialled(plan, &number));
        let by = Caller {
            number: number.unwrap_or_default(),
            display: by.display,
        };
        let phone = PhoneLeg {
            id: router.leg_ids.next(),
            profile: trunk.profile,
            target: Some(SipTarget {
                trunk: way.trunk.clone(),
                to: way.sent,
                from,
                account: way.account,
                replaces: None,
                referred_by: None,
                forwarded: Some(Forwarded {
                    by,
                    why: Some(forward.why.word().to_owned()),
                    hops: Some(forwarding.hops),
                }),
            }),
            trunk: way.trunk,
            said: LastWord::default(),
            asked: None,
        };
        Ok((phone, charge))
    }

    fn call_elsewhere(
        &mut self,
        now: Instant,
        phone: PhoneLeg,
        charge: Option<Charge>,
        forward: &Forward,
    ) {
        self.trace.transfer(&format!(
            "forwarded to {}: {}",
            forward.to,
            forward.why.word()
        ));
        debug!(call = %self.record.id().0, to = %forward.to, "forwarded");
        self.record.is_forwarded(&forward.to, forward.why.word());
        self.transfers.put_in_persons_place(phone.id, charge);
        let calls = &self.transfers.router().calls;
        calls.mark_elsewhere(self.matrix.id);
        let leg = |id| Leg {
            id,
            kind: LegKind::Sip,
        };
        let timings = self.transfers.router().settings.timings;
        let Some(forwarding) = self.forwarding.as_deref_mut() else {
            return;
        };
        let offer = forwarding.offer.clone();
        let (caller, callee) = (leg(self.phone.id), leg(phone.id));
        forwarding.stage = Stage::Elsewhere(Box::new(phone));
        self.call = Call::new(now, timings, caller, callee, offer);
    }
}

/// Who a line says it is: nobody, where its person has withheld their number, unless they call for help.
pub(crate) fn caller_of(line: &Line, settings: &LineSettings, priority: Priority) -> Caller {
    if settings.withheld && priority == Priority::Normal {
        return Caller::default();
    }
    Caller {
        number: line.caller_id.to_string(),
        display: line.name.clone(),
    }
}
