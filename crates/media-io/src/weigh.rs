//! A worker weighs what it has to carry, says so, and spares where it is too much.

use std::sync::Arc;
use std::time::Instant;

use mxtrunk_media::{CodecPolicy, Effort, LegId, Why};

use crate::command::Priority;
use crate::config::MediaIoConfig;
use crate::counters::{Counters, count};
use crate::meter::Meter;
use crate::pressure::{OverloadControl, Pressure, Reading};
use crate::worker::Worker;

/// What a worker weighs with.
#[derive(Debug)]
pub(crate) struct Scales {
    pub(crate) meter: Meter,
    pub(crate) counters: Arc<Counters>,
    control: OverloadControl,
    /// What a call gets while there is time for it …
    as_set: Effort,
    /// … and while there is not.
    spared: Effort,
}

impl Scales {
    pub(crate) fn new(now: Instant, config: &MediaIoConfig, counters: Arc<Counters>) -> Self {
        let as_set = Effort {
            policy: config.policy,
            opus_complexity: config.opus.complexity,
        };
        let spared = spared(as_set, config.load.shed_complexity);
        let left = cost(spared.opus_complexity) / cost(as_set.opus_complexity);
        Scales {
            meter: Meter::new(now),
            counters,
            control: OverloadControl::new(config.load, left),
            as_set,
            spared,
        }
    }

    /// When the worker wants to be woken for nothing but this: an idle one never, but what it published must not stay
    /// when its calls have ended.
    pub(crate) fn due(&self) -> Option<Instant> {
        let settled = self.meter.is_idle() && self.pressure() == Pressure::Normal;
        (!settled).then(|| self.meter.due())
    }

    fn effort(&self, pressure: Pressure) -> Effort {
        match pressure {
            Pressure::Normal => self.as_set,
            Pressure::Refuse if !self.control.spares() => self.as_set,
            Pressure::Shed | Pressure::Refuse => self.spared,
        }
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.control.pressure()
    }
}

fn spared(as_set: Effort, complexity: u8) -> Effort {
    Effort {
        policy: match as_set.policy {
            // Takes the way of the least work anyway, and also where G.722 is all there is.
            CodecPolicy::Auto => CodecPolicy::Auto,
            CodecPolicy::Opus | CodecPolicy::G711 => CodecPolicy::G711,
        },
        opus_complexity: as_set.opus_complexity.min(complexity),
    }
}

/// What a frame costs with its decoding, roughly and in µs: docs/opus.md.
fn cost(complexity: u8) -> f32 {
    let encoding = match complexity {
        0 => 26.0,
        1 => 28.0,
        2 => 45.0,
        3 | 4 => 49.0,
        5 | 6 => 63.0,
        7..=9 => 80.0,
        _ => 95.0,
    };
    encoding + 20.0
}

impl Worker {
    /// Notes by how much the frame is late that is served now.
    pub(crate) fn note_late(&mut self, now: Instant) {
        if let Some((due, Why::Frame)) = self.legs.poll_timeout()
            && due <= now
        {
            self.scales.meter.served(now.duration_since(due));
        }
    }

    /// Publishes what the last turn took, and changes what calls get if that is too much, or no longer.
    pub(crate) fn weigh(&mut self, now: Instant) {
        let Some(reading) = self.scales.meter.read(now) else {
            return;
        };
        let before = self.scales.pressure();
        let changed = self.scales.control.judge(now, &reading);
        let gauge = self.directory.gauge(self.index);
        gauge.publish(&reading, self.legs.bridged(), self.scales.pressure());
        if let Some(pressure) = changed {
            self.tell(before, pressure, &reading);
            self.legs.set_effort(self.scales.effort(pressure));
        }
    }

    fn tell(&self, before: Pressure, pressure: Pressure, reading: &Reading) {
        let counters = &self.scales.counters;
        let worker = self.index;
        let busy_percent = (reading.busy * 100.0).round();
        let late_ms = reading.late.unwrap_or_default().as_secs_f32() * 1000.0;
        let calls = self.legs.bridged() / 2;
        if before == Pressure::Normal {
            count(&counters.shedding_began);
        }
        match pressure {
            Pressure::Refuse => {
                count(&counters.refusing_began);
                tracing::warn!(
                    worker,
                    busy_percent,
                    late_ms,
                    calls,
                    "a media worker is full: it takes no new calls but emergencies"
                );
            }
            Pressure::Shed if before == Pressure::Normal => tracing::warn!(
                worker,
                busy_percent,
                late_ms,
                calls,
                "a media worker is busy: new calls get G.711 where the browser has it, Opus gets a low complexity"
            ),
            Pressure::Shed => tracing::warn!(
                worker,
                busy_percent,
                late_ms,
                calls,
                "a media worker takes new calls again"
            ),
            Pressure::Normal => tracing::warn!(
                worker,
                busy_percent,
                late_ms,
                calls,
                "a media worker is no longer busy: everything is as set again"
            ),
        }
    }

    /// Opens a browser leg with what its call gets now.
    pub(crate) fn open_browser(
        &mut self,
        now: Instant,
        leg: LegId,
        beside: Option<LegId>,
        priority: Priority,
        offer: Option<&str>,
    ) {
        let spares = self.scales.pressure() != Pressure::Normal;
        let counters = &self.scales.counters;
        match priority {
            Priority::Normal => {
                if spares {
                    count(&counters.shed_calls);
                }
                self.legs.open_browser_beside(now, leg, beside, offer);
            }
            Priority::Emergency => {
                if spares {
                    count(&counters.emergencies_under_load);
                }
                let as_set = self.scales.as_set;
                self.legs
                    .open_exempt_browser(now, leg, beside, as_set, offer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_passes_straight_through_is_not_refused_by_sparing() {
        let effort = |policy| Effort {
            policy,
            opus_complexity: 5,
        };
        let table = [
            (CodecPolicy::Auto, CodecPolicy::Auto),
            (CodecPolicy::Opus, CodecPolicy::G711),
            (CodecPolicy::G711, CodecPolicy::G711),
        ];
        for (set, less) in table {
            let spared = spared(effort(set), 0);
            assert_eq!((spared.policy, spared.opus_complexity), (less, 0));
        }
    }
}
