//! The lower band of G.722, which is telephone sound: for a call that began in HD voice, passed straight through, and whose
//! telephone then speaks something else. The upper band is left silent, since the two legs meet at 8 kHz.
//!
//! Names and block numbers are those of ITU-T G.722 (section 6 and its figures). No crate: the one there is brings five
//! others, allocates for every packet, and encodes 8 kHz wrongly.

use crate::codec::{FRAME, Frame};

/// The quantizer's output by its six bits (QM6, table 17).
#[rustfmt::skip]
const BY_SIX: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
    -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
    24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// The same by the upper four of them, which both ends adapt by (QM4, table 15).
const BY_FOUR: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
/// How the step grows or shrinks with them (WL by RL42, tables 9 and 10).
const STEP_BY_FOUR: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];
/// The step by the fraction of its logarithm (ILB, table 11).
const STEP: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Where the quantizer's decisions lie (Q6, table 13), from the smallest difference up.
const DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// The six bits between them, of a negative and of a positive difference (ILN, ILP).
const BELOW: [u8; 30] = [
    63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10,
    9, 8, 7, 6, 5, 4,
];
const ABOVE: [u8; 30] = [
    61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38,
    37, 36, 35, 34, 33, 32,
];
/// The upper band's two bits for the smallest step: it decays to nothing and stays there.
const UPPER_BAND_SILENT: u8 = 0b1100_0000;

/// One direction of the lower band: what both ends know of the signal so far.
#[derive(Debug, Clone)]
pub(crate) struct LowerBand {
    /// What the next sample is expected to be, and its part that the zeros predict.
    expected: i32,
    by_zeros: i32,
    /// Step of the quantizer and its logarithm.
    step: i32,
    log_step: i32,
    /// Poles: coefficients, and the last two reconstructed samples and partial ones.
    poles: [i32; 2],
    samples: [i32; 2],
    partials: [i32; 2],
    /// Zeros: coefficients, and the last six differences.
    zeros: [i32; 6],
    differences: [i32; 6],
}

impl Default for LowerBand {
    fn default() -> Self {
        LowerBand {
            expected: 0,
            by_zeros: 0,
            step: 32,
            log_step: 0,
            poles: [0; 2],
            samples: [0; 2],
            partials: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
        }
    }
}

impl LowerBand {
    /// Decodes as many samples as fit into `pcm`; returns how many.
    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let samples = pcm.iter_mut().zip(payload);
        samples
            .map(|(sample, byte)| *sample = self.decode_sample(byte & 0x3f))
            .count()
    }

    /// Encodes a frame.
    pub(crate) fn encode(&mut self, pcm: &Frame) -> [u8; FRAME] {
        pcm.map(|sample| UPPER_BAND_SILENT | self.encode_sample(sample))
    }

    fn decode_sample(&mut self, code: u8) -> i16 {
        // Blocks 5L and 6L.
        let difference = (self.step * BY_SIX[usize::from(code)]) >> 15;
        let sample = (self.expected + difference).clamp(-16_384, 16_383);
        self.adapt(code);
        (sample << 1) as i16
    }

    fn encode_sample(&mut self, sample: i16) -> u8 {
        // Block 1L.
        let difference = saturated((i32::from(sample) >> 1) - self.expected);
        let size = if difference < 0 {
            -(difference + 1)
        } else {
            difference
        };
        let is_within = |decision: &i32| size < (decision * self.step) >> 12;
        let place = DECISIONS.iter().position(is_within);
        let place = place.unwrap_or(DECISIONS.len());
        let code = match difference < 0 {
            true => BELOW[place],
            false => ABOVE[place],
        };
        self.adapt(code);
        code
    }

    /// What both ends learn from six bits (blocks 2L and 3L).
    fn adapt(&mut self, code: u8) {
        let four = usize::from(code >> 2);
        let difference = (self.step * BY_FOUR[four]) >> 15;
        let log = ((self.log_step * 127) >> 7) + STEP_BY_FOUR[four];
        self.log_step = log.clamp(0, 18_432);
        let fraction = STEP[(self.log_step >> 6 & 31) as usize];
        let shift = 8 - (self.log_step >> 11);
        let step = match shift < 0 {
            true => fraction << -shift,
            false => fraction >> shift,
        };
        self.step = step << 2;
        self.predict(difference);
    }

    /// The next sample's prediction from a difference (block 4L).
    fn predict(&mut self, difference: i32) {
        let sample = saturated(self.expected + difference);
        let partial = saturated(self.by_zeros + difference);
        self.move_poles(partial);
        self.move_zeros(difference);
        self.differences.rotate_right(1);
        self.differences[0] = difference;
        self.samples = [sample, self.samples[0]];
        self.partials = [partial, self.partials[0]];
        let weighted = |value: i32, by: i32| (by * saturated(value + value)) >> 15;
        let by_poles = weighted(self.samples[0], self.poles[0]);
        let by_poles = saturated(by_poles + weighted(self.samples[1], self.poles[1]));
        let zeros = self.differences.iter().zip(&self.zeros);
        let by_zeros: i32 = zeros.map(|(value, by)| weighted(*value, *by)).sum();
        self.by_zeros = saturated(by_zeros);
        self.expected = saturated(by_poles + self.by_zeros);
    }

    /// UPPOL2 and UPPOL1.
    fn move_poles(&mut self, partial: i32) {
        let alike = |other: i32| (partial < 0) == (other < 0);
        let [first, second] = self.poles;
        let by_first = saturated(first << 2);
        let by_first = match alike(self.partials[0]) {
            true => (-by_first).min(32_767),
            false => by_first,
        };
        let leak = if alike(self.partials[1]) { 128 } else { -128 };
        let second = ((by_first >> 7) + leak + ((second * 32_512) >> 15)).clamp(-12_288, 12_288);
        let leak = if alike(self.partials[0]) { 192 } else { -192 };
        let most = saturated(15_360 - second);
        let first = saturated(leak + ((first * 32_640) >> 15)).clamp(-most, most);
        self.poles = [first, second];
    }

    /// UPZERO.
    fn move_zeros(&mut self, difference: i32) {
        let by = if difference == 0 { 0 } else { 128 };
        for (zero, before) in self.zeros.iter_mut().zip(&self.differences) {
            let alike = (*before < 0) == (difference < 0);
            let leak = if alike { by } else { -by };
            *zero = saturated(leak + ((*zero * 32_640) >> 15));
        }
    }
}

fn saturated(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a.
    fn sum(bytes: impl IntoIterator<Item = u8>) -> u64 {
        bytes
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
                (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }

    /// A saw and noise in turns, at full level.
    fn signal() -> [Frame; 5] {
        std::array::from_fn(|frame| {
            std::array::from_fn(|n| {
                let at = (frame * FRAME + n) as i64;
                let sample = match (at / 200) % 2 {
                    0 => ((at * 37) % 2000 - 1000) * 12,
                    _ => (at * at * 7) % 65_536 - 32_768,
                };
                sample as i16
            })
        })
    }

    fn decoded(payload: &[u8]) -> Vec<i16> {
        let mut pcm = vec![0; payload.len()];
        LowerBand::default().decode(payload, &mut pcm);
        pcm
    }

    // What libg722 (the reference of Asterisk and others; PyPI G722 1.2.8 with 8,000 samples a second) makes of the same.

    #[test]
    fn what_is_encoded_is_what_the_reference_encodes_but_for_the_upper_band() {
        let mut encoder = LowerBand::default();
        let payload = signal().map(|frame| encoder.encode(&frame)).concat();
        assert_eq!(
            payload[..8],
            [0xc4, 0xc4, 0xc4, 0xc4, 0xc4, 0xc4, 0xcc, 0xce]
        );
        assert_eq!(sum(payload), 0xcc70_0380_c22d_c953);
    }

    #[test]
    fn what_is_decoded_is_what_the_reference_decodes_whatever_the_bytes() {
        let bytes: Vec<u8> = (0..800_u32).map(|n| (n * n * 31 + n * 7) as u8).collect();
        let pcm = decoded(&bytes);
        assert_eq!(pcm[..8], [-2, 22, -34, 24, -56, 46, -142, 472]);
        let bytes = pcm.iter().flat_map(|sample| sample.to_le_bytes());
        assert_eq!(sum(bytes), 0x6fad_a4da_f6ce_c373);
    }

    #[test]
    fn silence_stays_silent_and_a_payload_longer_than_the_room_is_cut_off() {
        let silence = LowerBand::default().encode(&[0; FRAME]);
        assert!(decoded(&silence).iter().all(|sample| sample.abs() < 16));
        let mut room = [0; FRAME];
        assert_eq!(LowerBand::default().decode(&[0xff; 500], &mut room), FRAME);
    }
}
