//! `/metrics`: what all sides of the house counted, as Prometheus reads it (OpenMetrics 1.0). What is counted elsewhere is
//! read when it is asked for; labels hold words of ours, trunks and workers, never a person or a number.

mod process;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use mxtrunk_media_io::Pressure;
use mxtrunk_signaling::count_behind;
use mxtrunk_sip::Standing;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::WeakSender;

use super::House;

/// The content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long the database may take to say how much is due.
const PATIENCE: Duration = Duration::from_secs(2);

/// The router's queues.
pub(crate) struct Queues {
    pub(crate) matrix: Depth,
    pub(crate) sip: Depth,
    pub(crate) media: Depth,
}

/// How many events wait in a queue.
pub(crate) type Depth = Box<dyn Fn() -> usize + Send + Sync>;

/// The depth of a queue, seen without keeping it open.
pub(crate) fn depth<T: Send + 'static>(sender: WeakSender<T>) -> Depth {
    Box::new(move || {
        let sender = sender.upgrade();
        sender.map_or(0, |sender| sender.max_capacity() - sender.capacity())
    })
}

pub(super) async fn show(State(house): State<Arc<House>>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], render(&house).await).into_response()
}

/// All metrics as text.
pub(super) async fn render(house: &House) -> String {
    let untold = untold(house).await;
    let homeserver = house.homeserver.reaches_us(&house.peers.app).await.is_ok();
    let mut all = Registry::default();
    process::register(&mut all);
    let own = all.sub_registry_with_prefix("mxtrunk");
    build(own);
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    gauge(
        own,
        "tasks",
        "Tasks of the runtime: some for the gateway itself, some for each call",
        i64::try_from(tasks).unwrap_or(i64::MAX),
    );
    house.peers.tally.register(own);
    gauge(
        own,
        "homeserver_up",
        "1: the homeserver reaches us (its ping, 10 s old at most)",
        i64::from(homeserver),
    );
    calls(own, house);
    trunks(own, house);
    queues(own, house, untold);
    workers(own, house);
    dropped(own, house);
    let mut text = String::new();
    // Nothing but the writer can fail, and a string does not.
    let _ = prometheus_client::encoding::text::encode(&mut text, &all);
    text
}

type Labels = Vec<(&'static str, String)>;

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn gauges(registry: &mut Registry, name: &str, help: &str, values: Vec<(Labels, f64)>) {
    let family = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    registry.register(name, help, family);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &[(&str, u64)],
) {
    let family = Family::<Labels, Counter>::default();
    for (word, value) in values {
        let labels = vec![(label, (*word).to_owned())];
        family.get_or_create(&labels).inc_by(*value);
    }
    registry.register(name, help, family);
}

fn labelled(label: &'static str, word: &str) -> Labels {
    vec![(label, word.to_owned())]
}

fn build(registry: &mut Registry) {
    let version = labelled("version", env!("CARGO_PKG_VERSION"));
    gauges(
        registry,
        "build_info",
        "Always 1; its label says what runs",
        vec![(version, 1.0)],
    );
}

fn calls(registry: &mut Registry, house: &House) {
    let (ringing, talking) = house.peers.ongoing.ringing_and_talking();
    gauges(
        registry,
        "live_calls",
        "Calls there are now",
        vec![
            (labelled("state", "ringing"), ringing as f64),
            (labelled("state", "talking"), talking as f64),
        ],
    );
    gauge(
        registry,
        "draining",
        "1: no new calls are taken, and the gateway stops with the last one",
        i64::from(house.admission.is_draining()),
    );
    let counts = house.admission.counts();
    counters(
        registry,
        "admission_refused",
        "New calls refused for want of room, or while draining",
        "reason",
        &[
            ("too_many_calls", counts.too_many_calls),
            ("no_headroom", counts.no_headroom),
            ("draining", counts.draining),
        ],
    );
    counters(
        registry,
        "line_limit_refused",
        "Calls that lines were refused, or that were ended, by a limit of theirs ([limits])",
        "limit",
        &house.admission.lines().refused(),
    );
    counter(
        registry,
        "emergencies_over_limit",
        "Calls for help taken though others would have been refused",
        counts.emergencies_over_limit,
    );
    counter(
        registry,
        "admin_refused",
        "Requests to the admin interface without the token, or with a wrong one",
        house.access.refused(),
    );
}

fn trunks(registry: &mut Registry, house: &House) {
    let trunks = house.peers.phones.trunks();
    let of_each = |value: fn(&mxtrunk_sip::TrunkState) -> f64| -> Vec<(Labels, f64)> {
        let one =
            |trunk: &mxtrunk_sip::TrunkState| (labelled("trunk", &trunk.trunk.0), value(trunk));
        trunks.iter().map(one).collect()
    };
    let up = of_each(|trunk| f64::from(u8::from(trunk.is_up)));
    gauges(registry, "trunk_up", "1: the trunk takes calls", up);
    let calls = of_each(|trunk| trunk.calls as f64);
    gauges(
        registry,
        "trunk_calls",
        "Calls over the trunk now, both ways",
        calls,
    );
    let most = of_each(|trunk| trunk.max_calls as f64);
    gauges(registry, "trunk_max_calls", "As many as it may have", most);
    let targets =
        of_each(|trunk| trunk.targets.iter().filter(|target| target.is_up).count() as f64);
    gauges(
        registry,
        "trunk_targets_up",
        "Addresses of the trunk that take calls",
        targets,
    );
    let states = ["registered", "waiting", "rejected"];
    let mut registrations: Vec<(Labels, f64)> = trunks
        .iter()
        .flat_map(|trunk| states.map(|state| (trunk.trunk.0.clone(), state)))
        .map(|(trunk, state)| (vec![("trunk", trunk), ("state", state.to_owned())], 0.0))
        .collect();
    for state in house.peers.phones.registrations() {
        let word = match state.standing {
            Standing::Registered => "registered",
            Standing::Rejected { .. } => "rejected",
            _ => "waiting",
        };
        let labels = vec![("trunk", state.trunk.0), ("state", word.to_owned())];
        match registrations.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, count)) => *count += 1.0,
            None => registrations.push((labels, 1.0)),
        }
    }
    gauges(
        registry,
        "registrations",
        "Lines that register at the trunk's PBX, by how that stands",
        registrations,
    );
}

/// How many calls people's histories do not tell of yet; `None` where the database does not say.
async fn untold(house: &House) -> Option<u64> {
    if !house.keeps_histories {
        // Rooms of a time when they were kept may still stand.
        return Some(0);
    }
    let count = count_behind(&house.peers.store);
    tokio::time::timeout(PATIENCE, count).await.ok()?.ok()
}

fn queues(registry: &mut Registry, house: &House, untold: Option<u64>) {
    let queues = &house.queues;
    let mut depths = vec![
        (labelled("queue", "matrix"), (queues.matrix)() as f64),
        (labelled("queue", "sip"), (queues.sip)() as f64),
        (labelled("queue", "media"), (queues.media)() as f64),
    ];
    if let Some(untold) = untold {
        depths.push((labelled("queue", "history"), untold as f64));
    }
    gauges(
        registry,
        "queue_depth",
        "Events that wait to be routed (4,096 at most each), and calls that people's histories do not tell of yet",
        depths,
    );
}

fn workers(registry: &mut Registry, house: &House) {
    let loads = house.peers.media.loads();
    let of_each = |value: fn(&mxtrunk_media_io::WorkerLoad) -> f64| -> Vec<(Labels, f64)> {
        let numbered = loads.iter().enumerate();
        numbered
            .map(|(worker, load)| (labelled("worker", &worker.to_string()), value(load)))
            .collect()
    };
    let busy = of_each(|load| load.busy.into());
    gauges(
        registry,
        "worker_busy_ratio",
        "The share of the last second in which a media worker worked",
        busy,
    );
    let late = of_each(|load| load.late.as_secs_f64());
    gauges(
        registry,
        "worker_late_seconds",
        "How late its frames left, 99th percentile",
        late,
    );
    let legs = of_each(|load| load.legs as f64);
    gauges(registry, "worker_legs", "Legs that stand on it", legs);
    let pressure = of_each(|load| match load.pressure {
        Pressure::Normal => 0.0,
        Pressure::Shed => 1.0,
        Pressure::Refuse => 2.0,
    });
    gauges(
        registry,
        "worker_pressure",
        "0: as usual; 1: it spares; 2: it takes no new calls",
        pressure,
    );
    let headroom = vec![(Labels::new(), house.peers.media.headroom().free.into())];
    gauges(
        registry,
        "media_headroom_workers",
        "What all workers have left for new calls, in workers",
        headroom,
    );
    // Whole, so that a new counter is not forgotten here.
    let mxtrunk_media_io::CounterValues {
        shed_calls,
        emergencies_under_load,
        shedding_began,
        refusing_began,
        unsent,
    } = house.peers.media.counters();
    counter(
        registry,
        "media_shed_calls",
        "Calls that a worker took while it spared",
        shed_calls,
    );
    counter(
        registry,
        "media_emergencies_under_load",
        "Calls for help that were spared nothing meanwhile",
        emergencies_under_load,
    );
    counters(
        registry,
        "media_pressure_began",
        "How often a worker began to spare, or to refuse calls",
        "pressure",
        &[("shed", shedding_began), ("refuse", refusing_began)],
    );
    counter(
        registry,
        "media_unsent_datagrams",
        "Datagrams that the system did not take",
        unsent,
    );
}

fn dropped(registry: &mut Registry, house: &House) {
    let mxtrunk_sip::CounterValues {
        unknown_source,
        banned,
        scanners,
        malformed_dropped,
        malformed_answered,
        over_message_rate,
        over_call_limit,
        over_call_limit_dropped,
        calls_out_over_limit,
        emergencies,
        calls_in,
        challenged,
        wrong_passwords,
        calls_out,
        failovers,
    } = house.peers.phones.counters();
    counters(
        registry,
        "sip_dropped",
        "SIP messages and connections dropped without an answer",
        "reason",
        &[
            ("unknown_source", unknown_source),
            ("banned", banned),
            ("scanner", scanners),
            ("malformed", malformed_dropped),
            ("over_message_rate", over_message_rate),
            ("far_over_call_limit", over_call_limit_dropped),
        ],
    );
    gauge(
        registry,
        "sip_banned",
        "Addresses of no trunk that are banned now",
        i64::try_from(house.peers.phones.banned()).unwrap_or(i64::MAX),
    );
    counters(
        registry,
        "sip_refused",
        "SIP requests refused with an error",
        "reason",
        &[
            ("malformed", malformed_answered),
            ("over_call_limit", over_call_limit),
            ("wrong_password", wrong_passwords),
        ],
    );
    counter(
        registry,
        "sip_calls_out_over_limit",
        "Calls not placed over a trunk that was full",
        calls_out_over_limit,
    );
    counters(
        registry,
        "sip_legs",
        "Telephone legs begun",
        "direction",
        &[("incoming", calls_in), ("outgoing", calls_out)],
    );
    counter(
        registry,
        "sip_emergencies",
        "Calls to emergency numbers, both ways",
        emergencies,
    );
    counter(
        registry,
        "sip_challenged",
        "Calls that had to show a password first",
        challenged,
    );
    counter(
        registry,
        "sip_failovers",
        "Times that a call turned to another target of its trunk",
        failovers,
    );
    let mxtrunk_matrix::Counts {
        wrong_tokens,
        repeated_transactions,
        malformed_events,
        foreign_senders,
        strange_rooms,
        lookups_refused,
    } = house.peers.app.counts();
    counters(
        registry,
        "matrix_dropped",
        "What came from the homeserver and was not acted on",
        "reason",
        &[
            ("wrong_token", wrong_tokens),
            ("repeated_transaction", repeated_transactions),
            ("malformed_event", malformed_events),
            ("foreign_sender", foreign_senders),
            ("strange_room", strange_rooms),
            ("lookup_over_limit", lookups_refused),
        ],
    );
}
