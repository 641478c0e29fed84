//! Which worker each leg stands on.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use mxtrunk_media::LegId;

use crate::command::Refused;
use crate::headroom::Gauge;

/// Where every open leg stands, and what each worker has to carry.
#[derive(Debug)]
pub(crate) struct Directory {
    legs: DashMap<LegId, Seat>,
    gauges: Vec<Gauge>,
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) worker: usize,
    pub(crate) kind: Kind,
    /// On its way there.
    moving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Browser,
    Phone,
}

impl Directory {
    pub(crate) fn new(workers: usize) -> Self {
        Directory {
            legs: DashMap::new(),
            gauges: (0..workers).map(|_| Gauge::default()).collect(),
        }
    }

    /// The number of legs.
    pub(crate) fn len(&self) -> usize {
        self.legs.len()
    }

    /// The number of legs on each worker.
    pub(crate) fn by_worker(&self) -> Vec<usize> {
        self.gauges().map(|gauge| gauge.load().legs).collect()
    }

    pub(crate) fn seat(&self, leg: LegId) -> Result<Seat, Refused> {
        let seat = self.legs.get(&leg).ok_or(Refused::NoSuchLeg)?;
        Ok(*seat)
    }

    pub(crate) fn worker_of(&self, leg: LegId) -> Result<usize, Refused> {
        Ok(self.seat(leg)?.worker)
    }

    /// The worker that a new call goes to.
    pub(crate) fn next_to_fill(&self) -> usize {
        let loads = self.gauges.iter().enumerate();
        loads
            .min_by_key(|(_, gauge)| gauge.load().rank())
            .map_or(0, |(worker, _)| worker)
    }

    /// Where a worker publishes its load.
    pub(crate) fn gauge(&self, worker: usize) -> &Gauge {
        &self.gauges[worker]
    }

    /// The gauges of all workers, in their order.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        self.gauges.iter()
    }

    pub(crate) fn enter(&self, leg: LegId, worker: usize, kind: Kind) -> Result<(), Refused> {
        match self.legs.entry(leg) {
            Entry::Occupied(_) => Err(Refused::DuplicateLeg),
            Entry::Vacant(free) => {
                free.insert(Seat {
                    worker,
                    kind,
                    moving: false,
                });
                self.gauges[worker].enter();
                Ok(())
            }
        }
    }

    /// The leg is gone, wherever it stood.
    pub(crate) fn leave(&self, leg: LegId) {
        if let Some((_, seat)) = self.legs.remove(&leg) {
            self.gauges[seat.worker].leave();
        }
    }

    /// Gives a leg a seat on another worker, if `ask` gets its worker to let it go. From then on its orders go to the
    /// new worker, which keeps them until the leg is there: the old one has every earlier order before it in its
    /// queue, so that none is overtaken.
    pub(crate) fn reseat(
        &self,
        leg: LegId,
        worker: usize,
        ask: impl FnOnce(usize) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut seat = self.legs.get_mut(&leg).ok_or(Refused::NoSuchLeg)?;
        if seat.worker == worker {
            return Ok(());
        }
        if seat.moving {
            return Err(Refused::Busy);
        }
        ask(seat.worker)?;
        self.gauges[seat.worker].leave();
        self.gauges[worker].enter();
        (seat.worker, seat.moving) = (worker, true);
        Ok(())
    }

    /// The leg has arrived.
    pub(crate) fn arrive(&self, leg: LegId) {
        if let Some(mut seat) = self.legs.get_mut(&leg) {
            seat.moving = false;
        }
    }

    /// Whether the leg is on its way to this worker.
    pub(crate) fn is_coming(&self, leg: LegId, worker: usize) -> bool {
        let seat = self.legs.get(&leg);
        seat.is_some_and(|seat| seat.moving && seat.worker == worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEG: LegId = LegId(1);

    #[test]
    fn a_leg_that_cannot_leave_stays_and_one_on_its_way_does_not_turn_round() {
        let directory = Directory::new(3);
        directory.enter(LEG, 0, Kind::Phone).unwrap();
        let refused = directory.reseat(LEG, 1, |_| Err(Refused::Busy));
        assert_eq!(refused, Err(Refused::Busy));
        assert_eq!(directory.worker_of(LEG), Ok(0));
        assert_eq!(
            directory.reseat(LEG, 1, |from| {
                assert_eq!(from, 0);
                Ok(())
            }),
            Ok(())
        );
        assert!(directory.is_coming(LEG, 1) && !directory.is_coming(LEG, 0));
        assert_eq!(directory.reseat(LEG, 2, |_| Ok(())), Err(Refused::Busy));
        directory.arrive(LEG);
        assert!(!directory.is_coming(LEG, 1));
        assert_eq!(directory.reseat(LEG, 2, |_| Ok(())), Ok(()));
    }

    #[test]
    fn a_leg_that_fails_on_its_way_is_counted_nowhere() {
        let directory = Directory::new(2);
        directory.enter(LEG, 0, Kind::Phone).unwrap();
        directory.reseat(LEG, 1, |_| Ok(())).unwrap();
        directory.leave(LEG);
        assert_eq!(directory.len(), 0);
        assert!(!directory.is_coming(LEG, 1));
        assert_eq!(directory.by_worker(), [0, 0]);
    }
}
