//! A telephone hands its side of a call to another (REFER, RFC 5589): who may be called in its place, over which trunk,
//! and how the call's second telephone leg comes and goes. How the two change places is the call machine's.

mod asked;
mod charges;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mxtrunk_call::{Input, Leg, LegEvent, LegId, LegKind, Reason, Sdp};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::{Replaces, TrunkName};

use crate::TransferPolicy;
use crate::call_task::CallTask;
use crate::calls::{Awaited, LegEntry};
use crate::forward::caller_of;
use crate::inbox::{CallInbox, Replacing, Wish};
use crate::incoming;
use crate::legs::{LastWord, SipTarget};
use crate::limits::{Charge, Refusal};
use crate::outgoing;
use crate::phone_side::PhoneLeg;
use crate::router::Router;
use crate::routes::TrunkStanding;
use crate::rules::TrunkRules;

/// What it takes to put another telephone in the place of the one that a person talks to.
pub(crate) struct Transfers {
    router: Router,
    inbox: CallInbox,
    party: Option<Box<Party>>,
    /// The PBX is asked to join this call's telephone with that of another.
    joining: Option<Box<Wish>>,
    /// The telephone in the place of the person, who has handed the call on and left it.
    in_persons_place: Option<LegId>,
    /// What a line pays for the first telephone.
    first: Option<(LegId, Charge)>,
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
    charge: Option<Charge>,
}

/// The two sides of a call between a person and a telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Person,
    Telephone,
}

/// Who calls the new party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Us,
    /// The PBX of the telephone, asked by REFER; we, where it will not.
    Pbx,
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
            joining: None,
            in_persons_place: None,
            first: None,
            entries: Vec::new(),
            phones: PhoneLegs(Arc::new(Mutex::new(vec![phone]))),
            numbers: Vec::new(),
        }
    }

    /// The telephone legs that there are at any time.
    pub(crate) fn legs(&self) -> PhoneLegs {
        self.phones.clone()
    }

    /// Whether this is a telephone leg of the call.
    pub(crate) fn has(&self, leg: LegId) -> bool {
        self.phones.locked().contains(&leg)
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

    /// The number of who took the last place.
    pub(crate) fn last_number(&self) -> Option<&str> {
        self.numbers.last().map(String::as_str)
    }

    /// The call is over in which a telephone wants to take a place.
    pub(crate) fn turn_away(&self, late: &Replacing) {
        incoming::refuse(&self.router, late.entry.leg(), Reason::Declined);
    }

    /// How a trunk writes numbers.
    pub(crate) fn rules_of(&self, trunk: &TrunkName) -> TrunkRules {
        self.router.settings.rules_of(trunk)
    }

    /// The call's own queue.
    pub(crate) fn inbox(&self) -> CallInbox {
        self.inbox.clone()
    }

    /// The person has left the call to a telephone in their place.
    pub(crate) fn is_handed_on(&self) -> bool {
        self.in_persons_place.is_some()
    }

    /// Nobody has taken anybody's place, and nobody is about to.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_asked = self.party.is_some() || self.joining.is_some();
        !is_asked && self.in_persons_place.is_none()
    }

    /// Where the party is to be found that is to take somebody's place.
    pub(crate) fn party_target(&self) -> Option<&SipTarget> {
        self.party.as_deref()?.phone.target.as_ref()
    }

    /// The PBX is asked to join this call's telephone with that of another.
    pub(crate) fn join(&mut self, wish: Wish) {
        self.joining = Some(Box::new(wish));
    }

    /// Whether the PBX is asked for that, and has not said whether it did.
    pub(crate) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// The PBX has said whether it did.
    pub(crate) fn take_joining(&mut self) -> Option<Wish> {
        self.joining.take().map(|wish| *wish)
    }

    /// Somebody else than us has put this number in the telephone's place, or the person's.
    pub(crate) fn note(&mut self, number: String) {
        self.numbers.push(number);
    }

    /// Whether a PBX is asked to transfer calls of this trunk.
    pub(crate) fn asks_pbx(&self, trunk: &TrunkName) -> bool {
        self.router.settings.transfers_of(trunk) == TransferPolicy::Refer
    }

    /// The call that a person wants to become this one.
    pub(crate) fn take_awaiting(&self, awaited: Awaited) -> Option<CallInbox> {
        self.router.calls.take_awaiting(&awaited)
    }

    /// A leg goes on in another call.
    pub(crate) fn send_over(&mut self, leg: LegId, to: &CallInbox) -> LegEntry {
        let entry = self.router.calls.add(leg, to);
        let entry = entry.paid_by(self.take_charge(leg));
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

    /// What the call was routed by.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// A telephone is called in the person's place.
    pub(crate) fn put_in_persons_place(&mut self, leg: LegId, charge: Option<Charge>) {
        let entry = self.router.calls.add(leg, &self.inbox);
        self.entries.push(entry.paid_by(charge));
        self.phones.locked().push(leg);
        self.in_persons_place = Some(leg);
    }

    /// A leg is closed: it is told nothing any more.
    pub(crate) fn forget(&mut self, leg: LegId) {
        self.entries.retain(|entry| entry.leg() != leg);
        self.first.take_if(|(first, _)| *first == leg);
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
    /// A telephone calls to take the place of one of ours.
    pub(crate) fn on_replacing(&mut self, now: Instant, replacing: Replacing) {
        let Replacing {
            replaced,
            entry,
            invite,
        } = replacing;
        let leg = entry.leg();
        let place = match replaced {
            replaced if replaced == self.phone.id => Some(Place::Telephone),
            replaced if Some(replaced) == self.transfers.in_persons_place => Some(Place::Person),
            _ => None,
        };
        let is_free = self.transfers.party.is_none() && self.transfers.joining.is_none();
        let is_there = self.call.is_talking() || self.call.is_ringing(replaced);
        let Some(place) = place.filter(|_| is_free && is_there) else {
            return incoming::refuse(&self.transfers.router, leg, Reason::Busy);
        };
        let settings = &self.transfers.router.settings;
        let rules = settings.rules_of(&invite.trunk);
        let (number, _) = incoming::named(&self.peers.directory.now(), &rules, &invite.from);
        let profile = settings.profile_of(&invite.trunk);
        self.trace.dialog(&invite.call_id);
        self.trace
            .transfer(&format!("{number} calls to take a place"));
        self.transfers.entries.push(entry);
        self.transfers.phones.locked().push(leg);
        self.transfers.party = Some(Box::new(Party {
            phone: PhoneLeg {
                id: leg,
                trunk: invite.trunk,
                target: None,
                profile,
                said: LastWord::default(),
                asked: None,
            },
            number,
            place,
            charge: None,
        }));
        let by = Leg {
            id: leg,
            kind: LegKind::Sip,
        };
        let offer = invite.sdp.map(Sdp::from);
        let replaced_by = LegEvent::Replaced { by, offer };
        self.call.handle(now, Input::Leg(replaced, replaced_by));
        self.follow_transfer(now);
    }

    fn call_party(&mut self, now: Instant, leg: LegId, mut party: Party, by: By) {
        let by_whom = match by {
            By::Us => "",
            By::Pbx => ", which the PBX is asked for",
        };
        self.trace
            .transfer(&format!("to {}{by_whom}", party.number));
        let to = Leg {
            id: party.phone.id,
            kind: LegKind::Sip,
        };
        let transfers = &mut self.transfers;
        let entry = transfers.router.calls.add(to.id, &transfers.inbox);
        transfers.entries.push(entry.paid_by(party.charge.take()));
        transfers.phones.locked().push(to.id);
        transfers.party = Some(Box::new(party));
        let asked = match by {
            By::Us => LegEvent::TransferAsked { to },
            By::Pbx => LegEvent::HandedOn { to },
        };
        self.call.handle(now, Input::Leg(leg, asked));
        self.follow_transfer(now);
    }

    /// The person's client has handed the call on to a number.
    pub(crate) fn hand_on(&mut self, now: Instant, number: String) -> Result<(), Refusal> {
        if !self.transfers.is_at_rest() || !self.call.is_talking() {
            return Err(Reason::Unavailable.into());
        }
        let (party, priority) = self.way_to(Place::Person, number, None, None)?;
        // Help is called by us: nobody else knows that nothing may stand in its way.
        let is_asked = priority == Priority::Normal
            && party.phone.trunk == self.phone.trunk
            // Nor is what costs by limits: at the PBX nobody would count it, nor end it.
            && !party.charge.as_ref().is_some_and(Charge::is_bounded)
            && !self.transfers.is_bounded()
            && self.transfers.asks_pbx(&self.phone.trunk);
        let by = match is_asked {
            true => By::Pbx,
            false => By::Us,
        };
        self.note_help(priority);
        self.call_party(now, self.matrix.id, party, by);
        Ok(())
    }

    /// A call that is handed on to help is one for help from then on.
    fn note_help(&self, priority: Priority) {
        if priority == Priority::Emergency {
            self.ongoing.mark_for_help();
        }
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
    ) -> Result<(Party, Priority), Refusal> {
        let router = &self.transfers.router;
        let (directory, settings) = (self.peers.directory.now(), &router.settings);
        let user = &self.matrix.leg.ids().user;
        let line = directory.line_of(user).ok_or(Reason::Forbidden)?;
        let asking = &self.phone.trunk;
        let own = line.account.as_ref().filter(|own| own.trunk == *asking);
        let (trunk, account, to, number, priority, charge) = match replaces {
            Some(_) => {
                let account = own.map(|own| own.name.clone());
                let (trunk, number) = (asking.clone(), to.clone());
                (trunk, account, to, number, Priority::Normal, None)
            }
            None => {
                let phones = &self.peers.phones;
                let ways = outgoing::ways(&directory, settings, (user, &to), |trunk| {
                    TrunkStanding::of(phones, trunk)
                })?;
                let ways = ways.into_iter();
                let best =
                    ways.min_by_key(|(way, standing)| (standing.obstacle(), way.trunk != *asking));
                let (way, standing) = best.ok_or(Reason::NotFound)?;
                if way.priority == Priority::Normal {
                    standing.check()?;
                }
                let charge = way.charge(router, &directory)?;
                let number = way.number.to_string();
                (
                    way.trunk,
                    way.account,
                    way.sent,
                    number,
                    way.priority,
                    charge,
                )
            }
        };
        let party = Party {
            phone: PhoneLeg {
                id: router.leg_ids.next(),
                profile: settings.profile_of(&trunk),
                target: Some(SipTarget {
                    trunk: trunk.clone(),
                    to,
                    from: caller_of(line, &self.peers.line_settings.of(user), priority),
                    account,
                    replaces,
                    referred_by,
                    forwarded: match place {
                        Place::Person => self.forwarded_to(&trunk),
                        Place::Telephone => None,
                    },
                }),
                trunk,
                said: LastWord::default(),
                asked: None,
            },
            number,
            place,
            charge,
        };
        Ok((party, priority))
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
            self.transfers.take_charge(party.phone.id);
            return;
        }
        self.trace.transfer("done");
        let number = party.number.clone();
        self.transfers.numbers.push(party.number);
        match party.place {
            Place::Person => self.transfers.in_persons_place = Some(party.phone.id),
            Place::Telephone => {
                self.phone = party.phone;
                self.heard.another_telephone(now);
                self.tell_who_came(&number);
            }
        }
    }
}
