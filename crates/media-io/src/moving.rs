//! A phone leg goes from one worker to another, with its sockets.
//!
//! The directory gives it its new seat at the moment when the old worker is told ([`Directory::reseat`]). Orders that
//! reach the new worker before the leg does wait here. The way between two workers is a channel of its own, so that a
//! full queue of orders cannot hold a leg up; it never holds more than there are legs.

use std::collections::VecDeque;

use mxtrunk_media::{LegId, MovingLeg};

use crate::command::Command;
use crate::sockets::PhoneSockets;
use crate::worker::{Order, Task, Worker};

#[cfg(doc)]
use crate::directory::Directory;

/// A leg that comes from another worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    leg: LegId,
    /// `None`: it was gone before it could leave.
    luggage: Option<Luggage>,
}

#[derive(Debug)]
struct Luggage {
    leg: MovingLeg,
    sockets: PhoneSockets,
}

impl Worker {
    /// Sends a leg to another worker.
    pub(crate) fn hand_over(&mut self, leg: LegId, to: usize) {
        let luggage = self.legs.hand_over(leg).and_then(|moving| {
            let sockets = self.sockets.release(leg)?;
            Some(Luggage {
                leg: moving,
                sockets,
            })
        });
        let door = &self.doors[to];
        // A worker that is gone has been stopped, and so will this one be.
        let _ = door.arrivals.send(Arrival { leg, luggage });
        door.wake();
    }

    /// Takes in what other workers sent, then does what waited for it.
    pub(crate) fn receive_legs(&mut self) {
        while let Ok(Arrival { leg, luggage }) = self.arrivals.try_recv() {
            if let Some(luggage) = luggage {
                self.take_over(leg, luggage);
            }
            self.directory.arrive(leg);
            for order in std::mem::take(&mut self.waiting) {
                self.take(order);
            }
        }
    }

    fn take_over(&mut self, leg: LegId, luggage: Luggage) {
        self.legs.take_over(leg, luggage.leg);
        match self.sockets.admit(leg, luggage.sockets) {
            Ok(()) => self.note_readable(leg),
            Err((error, sockets)) => {
                tracing::warn!(%error, "the sockets of a leg that moved cannot be read");
                self.sockets.discard(sockets);
                self.legs.close(leg);
            }
        }
        self.flush();
    }

    /// Executes an order, or keeps it if a leg that it needs is still on its way. Orders of one leg stay in order.
    pub(crate) fn take(&mut self, order: Order) {
        if self.must_wait(&order) {
            self.waiting.push_back(order);
        } else {
            self.execute(order);
            self.flush();
        }
    }

    fn must_wait(&self, order: &Order) -> bool {
        let coming =
            |leg: LegId| !self.legs.contains(leg) && self.directory.is_coming(leg, self.index);
        let with = match &order.task {
            Task::Obey(Command::Bridge { with }) => Some(*with),
            _ => None,
        };
        coming(order.leg)
            || with.is_some_and(coming)
            || self.waiting.iter().any(|earlier| earlier.leg == order.leg)
    }
}

/// Orders that wait; few, and not for long.
pub(crate) type Waiting = VecDeque<Order>;
