//! Opening legs, and offer and answer on them. What a leg speaks depends on the one that it is, or will be, bridged with.

use std::net::SocketAddr;
use std::time::Instant;

use super::leg::{Leg, Side};
use super::{Happened, LegId, Legs, MediaError};
use crate::browser::BrowserLeg;
use crate::browser_sdp;
use crate::codec_choice::Speaker;
use crate::direction::Direction;
use crate::outbox::Outbox;
use crate::phone::PhoneLeg;
use crate::profile::{PhoneProfile, SrtpPolicy};
use crate::srtp::Srtp;

impl Legs {
    /// Opens a browser leg: our answer to `offer`, or without one our offer, follows as
    /// [`Happened::LocalDescription`].
    pub fn open_browser(&mut self, now: Instant, id: LegId, offer: Option<&str>) {
        self.open_browser_beside(now, id, None, offer);
    }

    /// The same for a leg that will be bridged with `beside`: it is offered what suits both. An answer at this time is
    /// provisional, and shows only that there can be one: [`Self::describe`] makes the one to send.
    pub fn open_browser_beside(
        &mut self,
        now: Instant,
        id: LegId,
        beside: Option<LegId>,
        offer: Option<&str>,
    ) {
        let seed = self.seeds.rtp();
        let opened = match self.legs.contains_key(&id) {
            true => Err(MediaError::DuplicateLeg),
            false => BrowserLeg::new(now, &self.settings, seed),
        };
        match opened {
            Ok(browser) => {
                let leg = Leg::new(
                    Side::Browser(Box::new(browser)),
                    beside,
                    self.settings.timeouts,
                );
                self.open(now, id, leg, offer);
            }
            Err(why) => self.fail_to_open(id, why),
        }
    }

    /// Opens a phone leg whose even port is advertised as `rtp`; else as [`Self::open_browser`].
    pub fn open_phone(
        &mut self,
        now: Instant,
        id: LegId,
        rtp: SocketAddr,
        profile: &PhoneProfile,
        offer: Option<&str>,
    ) {
        self.open_phone_beside(now, id, None, rtp, profile, offer);
    }

    /// The same for a leg that will be bridged with `beside`, as [`Self::open_browser_beside`].
    pub fn open_phone_beside(
        &mut self,
        now: Instant,
        id: LegId,
        beside: Option<LegId>,
        rtp: SocketAddr,
        profile: &PhoneProfile,
        offer: Option<&str>,
    ) {
        let seed = self.seeds.rtp();
        if self.legs.contains_key(&id) {
            return self.fail_to_open(id, MediaError::DuplicateLeg);
        }
        let srtp = match self.protection(profile.srtp) {
            Ok(srtp) => srtp,
            Err(why) => return self.fail_to_open(id, why),
        };
        let phone = PhoneLeg::new(id, &self.settings, profile, srtp, rtp, seed);
        let leg = Leg::new(Side::Phone(Box::new(phone)), beside, self.settings.timeouts);
        self.open(now, id, leg, offer);
    }

    fn protection(&mut self, policy: SrtpPolicy) -> Result<Option<Srtp>, MediaError> {
        if policy == SrtpPolicy::Off {
            return Ok(None);
        }
        let secret = self.secret.as_ref().ok_or(MediaError::NoSecret)?;
        self.secrets += 1;
        Ok(Some(Srtp::new(secret.child(self.secrets))))
    }

    fn open(&mut self, now: Instant, id: LegId, leg: Leg, offer: Option<&str>) {
        self.legs.insert(id, leg);
        match offer {
            Some(offer) => self.answer(now, id, offer),
            None => {
                let other = self.other_side(id);
                self.produce(id, |side, out| match side {
                    Side::Browser(browser) => browser.offer(now, other.as_ref(), out),
                    Side::Phone(phone) => phone.offer(other.as_ref()),
                });
            }
        }
    }

    /// A later remote offer (hold, ICE restart, session refresh); our answer follows as
    /// [`Happened::LocalDescription`]. One that cannot be met changes nothing: [`Happened::OfferRefused`] follows.
    pub fn apply_offer(&mut self, now: Instant, id: LegId, offer: &str) {
        let other = self.other_side(id);
        let mut refusal = None;
        self.work(id, |leg, _| {
            refusal = leg.refusal_of(now, offer, other.as_ref());
            Ok(())
        });
        match refusal {
            Some(why) => self.report(id, Happened::OfferRefused { why }),
            None => self.answer(now, id, offer),
        }
    }

    fn answer(&mut self, now: Instant, id: LegId, offer: &str) {
        let (other, permit) = (self.other_side(id), self.permit(id));
        self.produce(id, |side, out| match side {
            Side::Browser(browser) => browser.answer(now, offer, other.as_ref(), permit, out),
            Side::Phone(phone) => phone.answer(offer, other.as_ref(), permit),
        });
        self.review(now, id);
        self.pass_hold_on(id);
    }

    /// After a description: a hold may have begun or ended.
    fn review(&mut self, now: Instant, id: LegId) {
        self.work(id, |leg, _| {
            leg.review(now);
            Ok(())
        });
    }

    /// Our answer to the offer that a leg was opened with, made anew now that the leg is bridged and it is known what
    /// the other side speaks; follows as [`Happened::LocalDescription`].
    pub fn describe(&mut self, id: LegId) {
        let (other, permit) = (self.other_side(id), self.permit(id));
        self.produce(id, |side, _| match side {
            Side::Browser(browser) => browser.describe(other.as_ref(), permit),
            Side::Phone(phone) => phone.describe(other.as_ref(), permit),
        });
        self.pass_hold_on(id);
    }

    /// A later offer of ours, which tells the far end what the other side of the call wants by now; follows as
    /// [`Happened::LocalDescription`]. A remote offer that comes before its answer takes its place.
    pub fn reoffer(&mut self, now: Instant, id: LegId) {
        let permit = self.permit(id);
        self.produce(id, |side, out| match side {
            Side::Browser(browser) => browser.reoffer(now, permit, out),
            Side::Phone(phone) => phone.reoffer(permit),
        });
    }

    /// What a leg may send and receive, by the wish of the one that it is bridged with.
    fn permit(&self, id: LegId) -> Direction {
        let Some(leg) = self.legs.get(&id) else {
            return Direction::BOTH;
        };
        let other = leg.peer.and_then(|peer| self.legs.get(&peer));
        leg.permit(other.map(|other| other.hold().wish()))
    }

    /// After a description of this leg: what its far end wants may be news to the other one.
    fn pass_hold_on(&mut self, id: LegId) {
        let Some(peer) = self.legs.get(&id).and_then(|leg| leg.peer) else {
            return;
        };
        let permit = self.permit(peer);
        let is_stale = |leg: &Leg| leg.hold().is_stale(permit);
        if self.legs.get(&peer).is_some_and(is_stale) {
            self.report(peer, Happened::OfferDue);
        }
    }

    fn produce(
        &mut self,
        id: LegId,
        make: impl FnOnce(&mut Side, &mut Outbox) -> Result<String, MediaError>,
    ) {
        let mut description = None;
        self.work(id, |leg, out| {
            description = Some(make(&mut leg.side, out)?);
            Ok(())
        });
        if let Some(sdp) = description.filter(|_| self.legs.contains_key(&id)) {
            self.report(id, Happened::LocalDescription { sdp });
            self.learn_ufrag(id);
            self.rewire(id);
        }
    }

    fn learn_ufrag(&mut self, id: LegId) {
        if let Some(Leg {
            side: Side::Browser(browser),
            ..
        }) = self.legs.get_mut(&id)
        {
            self.demux.add(id, browser.ufrag());
        }
    }

    /// The remote answer to our offer. A phone leg takes several (183, then 200).
    pub fn apply_answer(&mut self, now: Instant, id: LegId, answer: &str) {
        self.work(id, |leg, out| match &mut leg.side {
            Side::Browser(browser) => browser.apply_answer(now, answer, out),
            Side::Phone(phone) => phone.apply_answer(now, answer),
        });
        if let Some(remote) = browser_sdp::remote_ufrag(answer) {
            self.demux.select_device(id, remote);
        }
        self.rewire(id);
        self.review(now, id);
        self.pass_hold_on(id);
    }

    /// The same of a phone leg that nobody has picked up: [`Happened::EarlySound`] follows as soon as it sends sound. The
    /// leg that it is bridged with hears it, and is not heard there, but for its keys; that ends with
    /// [`Self::apply_answer`]. A description that cannot be met changes nothing: the answer may be another one.
    pub fn apply_early_answer(&mut self, now: Instant, id: LegId, answer: &str) {
        self.work(id, |leg, _| {
            if let Side::Phone(phone) = &mut leg.side
                && let Err(why) = phone.apply_early_answer(now, answer)
            {
                tracing::debug!(%id, %why, "early media cannot be met: the answer is waited for");
            }
            Ok(())
        });
        self.rewire(id);
    }

    /// A phone that nobody has picked up rings: where it sends no sound of its own any more, the other leg hears
    /// ringback of ours.
    pub fn ring_back(&mut self, id: LegId) {
        self.work(id, |leg, _| {
            if let Side::Phone(phone) = &mut leg.side {
                phone.ring_back();
            }
            Ok(())
        });
    }

    /// The far end of a phone leg that nobody has picked up has left: what it said last, which the other leg hears with a
    /// delay, is heard to its end. [`Happened::HeardOut`] follows then, and at once where nothing is left to hear; never
    /// if the other leg never connects.
    pub fn hear_out(&mut self, now: Instant, id: LegId) {
        self.work(id, |leg, _| {
            if let Side::Phone(phone) = &mut leg.side {
                phone.hear_out(now);
            }
            Ok(())
        });
    }

    /// Another telephone of the same call may be listened to now, with another codec.
    pub(super) fn follow_turn(&mut self, id: LegId) {
        if let Some(Leg {
            side: Side::Phone(phone),
            ..
        }) = self.legs.get_mut(&id)
            && phone.has_turned()
        {
            self.rewire(id);
        }
    }

    /// What the leg speaks that this one is, or will be, bridged with. A phone that calls will be bridged with a browser,
    /// which speaks what the site's policy lets it.
    fn other_side(&self, id: LegId) -> Option<Speaker> {
        let leg = self.legs.get(&id)?;
        if let Some(other) = leg.peer.or(leg.beside) {
            return Some(self.legs.get(&other)?.speaks());
        }
        match &leg.side {
            Side::Browser(_) => None,
            Side::Phone(_) => Some(Speaker::of_policy(self.settings.policy)),
        }
    }

    /// Tells both ends of a bridge what the other takes as it is.
    pub(super) fn rewire(&mut self, id: LegId) {
        let Some(peer) = self.legs.get(&id).and_then(|leg| leg.peer) else {
            return;
        };
        if let [Some(one), Some(other)] = self.legs.get_disjoint_mut([&id, &peer]) {
            let (ours, theirs) = (one.hears(), other.hears());
            tracing::debug!(%id, ?ours, %peer, ?theirs, "what a leg speaks, and the one that it is bridged with");
            one.receiver().feed_through(&theirs);
            other.receiver().feed_through(&ours);
        }
    }
}
