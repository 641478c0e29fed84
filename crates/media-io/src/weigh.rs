//! A worker weighs what it has to carry, says so, and spares where it is too much.

use std::sync::Arc;
use std::time::Instant;

use mxtrunk_media::Why;

use crate::config::MediaIoConfig;
use crate::counters::{Counters, count};
use crate::meter::Meter;
use crate::pressure::{LoadLimits, OverloadControl, Pressure, Reading};
use crate::worker::Worker;

/// What a worker weighs with.
#[derive(Debug)]
pub(crate) struct Scales {
    pub(crate) meter: Meter,
    pub(crate) counters: Arc<Counters>,
    control: OverloadControl,
    limits: LoadLimits,
}

impl Scales {
    pub(crate) fn new(now: Instant, config: &MediaIoConfig, counters: Arc<Counters>) -> Self {
        Scales {
            meter: Meter::new(now),
            counters,
            control: OverloadControl::new(config.load),
            limits: config.load,
        }
    }

    /// When the worker wants to be woken for nothing but this: an idle one never, but what it published must not stay
    /// when its calls have ended.
    pub(crate) fn due(&self) -> Option<Instant> {
        let settled = self.meter.is_idle() && self.pressure() == Pressure::Normal;
        (!settled).then(|| self.meter.due())
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.control.pressure()
    }
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
            self.spare(pressure);
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

    fn spare(&mut self, pressure: Pressure) {
        let _ = (pressure, &self.scales.limits);
    }
}
