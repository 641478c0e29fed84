//! A phone leg changes its worker.

use super::leg::{Leg, Side};
use super::{LegId, Legs};

/// A phone leg between two workers, with its numbers, its clock, and what it counted. Nothing runs meanwhile: its
/// datagrams wait in its sockets, and what was due is caught up with.
#[derive(Debug)]
pub struct MovingLeg(Leg);

impl Legs {
    /// Hands a phone leg over; its bridge ends. `None`: there is no such leg, or it is a browser leg, whose datagrams
    /// come to the port of this worker and no other.
    pub fn hand_over(&mut self, id: LegId) -> Option<MovingLeg> {
        if !matches!(self.legs.get(&id)?.side, Side::Phone(_)) {
            return None;
        }
        self.part(id);
        let mut leg = self.legs.remove(&id)?;
        leg.armed = None;
        Some(MovingLeg(leg))
    }

    /// Takes over a leg that another worker handed over.
    pub fn take_over(&mut self, id: LegId, leg: MovingLeg) {
        self.legs.insert(id, leg.0);
        self.settle(id);
    }
}
