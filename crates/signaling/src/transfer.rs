//! A telephone hands its side of a call to another (REFER, RFC 5589): who may be called in its place, over which trunk,
//! and how the call's second telephone leg comes and goes. How the two change places is the call machine's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mxtrunk_call::{Input, Leg, LegEvent, LegId, LegKind, Reason};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::{self as sip, Caller, Replaces};
use tracing::debug;

use crate::call_task::CallTask;
use crate::calls::LegEntry;
use crate::inbox::CallInbox;
use crate::legs::{self, LastWord, SipTarget};
use crate::outgoing;
use crate::phone_side::PhoneLeg;
use crate::router::Router;
use crate::routes::TrunkStanding;

/// What it takes to put another telephone in the place of the one that a person talks to.
pub(crate) struct Transfers {
    router: Router,
    inbox: CallInbox,
    party: Option<Box<Party>>,
    /// Of the legs that came after the first.
    entries: Vec<LegEntry>,
    phones: PhoneLegs,
    /// Who took the place of whom, in order.
    numbers: Vec<String>,
}

/// The telephone that is being called.
struct Party {
    phone: PhoneLeg,
    number: String,
}

/// The telephone legs of a call that hold something, for whoever has to end them without it.
#[derive(Debug, Clone)]
pub(crate) struct PhoneLegs(Arc<Mutex<Vec<LegId>>>);

impl Transfers {
    /// None yet, in a call with this telephone.
    pub(crate) fn new(router: &Router, inbox: &CallInbox, phone: LegId) -> Self {
        Transfers {
            router: router.clone(),
            inbox: inbox.clone(),
            party: None,
            entries: Vec::new(),
            phones: PhoneLegs(Arc::new(Mutex::new(vec![phone]))),
            numbers: Vec::new(),
        }
    }

    /// The telephone legs that there are at any time.
    pub(crate) fn legs(&self) -> PhoneLegs {
        self.phones.clone()
    }

    /// The leg that is being called, if it is this one.
    pub(crate) fn party_on(&self, leg: LegId) -> Option<&PhoneLeg> {
        let party = self.party.as_deref().map(|party| &party.phone);
        party.filter(|phone| phone.id == leg)
    }

    /// The numbers of those who took the place of others, in order; `None` where nobody did.
    pub(crate) fn numbers(&self) -> Option<String> {
        (!self.numbers.is_empty()).then(|| self.numbers.join(", "))
    }

    /// A leg is closed: it is told nothing any more.
    pub(crate) fn forget(&mut self, leg: LegId) {
        self.entries.retain(|entry| entry.leg() != leg);
        self.phones.locked().retain(|phone| *phone != leg);
    }
}

impl PhoneLegs {
    /// Those that there are now.
    pub(crate) fn all(&self) -> Vec<LegId> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<LegId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallTask {
    /// A telephone asks for another party in its place.
    pub(crate) fn on_transfer_asked(
        &mut self,
        now: Instant,
        leg: LegId,
        to: String,
        replaces: Option<Replaces>,
        referred_by: Option<String>,
    ) {
        let is_free = leg == self.phone.id && self.transfers.party.is_none() && !self.is_ending();
        let way = match is_free {
            true => self.way_to(to, replaces, referred_by),
            false => Err(Reason::Unavailable),
        };
        let party = match way {
            Ok(party) => party,
            Err(reason) => {
                self.trace.transfer(&format!("refused: {}", reason.word()));
                debug!(call = %self.record.id().0, reason = reason.word(), "a transfer was refused");
                let status = reason.sip_status();
                let refused = sip::Command::ReportTransfer { status };
                if let Err(refused) = self.peers.phones.send(legs::sip_leg(leg), refused) {
                    debug!(%refused, "a transfer was not declined");
                }
                return;
            }
        };
        self.trace.transfer(&format!("to {}", party.number));
        let to = Leg {
            id: party.phone.id,
            kind: LegKind::Sip,
        };
        let transfers = &mut self.transfers;
        let entry = transfers.router.calls.add(to.id, &transfers.inbox);
        transfers.entries.push(entry);
        transfers.phones.locked().push(to.id);
        transfers.party = Some(Box::new(party));
        let asked = LegEvent::TransferAsked { to };
        self.call.handle(now, Input::Leg(leg, asked));
        self.follow_transfer(now);
    }

    /// Where a REFER leads. Without Replaces the person's line must be allowed to dial the number, and it takes the trunk
    /// that asked where that takes the number. With it nothing is dialled: the call takes the place of one that the
    /// same PBX has, and is refused where it has none.
    fn way_to(
        &self,
        to: String,
        replaces: Option<Replaces>,
        referred_by: Option<String>,
    ) -> Result<Party, Reason> {
        let router = &self.transfers.router;
        let (directory, settings) = (&self.peers.directory, &router.settings);
        let user = &self.matrix.leg.ids().user;
        let line = directory.line_of(user).ok_or(Reason::Forbidden)?;
        let asking = &self.phone.trunk;
        let own = line.account.as_ref().filter(|own| own.trunk == *asking);
        let (trunk, account, to, number) = match replaces {
            Some(_) => {
                let account = own.map(|own| own.name.clone());
                (asking.clone(), account, to.clone(), to)
            }
            None => {
                let phones = &self.peers.phones;
                let ways = outgoing::ways(directory, settings, (user, &to), |trunk| {
                    TrunkStanding::of(phones, trunk)
                })?;
                let ways = ways.into_iter();
                let best =
                    ways.min_by_key(|(way, standing)| (standing.obstacle(), way.trunk != *asking));
                let (way, standing) = best.ok_or(Reason::NotFound)?;
                if way.priority == Priority::Normal {
                    standing.check()?;
                }
                (way.trunk, way.account, way.sent, way.number.to_string())
            }
        };
        Ok(Party {
            phone: PhoneLeg {
                id: router.leg_ids.next(),
                profile: settings.profile_of(&trunk),
                target: Some(SipTarget {
                    trunk: trunk.clone(),
                    to,
                    from: Caller {
                        number: line.caller_id.to_string(),
                        display: line.name.clone(),
                    },
                    account,
                    replaces,
                    referred_by,
                }),
                trunk,
                said: LastWord::default(),
                asked: None,
            },
            number,
        })
    }

    /// The party that was called has taken the place of the telephone that asked for it, or will not come.
    pub(crate) fn follow_transfer(&mut self, now: Instant) {
        let in_machine = self.call.party();
        let is_over = |party: &mut Box<Party>| in_machine != Some(party.phone.id);
        let Some(party) = self.transfers.party.take_if(is_over) else {
            return;
        };
        let last = self.call.story().transfers.last();
        if last.is_none_or(|last| last.to != party.phone.id) {
            self.trace.transfer("came to nothing");
            return;
        }
        self.trace.transfer("done");
        self.transfers.numbers.push(party.number);
        self.phone = party.phone;
        self.heard.another_telephone(now);
    }
}
