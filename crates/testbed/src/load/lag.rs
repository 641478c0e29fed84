//! How late sound comes: found by the sound itself, so that no system's timestamps have to be believed.
//!
//! What was heard is compared with what the bare chain of codecs makes of what was said; the codecs' own delay is in
//! both. What remains is how long the system kept it.

use super::sound::Heard;
use super::speech::FRAME;
use super::talk::Mouth;

/// The stretch that is looked for, in samples: half a second.
const STRETCH: usize = 4_000;
/// Stretches begin this far apart.
const STEP: usize = 8_000;
/// The longest delay looked for, in samples: 300 ms.
const LONGEST: isize = 2_400;
/// The sound may seem to come a little before its time, by the comparison's own blur.
const EARLIEST: isize = -40;
/// How far the delay may have moved since the last stretch: 20 ms.
const DRIFT: isize = 160;
/// Stretches quieter than this (root mean square) are pauses.
const QUIET: f32 = 0.01;
/// A stretch counts as found from this correlation on.
const FOUND: f32 = 0.7;

/// The delays of packets, in ms, and where the last stretch that was found came from.
#[derive(Debug, Default)]
pub(super) struct Lags {
    pub(super) millis: Vec<f32>,
    /// Place in what was heard, and in the loop that was said.
    pub(super) anchor: Option<(usize, usize)>,
    /// Stretches that were loud enough to be looked for, and those found.
    pub(super) looked_for: usize,
    pub(super) found: usize,
}

/// The delay of each packet in the stretches looked for.
pub(super) fn lags(heard: &Heard, mouth: &Mouth, bare: &[f32]) -> Lags {
    let mut lags = Lags::default();
    let mut last: Option<isize> = None;
    let starts = heard.packets.iter().filter(|(_, at)| at % STEP < FRAME);
    for (arrived, start) in starts {
        let Some(stretch) = heard.samples.get(*start..start + STRETCH) else {
            break;
        };
        if root_mean_square(stretch) < QUIET {
            continue;
        }
        lags.looked_for += 1;
        // The sample that was being said when the stretch's first packet came is the latest that it can begin with.
        let said = mouth.left.partition_point(|left| left <= arrived);
        let latest = ((mouth.from + said) * FRAME) as isize - FRAME as isize;
        let range = match last {
            Some(last) => last - DRIFT..last + DRIFT,
            None => EARLIEST..LONGEST,
        };
        let best = range
            .map(|late| (correlation(stretch, bare, latest - late), late))
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let Some((found, late)) = best.filter(|(found, _)| *found >= FOUND) else {
            last = None;
            continue;
        };
        debug_assert!(found <= 1.01, "{found}");
        last = Some(late);
        lags.found += 1;
        let source = latest - late;
        lags.anchor = Some((*start, source.rem_euclid(bare.len() as isize) as usize));
        let within = heard.packets.iter();
        let within = within.filter(|(_, at)| (*start..start + STRETCH).contains(at));
        lags.millis.extend(within.filter_map(|(arrived, at)| {
            let end = source + (at - start) as isize + FRAME as isize;
            let captured = captured(mouth, end - (mouth.from * FRAME) as isize)?;
            Some((f64::from(*arrived) / 1_000.0 - captured) as f32)
        }));
    }
    lags
}

/// When the first `samples` of what was said were complete, in ms: a packet leaves when its last sample is.
fn captured(mouth: &Mouth, samples: isize) -> Option<f64> {
    let last = usize::try_from(samples - 1).ok()?;
    let left = f64::from(*mouth.left.get(last / FRAME)?) / 1_000.0;
    let missing = (FRAME - 1 - last % FRAME) as f64;
    Some(left - missing / 8.0)
}

fn correlation(stretch: &[f32], of: &[f32], from: isize) -> f32 {
    let start = from.rem_euclid(of.len() as isize) as usize;
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    let mut sum = |left: &[f32], right: &[f32]| {
        for (a, b) in left.iter().zip(right) {
            both += a * b;
            one += a * a;
            other += b * b;
        }
    };
    let head = stretch.len().min(of.len() - start);
    sum(&stretch[..head], &of[start..]);
    sum(&stretch[head..], of);
    both / (one * other).sqrt().max(f32::MIN_POSITIVE)
}

fn root_mean_square(samples: &[f32]) -> f32 {
    let energy: f32 = samples.iter().map(|sample| sample * sample).sum();
    (energy / samples.len().max(1) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_of_a_voice_that_waited_is_found() {
        let mut seed = 1_u32;
        let noise: Vec<f32> = (0..32_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as f32 / 65_536.0 - 0.5
            })
            .collect();
        let mut mouth = Mouth::new(0, 1, 160, 3);
        mouth.left = (0..100).map(|frame| 20_000 * frame).collect();
        // The frame that left at n * 20 ms comes 33 ms later.
        let packets = (0..60).map(|frame| (20_000 * frame + 33_000, FRAME * frame as usize));
        let heard = Heard {
            packets: packets.collect(),
            samples: noise[3 * FRAME..63 * FRAME].to_vec(),
        };
        let lags = lags(&heard, &mouth, &noise);
        assert_eq!((lags.looked_for, lags.found), (1, 1));
        assert!(
            lags.millis.iter().all(|late| (late - 33.0).abs() < 0.2),
            "{lags:?}"
        );
        assert_eq!(lags.anchor, Some((0, 3 * FRAME)));
    }
}
