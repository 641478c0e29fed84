//! Whether the media workers that carry sound still move.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mxtrunk_media_io::{MediaIo, WorkerLoad};

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Looks at them for as long as the process lives.
#[derive(Clone)]
pub(crate) struct Vigil(Arc<Mutex<Seen>>);

/// When was looked last, and for how long the one that is longest silent had been then.
struct Seen {
    at: Instant,
    silent: Duration,
}

impl Vigil {
    /// From now on.
    pub(crate) fn begin(media: MediaIo) -> Self {
        let seen = Arc::new(Mutex::new(Seen {
            at: Instant::now(),
            silent: Duration::ZERO,
        }));
        let vigil = Self(seen.clone());
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(EVERY);
            let mut workers = Workers::default();
            loop {
                turns.tick().await;
                let at = Instant::now();
                let silent = workers.silent(at, &media.loads(), &media.readings());
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { at, silent };
            }
        });
        vigil
    }

    /// For how long the one that is longest silent has been, of those that carry sound.
    pub(crate) fn silent(&self) -> Duration {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.silent.is_zero() {
            true => Duration::ZERO,
            false => seen.silent + seen.at.elapsed(),
        }
    }
}

/// What each media worker's count of readings was, and since when.
#[derive(Default)]
struct Workers(Vec<(u32, Instant)>);

impl Workers {
    /// For how long the one that is longest silent has been, of those that carry sound: without, a worker may sleep.
    fn silent(&mut self, now: Instant, loads: &[WorkerLoad], readings: &[u32]) -> Duration {
        self.0.resize(readings.len(), (0, now));
        let known = self.0.iter_mut().zip(readings).zip(loads);
        let silences = known.map(|(((count, since), reading), load)| {
            if count != reading || load.bridged == 0 {
                (*count, *since) = (*reading, now);
            }
            now.duration_since(*since)
        });
        silences.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_carries_sound_and_measures_nothing_stands_still() {
        let load = |bridged| WorkerLoad {
            busy: 0.0,
            late: Duration::ZERO,
            legs: bridged,
            bridged,
            pressure: mxtrunk_media_io::Pressure::Normal,
        };
        let began = Instant::now();
        let mut workers = Workers::default();
        let mut after = |seconds, bridged, reading| {
            let now = began + Duration::from_secs(seconds);
            let silent = workers.silent(now, &[load(0), load(bridged)], &[7, reading]);
            silent.as_secs()
        };
        assert_eq!(after(0, 2, 1), 0);
        assert_eq!(after(10, 2, 11), 0, "it measures");
        assert_eq!(after(45, 2, 11), 35, "it does no more");
        assert_eq!(after(55, 0, 11), 0, "it sleeps, as the other does");
        assert_eq!(after(60, 2, 11), 5, "it has just been given a call");
    }
}
