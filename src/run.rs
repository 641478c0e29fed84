//! The wiring: builds each side of the house from the configuration, starts it, and stops it in turn.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mxtrunk_ami::Ami;
use mxtrunk_matrix::{AppService, MatrixConfig, Secret};
use mxtrunk_media_io::{CodecPolicy, Fec, IceMode, MediaIo, MediaIoConfig, OpusSettings, Ringback};
use mxtrunk_signaling::limits::recall;
use mxtrunk_signaling::{
    AtPbx, Inbox, LegIds, LiveDirectory, LiveTrunks, Numbering, Peers, PresenceSettings, Router,
    Settings, Traces, keep_history, line_settings, lines, recover, show_presence,
};
use mxtrunk_sip::{LegId, Listener, SipConfig, UserAgent};
use mxtrunk_store::Store;
use mxtrunk_widget::{GatewayLines, Widget, WidgetConfig};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::config::media::{self, CodecChoice, Ice};
use crate::config::{Config, Problem};
use crate::drain::Drain;
use crate::log;
use crate::records::{Push, forget_old};
use crate::reload::{self, Knobs, Reloader};
use crate::service::{self, Service};
use crate::workers::Vigil;

/// How many events of each side may wait for the router.
const EVENTS: usize = 4096;

/// Prints the registration file of the application service.
pub(crate) fn registration(config: &Config) -> anyhow::Result<String> {
    Ok(mxtrunk_matrix::registration_yaml(
        &matrix_config(config)?,
        &config.matrix.url(),
    ))
}

/// Runs the gateway until it is told to stop.
pub(crate) fn run(file: &Path, config: &Config) -> anyhow::Result<()> {
    let log = crate::log::start(&config.log);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mx-signal")
        .build()
        .context("the runtime could not be started")?
        .block_on(serve(file, config, log))
}

async fn serve(file: &Path, config: &Config, log: log::Knob) -> anyhow::Result<()> {
    let signals = Signals::watch()?;
    let stop = CancellationToken::new();
    let hangup = reload::hangup()?;
    let (config, sources) = reload::gather_at_start(config).await.map_err(problems)?;
    let config = &config;
    let store = Store::open(&config.store.path).await.with_context(|| {
        format!(
            "the database {} could not be opened: see [store] path",
            config.store.path.display()
        )
    })?;
    tokio::task::spawn_blocking(mxtrunk_signaling::shown_number::prepare);
    let directory = LiveDirectory::new(config.directory().map_err(problems)?);
    let trunks = LiveTrunks::new(config.signaling_trunks().map_err(problems)?);
    if config.records.push_url().is_some() {
        store.keep_unpushed();
    }
    let line_settings = line_settings::Settings::load(&store)
        .await
        .context("the settings of lines could not be read from the database")?;
    let leg_ids = LegIds::default();
    let traces = Arc::new(Traces::default());
    let (to_router_media, from_media) = mpsc::channel(EVENTS);
    let (to_router_sip, from_sip) = mpsc::channel(EVENTS);
    let (to_router_matrix, from_matrix) = mpsc::channel(EVENTS);

    let queues = admin::Queues {
        matrix: admin::depth(to_router_matrix.downgrade()),
        sip: admin::depth(to_router_sip.downgrade()),
        media: admin::depth(to_router_media.downgrade()),
    };
    let media = MediaIo::start(media_config(config), to_router_media)
        .context("the media plane could not be started: see [media]")?;
    let phones = UserAgent::start(
        sip_config(config, &leg_ids, &directory, &traces)?,
        to_router_sip,
    )
    .await
    .context("the SIP user agent could not be started: see [sip]")?;
    let numbering = Arc::new(Numbering(directory.clone()));
    let app = AppService::start(
        matrix_config(config)?,
        store.clone(),
        numbering,
        to_router_matrix,
    )
    .await
    .context("the application service could not be started: see [matrix]")?;

    let peers = Peers {
        app,
        phones,
        media,
        store,
        directory,
        line_settings,
        traces,
        ongoing: Arc::default(),
        tally: Arc::default(),
    };
    lines::tell_languages(&peers.app, &peers.line_settings);
    peers.app.keep_homes(config.residents());
    let settings = settings(config, trunks.clone());
    let widget = serve_widget(config, &peers, &stop).await;
    let orphans = recover(&peers, &settings.instance).await;
    info!(
        orphans,
        lines = config.lines.len(),
        trunks = config.trunks.len(),
        "mxtrunk {} is running",
        env!("CARGO_PKG_VERSION")
    );
    let inbox = Inbox {
        matrix: from_matrix,
        sip: from_sip,
        media: from_media,
    };
    let (telling, ami_stop) = (CancellationToken::new(), CancellationToken::new());
    let history = config
        .matrix
        .telephony_rooms
        .then(|| tokio::spawn(keep_history(peers.clone(), telling.clone())));
    let presence = config.presence.enabled.then(|| {
        tokio::spawn(show_presence(
            peers.clone(),
            presence(config),
            telling.clone(),
        ))
    });
    lines::settle_at_start(&peers, sources.are_whole(config)).await;
    let router = Router::new(peers.clone(), settings, leg_ids.clone());
    let admission = router.admission();
    recall(&peers, admission.lines()).await;
    let knobs = Knobs {
        log,
        phones: peers.phones.clone(),
        admission: admission.clone(),
        trunks: trunks.clone(),
    };
    let reloader = Reloader::new(file, config.clone(), sources, peers.clone(), knobs);
    let reload = reloader.asks();
    let reloading = tokio::spawn(reloader.run(hangup, stop.clone()));
    let ami = config
        .ami
        .client()
        .map_err(|problem| problems(vec![problem]))?;
    let at_pbx = match ami {
        None => None,
        Some(ami) => {
            let at_pbx = AtPbx {
                ami: Ami::start(ami, ami_stop.child_token()),
                settings: config.at_pbx(trunks.clone()),
                peers: peers.clone(),
            };
            Some(tokio::spawn(
                at_pbx.keep(router.occupancy(), telling.clone()),
            ))
        }
    };
    let codes = config.feature_codes(trunks.clone());
    let codes = (!codes.is_empty()).then(|| {
        let dialling = codes.keep(peers.clone(), router.occupancy(), leg_ids, telling.clone());
        tokio::spawn(dialling)
    });
    let drain = Drain::new(admission.clone(), peers.ongoing.clone(), stop.clone());
    tokio::spawn(signals.obey(drain.clone(), config.calls.drain(), stop.clone()));
    let doors = admin::Doors {
        socket: config.admin_socket(),
        listen: config.admin.listen(),
    };
    let token = config.admin.token();
    let workers = Vigil::begin(peers.media.clone());
    let service = Service {
        heartbeat: router.heartbeat(),
        workers: workers.clone(),
        peers: peers.clone(),
        drain: drain.clone(),
    };
    let house = admin::House {
        peers: peers.clone(),
        admission: admission.clone(),
        drain,
        reload,
        queues,
        heartbeat: router.heartbeat(),
        workers,
        homeserver: admin::Homeserver::default(),
        access: admin::access(
            token.map_err(|problem| problems(vec![problem]))?,
            config.admin.proxies.clone(),
        ),
        keeps_histories: history.is_some(),
        drain_seconds: config.calls.drain().as_secs(),
    };
    if let Some(keep) = config.records.keep() {
        tokio::spawn(forget_old(peers.store.clone(), keep));
    }
    if let Some(url) = config.records.push_url() {
        let token = config.records.push_token();
        let push = Push::new(url, token.map_err(|problem| problems(vec![problem]))?)?;
        tokio::spawn(push.run(peers.store.clone()));
    }
    let _admin = Admin::open(doors, house).await;
    service.ready();
    router.run(inbox, stop).await;
    service::stopping();
    info!("every call has ended: stopping");
    // What is not told now is told after the next start.
    telling.cancel();
    for task in [history, presence, at_pbx, codes].into_iter().flatten() {
        let _ = task.await;
    }
    reloading.abort();
    ami_stop.cancel();
    drop(widget);
    let (matrix, sip) = (peers.app.counts(), peers.phones.counters());
    let (media, calls) = (peers.media.counters(), admission.counts());
    info!(
        ?matrix,
        ?sip,
        ?media,
        ?calls,
        "what was dropped or refused since the start"
    );
    peers.app.shutdown().await;
    peers.phones.shutdown().await;
    peers.media.shutdown();
    peers.store.close().await;
    Ok(())
}

/// The widget, where it has an address. Calls do not depend on it.
async fn serve_widget(config: &Config, peers: &Peers, stop: &CancellationToken) -> Option<Widget> {
    config.widget.url()?;
    let widget = WidgetConfig {
        listen: config.widget.listen,
        server_name: config.matrix.server_name.clone(),
        elements: config.widget.elements.clone(),
        proxies: config.widget.proxies.clone(),
        requests_per_second: config.widget.requests_per_second,
    };
    let lines = GatewayLines::new(peers.clone());
    match Widget::start(widget, Arc::new(lines), stop.clone()).await {
        Ok(served) => Some(served),
        Err(error) => {
            warn!(
                address = %config.widget.listen,
                %error,
                "the widget cannot be served: set [widget] listen to another address"
            );
            None
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// What comes from now on waits until it is obeyed.
    fn watch() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("SIGINT cannot be watched for")?,
            terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be watched for")?,
        })
    }

    /// The first one lets calls end, the second one ends them, and the one after that ends the process.
    async fn obey(mut self, drain: Drain, limit: Duration, stop: CancellationToken) {
        self.next().await;
        if drain.begin(limit) > 0 && !limit.is_zero() {
            self.next().await;
        }
        info!("told to stop: ending all calls");
        stop.cancel();
        self.next().await;
        warn!("told to stop once more: going at once, calls that are left end at the next start");
        std::process::exit(1);
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn settings(config: &Config, trunks: LiveTrunks) -> Settings {
    Settings {
        trunks,
        timings: config.calls.timings(),
        max_calls: config.media.max_calls,
        join_wait: Duration::from_secs(config.matrix.join_seconds),
        instance: config.store.instance.clone(),
    }
}

fn presence(config: &Config) -> PresenceSettings {
    PresenceSettings {
        language: config.matrix.language.into(),
        again_every: config.presence.again_every(),
    }
}

fn matrix_config(config: &Config) -> anyhow::Result<MatrixConfig> {
    let matrix = &config.matrix;
    let as_token = matrix
        .as_token()
        .map_err(|problem| problems(vec![problem]))?;
    let hs_token = matrix
        .hs_token()
        .map_err(|problem| problems(vec![problem]))?;
    let secret = |token: crate::config::Secret| Secret::new(token.reveal());
    Ok(MatrixConfig {
        sender_localpart: matrix.sender.clone(),
        user_prefix: matrix.user_prefix.clone(),
        telephony_rooms: matrix.telephony_rooms,
        messages_in_call_rooms: matrix.messages_in_call_rooms,
        pictures: matrix.pictures,
        widget: config.widget.url(),
        lookups_per_second: matrix.lookups_per_second,
        ..MatrixConfig::new(
            matrix.homeserver.trim_end_matches('/'),
            &matrix.server_name,
            secret(as_token),
            secret(hs_token),
            matrix.listen,
        )
    })
}

fn sip_config(
    config: &Config,
    leg_ids: &LegIds,
    directory: &LiveDirectory,
    traces: &Arc<Traces>,
) -> anyhow::Result<SipConfig> {
    let listeners = config
        .sip
        .listen
        .iter()
        .map(|listen| Listener {
            transport: listen.transport.into(),
            bind: listen.address,
            advertise: config.sip.advertise,
        })
        .collect();
    let trunks = config.sip_trunks().map_err(problems)?;
    let ids = leg_ids.clone();
    let mut sip = SipConfig::new(listeners, trunks, Arc::new(move || LegId(ids.next().0)));
    sip.user_agent.clone_from(&config.sip.user_agent);
    sip.max_calls = config.sip.max_calls;
    sip.messages_per_second = config.sip.messages_per_second;
    sip.bans = config.sip.ban.into();
    sip.dscp = config.sip.dscp;
    sip.registrations = config.registrations().map_err(problems)?;
    sip.nameservers.clone_from(&config.sip.nameservers);
    let identity = config.sip.tls_identity();
    sip.tls = identity.map_err(|problem| problems(vec![problem]))?;
    sip.subscriptions = config.subscriptions().map_err(problems)?;
    config.warn_of_watched_lines(&[]);
    let directory = directory.clone();
    sip.is_emergency = Arc::new(move |called| directory.now().plan().is_emergency(called));
    let traces = traces.clone();
    sip.tap = Some(Arc::new(move |seen| traces.sip(seen)));
    Ok(sip)
}

pub(crate) fn problems(problems: Vec<Problem>) -> anyhow::Error {
    let all: Vec<String> = problems.iter().map(Problem::to_string).collect();
    anyhow::anyhow!("{}", all.join("\n"))
}

fn media_config(config: &Config) -> MediaIoConfig {
    let media = &config.media;
    let (first, last) = media.phone_ports;
    MediaIoConfig {
        browser_bind: media.browser_bind.clone(),
        browser_port: media.browser_port,
        browser_tcp_port: media.browser_tcp_port(),
        browser_advertise: media.browser_advertise.clone(),
        ice: match media.ice {
            Ice::Full => IceMode::Full,
            Ice::Lite => IceMode::Lite,
        },
        phone_bind: media.phone_bind,
        phone_advertise: media.phone_advertise.unwrap_or(media.phone_bind),
        phone_ports: first..=last,
        port_quarantine: Duration::from_secs(media.port_quarantine_seconds),
        timeouts: config.calls.media_timeouts(),
        workers: media.worker_count(),
        policy: match media.codec {
            CodecChoice::Opus => CodecPolicy::Opus,
            CodecChoice::Auto => CodecPolicy::Auto,
            CodecChoice::G711 => CodecPolicy::G711,
        },
        ringback: Ringback::of_country(&config.numbers.country),
        worker_nice: media.worker_nice,
        browser_dscp: media.browser_dscp,
        phone_dscp: media.phone_dscp,
        load: config.load.limits(),
        opus: OpusSettings {
            complexity: media.opus_complexity,
            bitrate: media.opus_bitrate,
            fec: match media.opus_fec {
                media::Fec::Off => Fec::Off,
                media::Fec::Auto => Fec::Auto,
                media::Fec::On => Fec::On,
            },
            dtx: media.opus_dtx,
        },
        ..MediaIoConfig::default()
    }
}
