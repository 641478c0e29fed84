//! Senders that send nothing while nobody talks.

use super::*;

/// A second of talk, then silence over a background of this level, as noise.
fn talk_and_silence(background: f64, seconds: f64) -> Vec<i16> {
    let mut random = Random(2);
    // Uniform noise of amplitude `a` has the level of a / sqrt(3).
    let amplitude = (32_768.0 * 10f64.powf(background / 20.0) * 3f64.sqrt()) as u32;
    let voice = voice(1.0);
    (0..(seconds * 8000.0) as usize)
        .map(|n| {
            let noise = random.below(2 * amplitude + 1) as i16 - amplitude as i16;
            voice.get(n).unwrap_or(&0).saturating_add(noise)
        })
        .collect()
}

/// As a browser sends it: coded at 48 kHz, and of the frames that libopus codes as nothing the first only.
fn browser_stream(pcm: &[i16], dtx: bool) -> Vec<Sent> {
    let mut encoder =
        opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_dtx(dtx).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
    let mut last = 0;
    let payloads = pcm.chunks_exact(FRAME).map(|frame| {
        let between = |(n, sample): (usize, &i16)| {
            let next = i32::from(*frame.get(n + 1).unwrap_or(sample));
            let sample = i32::from(*sample);
            (0..6).map(move |k| (sample + (next - sample) * k / 6) as i16)
        };
        let wide: Vec<i16> = frame.iter().enumerate().flat_map(between).collect();
        Payload::Opus(encoder.encode_vec(&wide, 1000).unwrap().into())
    });
    let mut packets = stream(payloads.collect(), OPUS_TICKS as u32);
    let mut silent = false;
    packets.retain(|packet| {
        let nothing = matches!(&packet.payload, Payload::Opus(p) if p.len() <= 2);
        !(std::mem::replace(&mut silent, nothing) && nothing)
    });
    for packet in &mut packets {
        last += 1;
        packet.stamp.sequence = last;
    }
    packets
}

#[test]
fn gaps_of_a_browser_with_dtx_are_filled_with_noise_of_the_right_level() {
    for background in [-50.0, -60.0] {
        let pcm = talk_and_silence(background, 12.0);
        let hear = |dtx| {
            let mut phone = Phone::hears_opus();
            let packets = browser_stream(&pcm, dtx);
            let sent = packets.len();
            phone.listen(packets, 4000, 12 * SECOND);
            (phone, sent)
        };
        let (phone, sent) = hear(true);
        assert!(sent < 200, "{sent} of 600 packets: no DTX");
        let (whole, _) = hear(false);
        let level = dbov(whole.between(4.0, 11.5));
        let apart = dbov(phone.between(4.0, 11.5)) - level;
        println!("{sent} packets, background {level:.1} dBov, heard {apart:+.1} dB");
        assert!(apart.abs() < 3.0, "{apart} dB off");
        for tenth in 40..115 {
            let from = f64::from(tenth) / 10.0;
            let apart = dbov(phone.between(from, from + 0.1)) - level;
            assert!(apart.abs() < 8.0, "{apart} dB off at {from} s");
        }
        let stats = phone.receiver.stats().0;
        assert!(
            stats.concealed <= 1,
            "silence is no loss: {}",
            stats.concealed
        );
    }
}

#[test]
fn comfort_noise_of_a_phone_is_heard_as_described_until_it_talks_again() {
    let mut phone = Phone::hears_law();
    let mut packets = law_stream(&tone(440.0, 6.0));
    packets.drain(101..200);
    packets[100].payload = Payload::Noise(vec![48]);
    for (n, packet) in packets.iter_mut().enumerate() {
        packet.stamp.sequence = n as u16;
    }
    phone.listen(packets, 4000, 6 * SECOND);
    let level = dbov(phone.between(2.3, 3.9));
    assert!((level + 48.0).abs() < 1.5, "{level} dBov");
    let stats = phone.receiver.stats().0;
    assert_eq!(stats.concealed, 0);
    let back = dbov(phone.between(4.2, 5.8)) - dbov(&tone(440.0, 1.0));
    assert!(back.abs() < 0.5, "{back} dB");
}

#[test]
fn a_stream_that_has_begun_is_never_broken_off() {
    let mut phone = Phone::hears_opus();
    let pcm = talk_and_silence(-50.0, 2.0);
    phone.listen(opus_stream(&pcm, |_| {}), 4000, 5 * SECOND);
    // Whole frames of nothing would be heard as a dead line.
    let dead = (10..250).filter(|n| phone.frame(*n).iter().all(|s| *s == 0));
    assert_eq!(dead.count(), 0);
    let now = phone.at(5 * SECOND + FRAME_US);
    assert!(phone.receiver.pull(now).is_some());
}
