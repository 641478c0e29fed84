//! A peer's socket, and the weather that its datagrams meet on their way, in both directions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use crate::link::{Way, Weather};

/// Longer than any datagram that a peer gets.
pub(super) const LONGEST: usize = 2_048;

/// The socket. In no weather nothing stands between it and its owner.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UdpSocket,
    air: Option<Box<Air>>,
}

/// What is under way.
#[derive(Debug)]
struct Air {
    since: Instant,
    out: Lane,
    back: Lane,
}

#[derive(Debug)]
struct Lane {
    way: Way,
    flying: BinaryHeap<Reverse<Flight>>,
    departures: u64,
}

/// A datagram under way, to or from `peer`. Ordered by arrival, then by departure.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Duration,
    number: u64,
    peer: SocketAddr,
    datagram: Vec<u8>,
}

impl Wire {
    /// On the loopback, without weather.
    ///
    /// # Errors
    /// When there is no socket.
    pub(super) fn new() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { socket, air: None })
    }

    /// Its own address.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> anyhow::Result<()> {
        Ok(registry.register(&mut self.socket, token, Interest::READABLE)?)
    }

    /// From now on it has this weather, by chances that grow from `seed`.
    pub(super) fn turns(&mut self, seed: u64, weather: Weather) {
        let lane = |number| {
            let mut way = Way::new(seed.wrapping_mul(2) + number);
            way.turns(Duration::ZERO, weather);
            Lane {
                way,
                flying: BinaryHeap::new(),
                departures: 0,
            }
        };
        self.air = Some(Box::new(Air {
            since: Instant::now(),
            out: lane(0),
            back: lane(1),
        }));
    }

    /// Sends a datagram. One that the kernel does not take is missing in the figures.
    pub(super) fn send(&mut self, datagram: &[u8], to: SocketAddr) {
        let Some(air) = &mut self.air else {
            let _ = self.socket.send_to(datagram, to);
            return;
        };
        air.out.depart(air.since.elapsed(), datagram, to);
        self.flush();
    }

    /// Sends what has been held up long enough.
    pub(super) fn flush(&mut self) {
        if let Some(air) = &mut self.air {
            let now = air.since.elapsed();
            while let Some(flight) = air.out.arrive(now) {
                let _ = self.socket.send_to(&flight.datagram, flight.peer);
            }
        }
    }

    /// The next datagram that is there, its length and whom it is from.
    pub(super) fn receive(&mut self, buffer: &mut [u8; LONGEST]) -> Option<(usize, SocketAddr)> {
        let Some(air) = &mut self.air else {
            return self.socket.recv_from(buffer).ok();
        };
        while let Ok((length, from)) = self.socket.recv_from(buffer) {
            let now = air.since.elapsed();
            air.back.depart(now, &buffer[..length], from);
        }
        let Flight { peer, datagram, .. } = air.back.arrive(air.since.elapsed())?;
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Some((datagram.len(), peer))
    }
}

impl Lane {
    fn depart(&mut self, now: Duration, datagram: &[u8], peer: SocketAddr) {
        for at in self.way.send(now, datagram) {
            self.departures += 1;
            self.flying.push(Reverse(Flight {
                at,
                number: self.departures,
                peer,
                datagram: datagram.to_vec(),
            }));
        }
    }

    fn arrive(&mut self, now: Duration) -> Option<Flight> {
        let Reverse(next) = self.flying.peek()?;
        match next.at <= now {
            true => self.flying.pop().map(|Reverse(flight)| flight),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTP: [u8; 12] = [0x80, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const PATIENCE: Duration = Duration::from_secs(5);

    fn numbered(number: u8) -> [u8; 12] {
        let mut packet = RTP;
        packet[3] = number;
        packet
    }

    /// The numbers of what comes at `to` until it is `count`, or until nothing can be under way any more.
    fn heard(from: &mut Wire, to: &mut Wire, count: usize) -> Vec<u8> {
        let (begun, mut numbers) = (Instant::now(), Vec::new());
        let mut buffer = [0; LONGEST];
        while numbers.len() < count && begun.elapsed() < PATIENCE {
            from.flush();
            while to.receive(&mut buffer).is_some() {
                numbers.push(buffer[3]);
            }
        }
        numbers
    }

    fn pair() -> (Wire, Wire, SocketAddr) {
        let (one, other) = (Wire::new().unwrap(), Wire::new().unwrap());
        let address = other.address().unwrap();
        (one, other, address)
    }

    #[test]
    fn what_is_delayed_on_the_way_out_or_in_comes_that_much_later_and_in_order() {
        let delay = Duration::from_millis(30);
        let weather = Weather {
            delay,
            ..Weather::default()
        };
        let (mut one, mut other, address) = pair();
        one.turns(1, weather);
        other.turns(2, weather);
        let begun = Instant::now();
        for number in 0..5 {
            one.send(&numbered(number), address);
        }
        assert_eq!(heard(&mut one, &mut other, 5), [0, 1, 2, 3, 4]);
        assert!(begun.elapsed() >= delay * 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_lost_never_comes_and_what_is_doubled_comes_twice() {
        let (mut one, mut other, address) = pair();
        one.turns(
            1,
            Weather {
                loss: 1.0,
                ..Weather::default()
            },
        );
        one.send(&numbered(1), address);
        one.turns(
            1,
            Weather {
                doubled: 1.0,
                ..Weather::default()
            },
        );
        one.send(&numbered(2), address);
        assert_eq!(heard(&mut one, &mut other, 2), [2, 2]);
    }

    #[test]
    fn of_what_jitter_holds_up_the_quicker_comes_first() {
        let (mut one, mut other, address) = pair();
        one.turns(
            5,
            Weather {
                jitter: Duration::from_millis(50),
                ..Weather::default()
            },
        );
        for number in 0..10 {
            one.send(&numbered(number), address);
        }
        let mut numbers = heard(&mut one, &mut other, 10);
        assert!(!numbers.is_sorted(), "{numbers:?}");
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..10));
    }
}
