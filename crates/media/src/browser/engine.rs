//! str0m, set up for one voice.

use std::time::Duration;

use str0m::RtcConfig;
use str0m::config::DtlsVersion;
use str0m::format::{Codec, FormatParams};
use str0m::media::Frequency;
use str0m::rtp::{Extension, ExtensionMap};

use crate::leg::IceMode;

/// Our numbers in offers; in answers the browser's own are used.
pub(super) const EVENT_WIDE: u8 = 110;
pub(super) const EVENT_NARROW: u8 = 126;
/// How often the engine tells what the browser reports; browsers report every 2.5 to 7.5 s.
const STATISTICS: Duration = Duration::from_secs(2);

/// str0m as we use it: raw RTP, audio only, no header extension but the one that names the media line.
pub(super) fn engine(ice: IceMode) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(4, Extension::RtpMid);
    let mut config = RtcConfig::new()
        .clear_codecs()
        .set_rtp_mode(true)
        .set_stats_interval(Some(STATISTICS))
        .set_ice_lite(ice == IceMode::Lite)
        // 1.3 where the browser has it, else 1.2.
        .set_dtls_version(DtlsVersion::Auto)
        .set_extension_map(extensions)
        .enable_opus(true, false)
        .enable_g722(true, false)
        .enable_pcmu(true, false)
        .enable_pcma(true, false);
    let codecs = config.codec_config();
    for (number, clock) in [
        (EVENT_WIDE, Frequency::FORTY_EIGHT_KHZ),
        (EVENT_NARROW, Frequency::EIGHT_KHZ),
    ] {
        let format = FormatParams::default();
        codecs.add_config(number.into(), None, Codec::Tele, clock, None, format);
    }
    // Transport-wide feedback steers video; for one voice it would only be more packets.
    for params in codecs.iter_mut() {
        params.set_fb_transport_cc(false);
    }
    config
}
