//! The wiring: builds each side of the house from the configuration, starts it, and stops it in turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mxtrunk_call::EarlyMedia;
use mxtrunk_matrix::{AppService, MatrixConfig, Secret};
use mxtrunk_media_io::{
    Codec, CodecPolicy, Fec, IceMode, MediaIo, MediaIoConfig, OpusSettings, PhoneProfile, Ringback,
    SrtpPolicy,
};
use mxtrunk_signaling::{
    Directory, Inbox, LegIds, Numbering, Peers, Router, Routes, Settings, Traces, recover,
};
use mxtrunk_sip::{Credentials, LegId, Listener, SipConfig, TrunkConfig, TrunkName, UserAgent};
use mxtrunk_store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::media::{self, CodecChoice, Ice};
use crate::config::sip::{self, Transport};
use crate::config::{Config, Problem};
use crate::control::Control;

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
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    start_log(config);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mx-signal")
        .build()
        .context("the runtime could not be started")?
        .block_on(serve(config))
}

fn start_log(config: &Config) {
    use tracing_subscriber::EnvFilter;
    // The SIP stack logs whole messages at INFO: numbers, and what a challenge is answered with.
    let wanted = std::env::var("MXTRUNK_LOG")
        .unwrap_or_else(|_| format!("warn,mxtrunk={}", config.log.level));
    let (sip, media) = (mxtrunk_sip::LOG_DIRECTIVE, mxtrunk_media_io::LOG_DIRECTIVE);
    let filter = EnvFilter::new(format!("{wanted},{sip},{media}"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let store = Store::open(&config.store.path).await.with_context(|| {
        format!(
            "the database {} could not be opened: see [store] path",
            config.store.path.display()
        )
    })?;
    let directory = Arc::new(config.directory().map_err(problems)?);
    let leg_ids = LegIds::default();
    let traces = Arc::new(Traces::default());
    let (to_router_media, from_media) = mpsc::channel(EVENTS);
    let (to_router_sip, from_sip) = mpsc::channel(EVENTS);
    let (to_router_matrix, from_matrix) = mpsc::channel(EVENTS);

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
        traces,
    };
    let _control = Control::open(config.control_socket(), peers.traces.clone());
    let settings = settings(config)?;
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
    let router = Router::new(peers.clone(), settings, leg_ids);
    let admission = router.admission();
    router.run(inbox, stop).await;
    info!("every call has ended: stopping");
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

/// Cancelled by Ctrl-C or SIGTERM.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched for")?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        info!("told to stop: ending all calls");
        told.cancel();
    });
    Ok(stop)
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    Ok(Settings {
        routes: routes(config),
        profiles: config
            .trunks
            .iter()
            .map(|trunk| (TrunkName(trunk.name.clone()), profile(trunk)))
            .collect(),
        early_media: config
            .trunks
            .iter()
            .map(|trunk| (TrunkName(trunk.name.clone()), early_media(trunk)))
            .collect(),
        rules: config
            .trunks
            .iter()
            .map(|trunk| {
                let rules = trunk.rules().map_err(problems)?;
                Ok((TrunkName(trunk.name.clone()), rules))
            })
            .collect::<anyhow::Result<_>>()?,
        timings: config.calls.timings(),
        max_calls: config.media.max_calls,
        join_wait: Duration::from_secs(config.matrix.join_seconds),
        instance: config.store.instance.clone(),
    })
}

/// Which trunks outgoing calls take.
pub(crate) fn routes(config: &Config) -> Routes {
    Routes(config.trunks.iter().map(sip::Trunk::route).collect())
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
    directory: &Arc<Directory>,
    traces: &Arc<Traces>,
) -> anyhow::Result<SipConfig> {
    let listeners = config
        .sip
        .listen
        .iter()
        .map(|listen| Listener {
            transport: transport(listen.transport),
            bind: listen.address,
            advertise: config.sip.advertise,
        })
        .collect();
    let trunks = config
        .trunks
        .iter()
        .map(trunk_config)
        .collect::<Result<_, _>>()?;
    let ids = leg_ids.clone();
    let mut sip = SipConfig::new(listeners, trunks, Arc::new(move || LegId(ids.next().0)));
    sip.user_agent.clone_from(&config.sip.user_agent);
    sip.max_calls = config.sip.max_calls;
    sip.dscp = config.sip.dscp;
    sip.registrations = config.registrations().map_err(problems)?;
    sip.nameservers.clone_from(&config.sip.nameservers);
    let identity = config.sip.tls_identity();
    sip.tls = identity.map_err(|problem| problems(vec![problem]))?;
    sip.subscriptions = config.subscriptions().map_err(problems)?;
    let directory = directory.clone();
    sip.is_emergency = Arc::new(move |called| directory.plan().is_emergency(called));
    let traces = traces.clone();
    sip.tap = Some(Arc::new(move |seen| traces.sip(seen)));
    Ok(sip)
}

pub(crate) fn trunk_config(trunk: &sip::Trunk) -> anyhow::Result<TrunkConfig> {
    let password = trunk
        .password()
        .map_err(|problem| problems(vec![problem]))?;
    let mut config = TrunkConfig::nowhere(&trunk.name);
    (config.targets, config.names) = trunk.targets();
    config.tls = trunk.tls().map_err(|problem| problems(vec![problem]))?;
    config.transport = transport(trunk.transport);
    if !trunk.allow.is_empty() {
        config.allow.clone_from(&trunk.allow);
    }
    config.auth = trunk
        .username
        .clone()
        .zip(password)
        .map(|(username, password)| Credentials {
            username,
            password: password.reveal().to_owned(),
            realm: trunk.realm.clone(),
        });
    config.require_auth = trunk
        .required_auth()
        .map_err(|problem| problems(vec![problem]))?;
    config.from_domain.clone_from(&trunk.domain);
    config.options_every = Duration::from_secs(trunk.options_seconds);
    config.options_down_after = trunk.options_down_after;
    config.options_up_after = trunk.options_up_after;
    config.max_calls = trunk.max_calls;
    config.new_calls_per_second = trunk.new_calls_per_second;
    config.headers = trunk.headers().map_err(|problem| problems(vec![problem]))?;
    config.answer_within = Duration::from_secs(trunk.answer_within_seconds);
    config.session_expires = Duration::from_secs(trunk.session_seconds);
    config.trust_identity = trunk.trust_identity;
    config.identity = trunk.identity;
    Ok(config)
}

fn profile(trunk: &sip::Trunk) -> PhoneProfile {
    let codec = |codec: &sip::Codec| match codec {
        sip::Codec::Opus => Codec::Opus,
        sip::Codec::G722 => Codec::G722,
        sip::Codec::Pcmu => Codec::Pcmu,
        sip::Codec::Pcma => Codec::Pcma,
    };
    PhoneProfile {
        codecs: trunk.codecs.iter().map(codec).collect(),
        srtp: match trunk.srtp {
            sip::Srtp::Off => SrtpPolicy::Off,
            sip::Srtp::Offered => SrtpPolicy::Offered,
            sip::Srtp::Required => SrtpPolicy::Required,
        },
        nat: match trunk.nat {
            true => trunk.addresses(),
            false => Vec::new(),
        },
    }
}

fn early_media(trunk: &sip::Trunk) -> EarlyMedia {
    match trunk.early_media {
        sip::EarlyMedia::Connect => EarlyMedia::Connect,
        sip::EarlyMedia::Ignore => EarlyMedia::Ignore,
    }
}

fn transport(transport: Transport) -> mxtrunk_sip::Transport {
    match transport {
        Transport::Udp => mxtrunk_sip::Transport::Udp,
        Transport::Tcp => mxtrunk_sip::Transport::Tcp,
        Transport::Tls => mxtrunk_sip::Transport::Tls,
    }
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
