//! Where a voice repeats itself: the pitch period, by which sound is stretched, squeezed and continued.

/// How alike two stretches of sound are: 1 the same but for their loudness, 0 unrelated, -1 opposite.
pub(super) fn likeness(one: &[i16], other: &[i16]) -> f32 {
    let (mut product, mut energy, mut other_energy) = (0.0f32, 1.0f32, 1.0f32);
    for (a, b) in one.iter().zip(other) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        product += a * b;
        energy += a * a;
        other_energy += b * b;
    }
    product / (energy * other_energy).sqrt()
}

/// The one of `lags` at which two stretches are most alike, and how alike they are there.
pub(super) fn best_lag(
    lags: impl Iterator<Item = usize>,
    likeness_at: impl Fn(usize) -> f32,
) -> Option<(usize, f32)> {
    let rated = lags.map(|lag| (lag, likeness_at(lag)));
    rated.max_by(|one, other| one.1.total_cmp(&other.1))
}

/// Fades from `sound`, which is overwritten, to `next`; as long as the shorter one.
pub(super) fn fade_over(sound: &mut [i16], next: &[i16]) {
    let len = sound.len().min(next.len()) as i32;
    for (n, (out, next)) in (0..len).zip(sound.iter_mut().zip(next)) {
        let mixed = i32::from(*out) * (len - n) + i32::from(*next) * n;
        *out = (mixed / len) as i16;
    }
}

/// Mean square.
pub(super) fn power(sound: &[i16]) -> f32 {
    let squares: f32 = sound.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
    squares / sound.len().max(1) as f32
}
