//! A telephone asks by REFER for another party in its place: the call is the person's, who did not ask, and pays.

use std::time::Instant;

use mxtrunk_call::{LegId, Reason};
use mxtrunk_sip::{self as sip, Replaces};
use tracing::{debug, info};

use super::{By, Place};
use crate::call_task::CallTask;
use crate::classes::{Class, Permissions};
use crate::legs;
use crate::numbers::NumberPlan;

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
        let is_free = self.transfers.party.is_none() && self.transfers.joining.is_none();
        let place = place.filter(|_| is_free && !self.is_ending());
        let way = match place {
            Some(_) if !self.may_name(leg, &to) => Err(Reason::Declined.into()),
            Some(place) => self.way_to(place, to, replaces, referred_by),
            None => Err(Reason::Unavailable.into()),
        };
        match way {
            Ok((party, priority)) => {
                self.note_help(priority);
                self.call_party(now, leg, party, By::Us);
            }
            Err(refusal) => {
                let reason = refusal.reason;
                refusal.warn(&self.record.id().0);
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

    /// Whether the trunk of this telephone may name a number in Refer-To.
    fn may_name(&self, leg: LegId, to: &str) -> bool {
        let trunks = self.transfers.router.settings.trunks.now();
        let dialog = self.peers.phones.dialog(legs::sip_leg(leg));
        let trunk = dialog.map(|dialog| dialog.trunk);
        let may = trunk.as_ref().is_some_and(|trunk| {
            let refer_to = trunks.of(trunk).refer_to;
            has(refer_to.as_ref(), self.peers.directory.now().plan(), to)
        });
        if !may {
            let trunk = trunk.as_ref().map_or("", |trunk| trunk.0.as_str());
            info!(
                call = %self.record.id().0,
                trunk,
                "a telephone asked by REFER for a number that refer_to of its [[trunk]] does not have: refused"
            );
        }
        may
    }
}

/// Whether these classes have what a REFER names; `None`: whatever it is, the line decides. No feature code is in them: it would
/// set something of the line's. Nor does Replaces make a difference: a far end that has never heard of it would call the number.
fn has(refer_to: Option<&Permissions>, plan: &NumberPlan, to: &str) -> bool {
    let Some(refer_to) = refer_to else {
        return true;
    };
    if plan.is_emergency(to) {
        return true;
    }
    let Some(number) = plan.normalise(to) else {
        return refer_to.has(Class::International);
    };
    !number.as_str().contains(['*', '#']) && refer_to.has(plan.class_of(&number).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telephone_of_a_trunk_that_is_not_trusted_names_extensions_and_help_and_nothing_that_costs()
    {
        let plan = NumberPlan {
            emergency: vec!["112".into()],
            ..NumberPlan::french()
        };
        let of = |classes: &[Class]| Some(classes.iter().copied().collect::<Permissions>());
        let inside = crate::TrunkSettings::default().refer_to;
        let national = of(&[Class::Internal, Class::National]);
        for (to, inside_may, national_may, nobody_may) in [
            ("1002", true, true, false),
            // As a PBX names the telephone that was consulted.
            ("desk-1002", true, true, false),
            ("112", true, true, true),
            ("+33112", true, true, true),
            ("0177123456", false, true, false),
            ("+33177123456", false, true, false),
            ("0049301234567", false, false, false),
            ("#31#0177123456", false, false, false),
            ("*73", false, false, false),
            ("caf\u{e9}", false, false, false),
        ] {
            assert_eq!(has(inside.as_ref(), &plan, to), inside_may, "{to}");
            assert_eq!(has(national.as_ref(), &plan, to), national_may, "{to}");
            assert_eq!(has(of(&[]).as_ref(), &plan, to), nobody_may, "{to}");
            assert!(has(None, &plan, to), "{to}");
        }
    }
}
