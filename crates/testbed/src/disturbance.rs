//! Whether the machine let a measurement alone: sound that must leave every 20 ms is spoiled when its processes,
//! browsers and PBX included, get no processor in time, and then it says nothing about the gateway.

use std::fmt;
use std::fs;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

/// How often the watch looks at the clock.
const LOOK: Duration = Duration::from_millis(5);

/// What a calm machine stays below: with the demo's calls and nothing else, a thread was woken 3 to 8 ms late at worst
/// in a call, none of the processors' time went elsewhere, and work waited for 6 to 11 % of the time. Calls whose
/// sound broke had been woken 10 ms late and more, or had lost 11 % of the time (2026-11-28, 40 calls).
const LATE: Duration = Duration::from_millis(10);
const STOLEN: f64 = 0.02;
const WAITED: f64 = 0.25;

/// Watches the machine until [`Watch::end`].
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    ticks: Option<Ticks>,
    waited: Option<Duration>,
    over: Arc<AtomicBool>,
    /// One for each processor: a thread that may go anywhere finds the one that is free.
    clocks: Vec<JoinHandle<Duration>>,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clock = |processor| {
            let over = over.clone();
            thread::spawn(move || longest_stall(processor, &over))
        };
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let clocks = (0..processors).map(clock).collect();
        Self {
            began: Instant::now(),
            ticks: Ticks::now(),
            waited: waited(),
            over,
            clocks,
        }
    }

    /// What was seen since.
    #[must_use]
    pub fn end(self) -> Disturbance {
        self.over.store(true, Ordering::Relaxed);
        let stalls = self.clocks.into_iter();
        let stalls = stalls.map(|clock| clock.join().unwrap_or_default());
        let stalled = stalls.max().unwrap_or_default();
        let took = self.began.elapsed().as_secs_f64();
        let stolen = Ticks::now().zip(self.ticks);
        let waited = waited().zip(self.waited);
        Disturbance {
            stalled,
            stolen: stolen.map_or(0.0, |(now, then)| now.stolen_since(then)),
            waited: waited.map_or(0.0, |(now, then)| (now - then).as_secs_f64() / took),
        }
    }
}

/// What the machine did beside the measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Disturbance {
    /// The latest that a thread was woken after its time.
    pub stalled: Duration,
    /// The share of all processors' time that the hypervisor gave to others, 0.0 ..= 1.0.
    pub stolen: f64,
    /// The share of the time in which something waited for a processor (pressure stall information), 0.0 ..= 1.0;
    /// 0.0 where the kernel does not say.
    pub waited: f64,
}

impl Disturbance {
    /// Whether sound measured meanwhile says something about the gateway, and not about the machine.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.stalled < LATE && self.stolen < STOLEN && self.waited < WAITED
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the machine stood still for up to {} ms, {:.0} % of it was taken away, and for {:.0} % of the time \
             work waited for a processor",
            self.stalled.as_millis(),
            self.stolen * 100.0,
            self.waited * 100.0
        )
    }
}

/// How often something is measured at most.
const MEASURED: usize = 3;

/// What `measure` yields; once more where that is not good and the machine had not let it alone, twice at most. What
/// stays bad is bad, whatever the machine did.
pub async fn undisturbed<T>(
    mut measure: impl AsyncFnMut() -> T,
    is_good: impl Fn(&T) -> bool,
) -> T {
    for _ in 1..MEASURED {
        let watch = Watch::begin();
        let measured = measure().await;
        let disturbance = watch.end();
        if is_good(&measured) {
            return measured;
        }
        println!("bad sound, while {disturbance}");
        if disturbance.is_calm() {
            return measured;
        }
        print!("measured again … ");
    }
    measure().await
}

fn longest_stall(processor: usize, over: &AtomicBool) -> Duration {
    let mut only = CpuSet::new();
    only.set(processor);
    // Where we may not run there, it watches wherever it is put.
    let _ = sched_setaffinity(None, &only);
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let slept = Instant::now();
        thread::sleep(LOOK);
        longest = longest.max(slept.elapsed().saturating_sub(LOOK));
    }
    longest
}

/// The `cpu` line of `/proc/stat`, in ticks (proc(5)).
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map_while(|t| t.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; a guest's time is in user's.
        let counted = ticks.get(..8)?;
        Some(Self {
            all: counted.iter().sum(),
            stolen: counted[7],
        })
    }

    fn stolen_since(self, then: Self) -> f64 {
        let all = self.all.saturating_sub(then.all).max(1);
        self.stolen.saturating_sub(then.stolen) as f64 / all as f64
    }
}

/// How long something has waited for a processor since the machine started.
fn waited() -> Option<Duration> {
    some_total(&fs::read_to_string("/proc/pressure/cpu").ok()?)
}

fn some_total(pressure: &str) -> Option<Duration> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    let micros = line.rsplit_once("total=")?.1.trim().parse().ok()?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_given_to_others_is_a_share_of_all_time() {
        let then = Ticks::read("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 2 3").expect("a line");
        let now = Ticks::read("cpu  150 0 100 1300 50 0 0 400 90 0\n").expect("a line");
        assert!((now.stolen_since(then) - 0.3).abs() < 1e-9);
        assert!(Ticks::read("cpu  1 2 3").is_none());
    }

    #[test]
    fn the_wait_for_a_processor_is_read() {
        let pressure =
            "some avg10=1.21 avg60=2.69 avg300=6.56 total=7139517745\nfull avg10=0.00 total=1\n";
        assert_eq!(
            some_total(pressure),
            Some(Duration::from_micros(7_139_517_745))
        );
        assert_eq!(some_total("nothing"), None);
    }

    #[test]
    fn a_machine_that_stood_still_or_was_taken_away_is_not_calm() {
        let calm = Disturbance {
            stalled: Duration::from_millis(8),
            stolen: 0.002,
            waited: 0.1,
        };
        assert!(calm.is_calm());
        let stalled = Duration::from_millis(10);
        assert!(!Disturbance { stalled, ..calm }.is_calm());
        assert!(
            !Disturbance {
                stolen: 0.05,
                ..calm
            }
            .is_calm()
        );
        assert!(
            !Disturbance {
                waited: 0.5,
                ..calm
            }
            .is_calm()
        );
    }
}
