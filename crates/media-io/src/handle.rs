//! The handle: finds the worker of a leg and passes commands on.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mio::{Poll, Waker};
use mxtrunk_media::{Epoch, Event, LegId, Legs, Socket, SrtpSecret};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use tokio::sync::mpsc::Sender;

use crate::command::{Command, Refused};
use crate::config::{MediaIoConfig, StartError};
use crate::counters::{CounterValues, Counters};
use crate::directory::{Directory, Kind};
use crate::headroom::{Gauge, Headroom, WorkerLoad};
use crate::moving::{Arrival, Waiting};
use crate::ports::PortPool;
use crate::priority::renice;
use crate::sockets::{BrowserSockets, PhoneSide, Sockets, WAKER, bind_browsers};
use crate::streams::bind_listener;
use crate::weigh::Scales;
use crate::worker::{Order, Task, Worker};

/// All media workers. Cheap to clone; when the last clone is dropped the workers stop.
#[derive(Debug, Clone)]
pub struct MediaIo {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    doors: Arc<[Door]>,
    directory: Arc<Directory>,
    counters: Arc<Counters>,
    /// From this busy share on a worker takes no new call.
    refuse_at: f32,
    worker_nice: i32,
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The way to one worker.
#[derive(Debug)]
pub(crate) struct Door {
    orders: SyncSender<Order>,
    /// For legs that come from other workers.
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    waker: Waker,
    browsers: Vec<SocketAddr>,
}

impl Door {
    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "a media worker cannot be woken");
        }
    }
}

impl MediaIo {
    /// Binds the browser ports and starts the workers. What happens to the legs is told on `events`; while that
    /// channel is full, events wait at the workers.
    pub fn start(config: MediaIoConfig, events: Sender<Event>) -> Result<MediaIo, StartError> {
        config.check()?;
        let ports = Arc::new(PortPool::new(&config.phone_ports, config.port_quarantine));
        if ports.len() == 0 {
            return Err(StartError::NoPhonePorts(config.phone_ports));
        }
        let workers = config.workers.max(1);
        let directory = Arc::new(Directory::new(workers, config.load.fill_to));
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut doors = Vec::with_capacity(workers);
        let mut crew = Vec::with_capacity(workers);
        for index in 0..workers {
            let (orders_in, orders) = sync_channel(config.queue.max(1));
            let (arrivals_in, arrivals) = mpsc::channel();
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (browsers, bound) = bind(&config, index)?;
            let (registry, ports) = (poll.registry().try_clone()?, Arc::clone(&ports));
            let phones = PhoneSide {
                bind: config.phone_bind,
                dscp: config.phone_dscp,
                ports,
            };
            let sockets = Sockets::new(registry, browsers, phones, counters.clone())?;
            doors.push(Door {
                orders: orders_in,
                arrivals: arrivals_in,
                waker,
                browsers: bound.iter().map(|(_, address)| *address).collect(),
            });
            crew.push(Worker {
                index,
                poll,
                legs: Legs::new(config.settings(&bound), epoch(), rand::random())
                    .with_secret(srtp_secret()?),
                sockets,
                phone_advertise: config.phone_advertise,
                orders,
                arrivals,
                waiting: Waiting::new(),
                doors: Arc::default(),
                scales: Scales::new(Instant::now(), &config, counters.clone()),
                events: events.clone(),
                directory: Arc::clone(&directory),
                stop: Arc::clone(&stop),
                readable: Vec::new(),
                backlog: std::collections::VecDeque::new(),
                more_orders: false,
            });
        }
        let shared = Shared {
            doors: doors.into(),
            directory,
            counters,
            refuse_at: config.load.refuse_at,
            worker_nice: config.worker_nice,
            stop,
            threads: Mutex::new(Vec::with_capacity(workers)),
        };
        // From here on dropping `shared` stops the threads that run already.
        shared.hire(crew)?;
        Ok(MediaIo {
            shared: Arc::new(shared),
        })
    }

    /// Passes a command to the worker of `leg`. Never blocks.
    pub fn send(&self, leg: LegId, command: Command) -> Result<(), Refused> {
        if self.shared.stop.load(Ordering::Acquire) {
            return Err(Refused::Stopped);
        }
        let directory = &self.shared.directory;
        match &command {
            Command::OpenBrowser { beside, .. } | Command::OpenPhone { beside, .. } => {
                let worker = match beside {
                    Some(beside) => directory.worker_of(*beside)?,
                    None => directory.next_to_fill(),
                };
                let kind = match command {
                    Command::OpenBrowser { .. } => Kind::Browser,
                    _ => Kind::Phone,
                };
                directory.enter(leg, worker, kind)?;
                let passed = self.pass(worker, leg, Task::Obey(command));
                if passed.is_err() {
                    directory.leave(leg);
                }
                passed
            }
            Command::Bridge { with } => {
                let worker = self.bring_together(leg, *with)?;
                self.pass(worker, leg, Task::Obey(command))
            }
            Command::Move { beside } => {
                let (seat, to) = (directory.seat(leg)?, directory.worker_of(*beside)?);
                match seat.kind {
                    Kind::Phone => self.reseat(leg, to),
                    Kind::Browser if seat.worker == to => Ok(()),
                    Kind::Browser => Err(Refused::OtherWorker),
                }
            }
            _ => self.pass(directory.worker_of(leg)?, leg, Task::Obey(command)),
        }
    }

    /// Sees to it that two legs stand on one worker; returns it.
    fn bring_together(&self, one: LegId, other: LegId) -> Result<usize, Refused> {
        let directory = &self.shared.directory;
        let (first, second) = (directory.seat(one)?, directory.seat(other)?);
        match (first.kind, second.kind) {
            _ if first.worker == second.worker => {}
            (_, Kind::Phone) => self.reseat(other, first.worker)?,
            (Kind::Phone, Kind::Browser) => {
                self.reseat(one, second.worker)?;
                return Ok(second.worker);
            }
            (Kind::Browser, Kind::Browser) => return Err(Refused::OtherWorker),
        }
        Ok(first.worker)
    }

    fn reseat(&self, leg: LegId, to: usize) -> Result<(), Refused> {
        let directory = &self.shared.directory;
        directory.reseat(leg, to, |from| self.pass(from, leg, Task::HandOver { to }))
    }

    fn pass(&self, worker: usize, leg: LegId, task: Task) -> Result<(), Refused> {
        let door = self.shared.doors.get(worker).ok_or(Refused::NoSuchLeg)?;
        match door.orders.try_send(Order { leg, task }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refused::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(Refused::Stopped),
        }
        door.wake();
        Ok(())
    }

    /// What each worker has bound for browsers: its UDP ports, then its TCP ports.
    pub fn browser_addresses(&self) -> Vec<Vec<SocketAddr>> {
        let doors = self.shared.doors.iter();
        doors.map(|door| door.browsers.clone()).collect()
    }

    /// The number of legs that are open on each worker; one that moves counts where it goes.
    pub fn legs_by_worker(&self) -> Vec<usize> {
        self.shared.directory.by_worker()
    }

    /// The number of legs that are open on all workers.
    pub fn legs(&self) -> usize {
        self.shared.directory.len()
    }

    /// What each worker last measured of itself.
    pub fn loads(&self) -> Vec<WorkerLoad> {
        self.shared.directory.gauges().map(Gauge::load).collect()
    }

    /// How often each worker has measured itself. One that carries sound does so every second: where its figure stands
    /// still, so does the worker.
    pub fn readings(&self) -> Vec<u32> {
        let gauges = self.shared.directory.gauges();
        gauges.map(Gauge::readings).collect()
    }

    /// How much room there is for new calls.
    pub fn headroom(&self) -> Headroom {
        Headroom::of(&self.loads(), self.shared.refuse_at)
    }

    /// What was counted since the start.
    pub fn counters(&self) -> CounterValues {
        self.shared.counters.values()
    }

    /// Closes all legs, saying goodbye to the browsers, and waits until the workers have ended: some milliseconds.
    /// The `Closed` events of the legs are told as far as the channel has room.
    pub fn shutdown(self) {
        self.shared.dismiss();
        let threads = std::mem::take(
            &mut *self
                .shared
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a media worker had died");
            }
        }
    }
}

impl Shared {
    fn hire(&self, crew: Vec<Worker>) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for mut worker in crew {
            worker.doors = Arc::clone(&self.doors);
            let name = format!("mx-media-{}", worker.index);
            let thread = std::thread::Builder::new().name(name);
            let nice = self.worker_nice;
            threads.push(thread.spawn(move || {
                renice(nice);
                worker.run();
            })?);
        }
        Ok(())
    }

    fn dismiss(&self) {
        self.stop.store(true, Ordering::Release);
        for door in self.doors.iter() {
            door.wake();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// Keys come from the system's own source of randomness.
fn srtp_secret() -> io::Result<SrtpSecret> {
    let mut random = [0; SrtpSecret::LEN];
    OsRng
        .try_fill_bytes(&mut random)
        .map_err(io::Error::other)?;
    Ok(SrtpSecret::new(random))
}

/// Binds the ports of a worker for browsers, and says which lies where.
fn bind(
    config: &MediaIoConfig,
    index: usize,
) -> Result<(BrowserSockets, Vec<(Socket, SocketAddr)>), StartError> {
    let mut sockets = BrowserSockets::default();
    let mut bound = Vec::new();
    for (number, ip) in config.browser_bind.iter().enumerate() {
        let address = SocketAddr::new(*ip, port_of(config.browser_port, index));
        let failed = |source| StartError::Bind { address, source };
        let socket = bind_browsers(address, config.browser_dscp).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        bound.push((Socket::Browsers(number), local));
        sockets.datagrams.push(socket);
    }
    for (number, ip) in config.browser_bind.iter().enumerate() {
        let Some(base) = config.browser_tcp_port else {
            break;
        };
        let address = SocketAddr::new(*ip, port_of(base, index));
        let failed = |source| StartError::Bind { address, source };
        let listener = bind_listener(address, config.browser_dscp).map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        bound.push((Socket::Streams(number), local));
        sockets.listeners.push(listener);
    }
    Ok((sockets, bound))
}

/// A worker's port, counted from the first one's; 0 stays 0.
fn port_of(base: u16, index: usize) -> u16 {
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    match base {
        0 => 0,
        base => base.saturating_add(index),
    }
}

fn epoch() -> Epoch {
    Epoch {
        instant: Instant::now(),
        // A clock before 1970 only spoils the NTP time in RTCP.
        since_unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    }
}
