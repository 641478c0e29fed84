//! SRTP on both sides: the phones of one gateway are those of another.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mxtrunk_media::{Epoch, LegId, Legs, PhoneProfile, Settings, Socket, SrtpPolicy, SrtpSecret};
use stats_alloc::Region;

use crate::{ALLOCATOR, COUNTED, MTU, TICK, WARM_UP, description};

/// Suites by their names in `a=crypto` (RFC 4568, RFC 7714).
pub(crate) const SUITES: [&str; 4] = [
    "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
];

/// Two gateways whose phone legs speak with each other, in virtual time; each bridges its own by twos.
pub(crate) struct Secured {
    now: Instant,
    gateways: [Legs; 2],
    legs: u16,
    flying: Vec<(usize, LegId, SocketAddr, usize, [u8; MTU])>,
}

impl Secured {
    pub(crate) fn new(bridges: u16, suite: &str) -> Self {
        let now = Instant::now();
        let mut secured = Secured {
            now,
            gateways: [gateway(now, 1), gateway(now, 2)],
            legs: 2 * bridges,
            flying: Vec::with_capacity(1024),
        };
        for n in 0..secured.legs {
            secured.connect(n, suite);
        }
        for n in (0..secured.legs).step_by(2) {
            for legs in &mut secured.gateways {
                legs.bridge(now, leg(n), leg(n + 1));
            }
        }
        secured
    }

    fn connect(&mut self, n: u16, suite: &str) {
        let profile = PhoneProfile {
            srtp: SrtpPolicy::Required,
            ..PhoneProfile::default()
        };
        let (now, [one, other]) = (self.now, &mut self.gateways);
        one.open_phone(now, leg(n), port(0, n), &profile, None);
        let of_suite = |line: &&str| !line.starts_with("a=crypto:") || line.contains(suite);
        let offer = description(one);
        let offer: Vec<_> = offer.lines().filter(of_suite).collect();
        let offer = offer.join("\r\n") + "\r\n";
        other.open_phone(now, leg(n), port(1, n), &profile, Some(&offer));
        let answer = description(other);
        assert!(answer.contains(suite), "{answer}");
        one.apply_answer(now, leg(n), &answer);
    }

    /// Allocations per packet sealed here and opened there, once everything has its size.
    pub(crate) fn allocations(&mut self) -> f64 {
        for _ in 0..WARM_UP {
            self.run_round();
        }
        let region = Region::new(ALLOCATOR);
        let packets: usize = (0..COUNTED).map(|_| self.run_round()).sum();
        let change = region.change();
        assert!(packets >= 2 * COUNTED * usize::from(self.legs), "{packets}");
        (change.allocations + change.reallocations) as f64 / packets as f64
    }

    /// One round of 20 ms; returns how many packets crossed.
    fn run_round(&mut self) -> usize {
        self.now += TICK;
        for (index, legs) in self.gateways.iter_mut().enumerate() {
            legs.handle_timeout(self.now);
            while let Some(transmit) = legs.poll_transmit() {
                if let Socket::Rtp(id) = transmit.socket {
                    let mut bytes = [0; MTU];
                    bytes[..transmit.payload.len()].copy_from_slice(transmit.payload);
                    let source = port(index, id.0 as u16);
                    let len = transmit.payload.len();
                    self.flying.push((1 - index, id, source, len, bytes));
                }
            }
        }
        let packets = self.flying.len();
        for (to, id, source, len, bytes) in self.flying.drain(..) {
            self.gateways[to].handle(self.now, Socket::Rtp(id), source, &bytes[..len]);
        }
        packets
    }
}

impl Drop for Secured {
    /// Every packet was opened, or nothing was measured.
    fn drop(&mut self) {
        for legs in &mut self.gateways {
            for n in 0..self.legs {
                legs.close(leg(n));
            }
            while let Some(event) = legs.poll_event() {
                if let mxtrunk_media::Happened::Closed { stats } = event.what {
                    assert!(stats.received.packets > COUNTED as u64, "{stats:?}");
                    assert_eq!(stats.dropped.forged, 0);
                }
            }
        }
    }
}

fn gateway(now: Instant, seed: u8) -> Legs {
    let epoch = Epoch {
        instant: now,
        since_unix: Duration::ZERO,
    };
    let settings = Settings::new(vec![port(usize::from(seed), 0)]);
    Legs::new(settings, epoch, u64::from(seed))
        .with_secret(SrtpSecret::new([seed; SrtpSecret::LEN]))
}

fn leg(n: u16) -> LegId {
    LegId(u64::from(n))
}

fn port(gateway: usize, n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 4 + gateway as u8], 10_000 + 2 * n))
}
