//! A telephone hands its side of a call to another (REFER, RFC 5589): who may be called in its place, over which trunk,
//! and how the call's second telephone leg comes and goes. How the two change places is the call machine's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mxtrunk_call::{Input, Leg, LegEvent, LegId, LegKind, Reason};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::{self as sip, Caller, Replaces};
use tracing::debug;

use crate::call_task::CallTask;
use crate::calls::{Awaited, LegEntry};
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
    /// The telephone in the place of the person, who has handed the call on and left it.
    in_persons_place: Option<LegId>,
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
    /// Whose place it takes.
    place: Place,
}

/// The two sides of a call between a person and a telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Person,
    Telephone,
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
            in_persons_place: None,
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

    /// The call's own queue.
    pub(crate) fn inbox(&self) -> CallInbox {
        self.inbox.clone()
    }

    /// Nobody has taken anybody's place, and nobody is about to.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.party.is_none() && self.in_persons_place.is_none()
    }

    /// The call that a person wants to become this one.
    pub(crate) fn take_awaiting(&self, awaited: Awaited) -> Option<CallInbox> {
        self.router.calls.take_awaiting(&awaited)
    }

    /// A leg goes on in another call.
    pub(crate) fn send_over(&mut self, leg: LegId, to: &CallInbox) -> LegEntry {
        let entry = self.router.calls.add(leg, to);
        self.forget(leg);
        entry
    }

    /// A leg of another call stands in the person's place.
    pub(crate) fn take_over(&mut self, leg: LegId, number: String, entry: LegEntry) {
        self.entries.push(entry);
        self.phones.locked().push(leg);
        self.numbers.push(number);
        self.in_persons_place = Some(leg);
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
        let place = match leg {
            leg if leg == self.phone.id => Some(Place::Telephone),
            leg if Some(leg) == self.transfers.in_persons_place => Some(Place::Person),
            _ => None,
        };
        let place = place.filter(|_| self.transfers.party.is_none() && !self.is_ending());
        let way = match place {
            Some(place) => self.way_to(place, to, replaces, referred_by),
            None => Err(Reason::Unavailable),
        };
        match way {
            Ok(party) => self.call_party(now, leg, party),
            Err(reason) => {
                self.trace.transfer(&format!("refused: {}", reason.word()));
                debug!(call = %self.record.id().0, reason = reason.word(), "a transfer was refused");
                let status = reason.sip_status();
                let refused = sip::Command::ReportTransfer { status };
                if let Err(refused) = self.peers.phones.send(legs::sip_leg(leg), refused) {
                    debug!(%refused, "a transfer was not declined");
                }
            }
        }
    }

    fn call_party(&mut self, now: Instant, leg: LegId, party: Party) {
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

    /// The person's client has handed the call on to a number.
    pub(crate) fn hand_on(&mut self, now: Instant, number: String) -> Result<(), Reason> {
        if !self.transfers.is_at_rest() || !self.call.is_talking() {
            return Err(Reason::Unavailable);
        }
        let party = self.way_to(Place::Person, number, None, None)?;
        self.call_party(now, self.matrix.id, party);
        Ok(())
    }

    /// Where a REFER leads. Without Replaces the person's line must be allowed to dial the number, and it takes the trunk
    /// that asked where that takes the number. With it nothing is dialled: the call takes the place of one that the
    /// same PBX has, and is refused where it has none.
    fn way_to(
        &self,
        place: Place,
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
            place,
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
        match party.place {
            Place::Person => self.transfers.in_persons_place = Some(party.phone.id),
            Place::Telephone => {
                self.phone = party.phone;
                self.heard.another_telephone(now);
            }
        }
    }
}
