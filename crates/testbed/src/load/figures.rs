//! The figures of one run.

use serde::Serialize;

use super::browser::Browser;
use super::generator::Measured;
use super::lag::{Lags, lags};
use super::sound::{Heard, at_browser, at_phone};
use super::speech::{Side, Speech};
use super::talk::{Ear, Mouth};
use crate::judge::{Pesq, Sound};

/// Calls of a run whose sound is scored.
const SCORED: usize = 4;
/// What a turn of the loop may lack at the end of a run and still be scored: 200 ms, in samples.
const ON_ITS_WAY: usize = 1_600;

/// What one run of one system showed.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// CPU of the whole process for a call and second, in ms.
    pub cpu_ms: f64,
    /// The share of a core that the process took, 1.0 being one core.
    pub core: f64,
    /// The share of a core that the generator took.
    pub generator_core: f64,
    /// Resident memory a call, in kB (1000 bytes).
    pub memory_kb: f64,
    /// CPU for joining a call, with its handshake, in ms.
    pub handshake_ms: f64,
    /// What SRTP adds to each packet, in bytes, and the payload that came at browsers, in kbit/s: what shows that
    /// the systems were set alike.
    pub srtp_tag: Option<usize>,
    /// See `srtp_tag`.
    pub payload_kbps: f64,
    /// From the offer until DTLS was up, median and 99th percentile, in ms.
    pub set_up_ms: [f64; 2],
    /// Towards browsers.
    pub to_browser: Direction,
    /// Towards phones.
    pub to_phone: Direction,
}

/// What one direction showed.
#[derive(Clone, Debug, Serialize)]
pub struct Direction {
    /// Packets sent by the generator, and packets it got.
    pub sent: u32,
    /// Packets that came.
    pub came: u32,
    /// Packets missing by their sequence numbers.
    pub lost: u32,
    /// Packets sent for which none came, gaps in the numbers aside; `None` where pauses are not sent.
    pub missing: Option<u32>,
    /// Packets that the system itself says never came to it, where it says so: what it makes up for them has numbers
    /// without a gap.
    pub never_came: Option<u32>,
    /// Delay added by the system beyond the codecs' own: 50th, 95th, 99th percentile, in ms.
    pub delay_ms: [f64; 3],
    /// The share of stretches of speech that were recognised, 0 to 1.
    pub recognised: f64,
    /// PESQ of what came, against what was said; `None`: nobody was heard.
    pub pesq: Option<f64>,
    /// PESQ of the bare chain of codecs on the same sound.
    pub bare_pesq: Option<f64>,
}

impl Figures {
    pub(super) fn of(measured: &Measured, speech: &Speech, pesq: &Pesq) -> anyhow::Result<Self> {
        let calls = measured.browsers.len() as f64;
        let seconds = measured.window.as_secs_f64();
        let connecting = measured.browsers.iter().filter_map(|browser| {
            let took = browser.connected?.duration_since(browser.offered?);
            Some(took.as_secs_f64() * 1_000.0)
        });
        let connecting: Vec<f64> = connecting.collect();
        let browsers = measured.browsers.iter();
        let phones = measured.phones.iter();
        let to_browser = browsers.clone().zip(phones.clone());
        let to_browser: Vec<_> = to_browser
            .map(|(browser, phone)| (&browser.ear, &phone.mouth))
            .collect();
        let to_phone: Vec<_> = browsers
            .zip(phones)
            .map(|(browser, phone)| (&phone.ear, &browser.mouth))
            .collect();
        // Who may leave pauses out sends fewer packets than came.
        let counts = !speech.pauses;
        Ok(Self {
            cpu_ms: measured.cpu.as_secs_f64() * 1_000.0 / calls / seconds,
            core: measured.cpu.as_secs_f64() / seconds,
            generator_core: measured.own_cpu.as_secs_f64() / seconds,
            memory_kb: measured.memory as f64 / 1_000.0 / calls,
            handshake_ms: measured.set_up_cpu.as_secs_f64() * 1_000.0 / calls,
            srtp_tag: measured.browsers.first().and_then(|browser| browser.tag),
            payload_kbps: kbps(&measured.browsers),
            set_up_ms: [0.5, 0.99].map(|share| percentile(&connecting, share)),
            to_browser: direction(&to_browser, &speech.phone, counts, pesq, |ear| {
                at_browser(ear, speech.voice, measured.heard.clone())
            })?,
            to_phone: direction(&to_phone, &speech.browser, counts, pesq, |ear| {
                Ok(at_phone(ear, measured.heard.clone()))
            })?,
        })
    }

    /// One line for the terminal.
    #[must_use]
    pub fn line(&self, name: &str, calls: usize, round: usize) -> String {
        let Self {
            cpu_ms,
            memory_kb,
            handshake_ms,
            to_browser,
            to_phone,
            payload_kbps,
            ..
        } = self;
        format!(
            "{name:10} N={calls:<4} run {round}: {cpu_ms:6.2} ms/call·s  {memory_kb:6.0} kB/call  handshake \
             {handshake_ms:5.2} ms  {payload_kbps:.1} kbit/s  SRTP tag {}  generator {:.2} core\n           {}\n           {}",
            self.srtp_tag.map_or("-".to_owned(), |tag| tag.to_string()),
            self.generator_core,
            to_browser.line("to browser"),
            to_phone.line("to phone"),
        )
    }
}

impl Direction {
    /// All packets that are known to be lost.
    #[must_use]
    pub fn all_lost(&self) -> u32 {
        self.lost + self.missing.unwrap_or(0) + self.never_came.unwrap_or(0)
    }

    fn line(&self, name: &str) -> String {
        let [p50, p95, p99] = self.delay_ms;
        let score =
            |score: Option<f64>| score.map_or("-".to_owned(), |score| format!("{score:.2}"));
        format!(
            "{name:10} sent {} came {} lost {} missing {}  delay {p50:.1}/{p95:.1}/{p99:.1} ms  PESQ {} (bare {})  \
             recognised {:.0} %",
            self.sent,
            self.came,
            self.lost,
            self.missing
                .map_or("-".to_owned(), |missing| missing.to_string()),
            score(self.pesq),
            score(self.bare_pesq),
            self.recognised * 100.0,
        )
    }
}

fn direction(
    calls: &[(&Ear, &Mouth)],
    said: &Side,
    counts: bool,
    pesq: &Pesq,
    decode: impl Fn(&Ear) -> anyhow::Result<Heard>,
) -> anyhow::Result<Direction> {
    let (mut sent, mut came, mut lost, mut missing) = (0, 0, 0, 0);
    let (mut delays, mut looked_for, mut found) = (Vec::new(), 0, 0);
    let mut scores = Vec::new();
    for (number, (ear, mouth)) in calls.iter().enumerate() {
        sent += mouth.packets;
        came += ear.arrivals.len() as u32;
        lost += ear.lost();
        missing += ear.missing(mouth);
        let heard = decode(ear)?;
        let lags = lags(&heard, mouth, said.bare.samples());
        if number % calls.len().div_ceil(SCORED) == 0 {
            scores.push(score(&heard, &lags, said, pesq)?);
        }
        delays.extend(lags.millis.iter().map(|millis| f64::from(*millis)));
        looked_for += lags.looked_for;
        found += lags.found;
    }
    let scores: Option<Vec<f64>> = scores.into_iter().collect();
    Ok(Direction {
        sent,
        came,
        lost,
        missing: counts.then_some(missing),
        never_came: None,
        delay_ms: [0.5, 0.95, 0.99].map(|share| percentile(&delays, share)),
        recognised: f64::from(found as u32) / f64::from(looked_for.max(1) as u32),
        pesq: scores.map(|scores| scores.iter().sum::<f64>() / scores.len().max(1) as f64),
        bare_pesq: pesq.score(&said.sound, &said.bare)?,
    })
}

/// One turn of the loop as it was heard, against that loop begun at the same place.
fn score(heard: &Heard, lags: &Lags, said: &Side, pesq: &Pesq) -> anyhow::Result<Option<f64>> {
    let Some((place, source)) = lags.anchor else {
        return Ok(None);
    };
    let whole = said.sound.samples().len();
    // A run as long as one turn is heard but for what was still on its way at its end.
    let length = whole.min(heard.samples.len());
    if length + ON_ITS_WAY < whole {
        return Ok(None);
    }
    let start = (heard.samples.len() - length) / 2;
    let turn = &heard.samples[start..start + length];
    let ahead = source as isize - (place as isize - start as isize);
    let mut reference = said.sound.samples().to_vec();
    reference.rotate_left(ahead.rem_euclid(whole as isize) as usize);
    reference.truncate(length);
    Ok(pesq.score(&Sound::from(reference), &Sound::from(turn.to_vec()))?)
}

/// Of the sound that packets hold: pauses that are not sent count for nothing.
fn kbps(browsers: &[Browser]) -> f64 {
    let ears = browsers.iter().map(|browser| &browser.ear);
    let (bytes, packets) = ears.fold((0, 0), |(bytes, packets), ear| {
        (bytes + ear.bytes(), packets + ear.arrivals.len())
    });
    bytes as f64 * 8.0 / 20.0 / packets.max(1) as f64
}

/// `share` from 0 to 1; not a number where there is nothing.
pub(super) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
impl Figures {
    /// A run that reaches every goal that needs no other system.
    pub(super) fn sample() -> Self {
        let direction = Direction {
            sent: 25_000,
            came: 25_000,
            lost: 0,
            missing: Some(0),
            never_came: None,
            delay_ms: [0.5, 1.0, 1.5],
            recognised: 1.0,
            pesq: Some(4.25),
            bare_pesq: Some(4.26),
        };
        Self {
            cpu_ms: 5.0,
            core: 0.25,
            generator_core: 0.1,
            memory_kb: 190.0,
            handshake_ms: 10.0,
            srtp_tag: Some(16),
            payload_kbps: 20.0,
            set_up_ms: [10.0, 20.0],
            to_browser: direction.clone(),
            to_phone: direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values_and_none_of_nothing() {
        let values = Vec::from_iter((0..=100).rev().map(f64::from));
        assert_eq!(percentile(&values, 0.5), 50.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&[3.0], 0.99), 3.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn lost_is_what_any_of_the_three_counts_says() {
        let mut direction = Figures::sample().to_browser;
        assert_eq!(direction.all_lost(), 0);
        (direction.lost, direction.missing, direction.never_came) = (1, Some(2), Some(4));
        assert_eq!(direction.all_lost(), 7);
        direction.missing = None;
        assert_eq!(direction.all_lost(), 5);
    }
}
