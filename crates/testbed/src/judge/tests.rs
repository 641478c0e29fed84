//! The judge judged: what it must pass, and what it must not.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;

/// The seed is fixed here: the judge's own tests shall not depend on chance.
const SEED: u64 = 8_000;

fn prefixes() -> [PathBuf; 2] {
    [
        crate::layout::debian_sid(),
        crate::layout::debian_bookworm(),
    ]
}

fn clips(count: usize) -> Vec<Clip> {
    let mut voices = Voices::under(&prefixes(), SEED).unwrap();
    (0..count).map(|_| voices.clip(&pesq()).unwrap()).collect()
}

fn pesq() -> Pesq {
    Pesq::new(crate::layout::venv_program("python"))
}

fn judge(clips: &[Clip]) -> Judge {
    Judge::new(pesq(), clips.to_vec())
}

/// The recording of a call: a second of quiet before, a second after.
fn recorded(sound: &Sound) -> Recording {
    let mut whole = Sound::default();
    whole.pause(1_000);
    whole.append(&sound.through_g711());
    whole.pause(1_000);
    Recording {
        sound: whole,
        made: SystemTime::now(),
    }
}

fn an_hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3_600)
}

fn verdict_on(clips: &[Clip], recording: &Recording) -> Verdict {
    judge(clips)
        .verdict(&clips[0], recording, an_hour_ago())
        .unwrap()
}

/// `clip` with `length_ms` of silence in the middle of its speech.
fn with_gap(clip: &Clip, length_ms: usize) -> Sound {
    let samples = clip.sound.samples();
    let length = length_ms * RATE as usize / 1_000;
    let frames = length / FRAME;
    let speaking = speaking_frames(samples);
    // In a vowel, not at the closure of a stop: there a person would not hear the hole.
    let start = (speaking.len() / 2..speaking.len() - frames)
        .find(|start| {
            speaking[*start..start + frames]
                .iter()
                .all(|speaks| *speaks)
        })
        .unwrap()
        * FRAME;
    let mut holed = samples.to_vec();
    holed[start..start + length].fill(0.0);
    Sound::from(holed)
}

#[test]
fn every_voice_passes_through_a_telephone_line() {
    let clips = clips(4);
    let judge = judge(&clips);
    for clip in &clips {
        let verdict = judge
            .verdict(clip, &recorded(&clip.sound), an_hour_ago())
            .unwrap();
        assert!(verdict.passed(), "{verdict:?}");
        assert_eq!(verdict.figures.lag_ms, 1_000, "{verdict:?}");
        assert_eq!(verdict.figures.slip_ms, 0, "{verdict:?}");
    }
}

#[test]
fn a_browsers_recording_at_48_khz_passes() {
    let clips = clips(2);
    let quiet = recorded(&clips[0].sound);
    let narrow: Vec<i16> = quiet.sound.pcm().collect();
    let wide: Vec<i16> = narrow
        .windows(2)
        .flat_map(|pair| {
            let (from, to) = (i32::from(pair[0]), i32::from(pair[1]));
            (0..6).map(move |step| (from + (to - from) * step / 6) as i16)
        })
        .collect();
    let recording = Recording {
        sound: Sound::from_pcm(&wide, 48_000).unwrap(),
        made: SystemTime::now(),
    };
    let verdict = verdict_on(&clips, &recording);
    assert!(verdict.passed(), "{verdict:?}");
}

#[test]
fn a_slip_of_one_packet_is_seen_and_is_no_gap() {
    let clips = clips(2);
    let samples = clips[0].sound.samples();
    let half = samples.len() / 2;
    let repeated = [&samples[..half], &samples[half - 160..]].concat();
    let verdict = verdict_on(&clips, &recorded(&Sound::from(repeated)));
    assert_eq!(verdict.figures.slip_ms, 20, "{verdict:?}");
    assert!(!verdict.faults.contains(&Fault::Gap), "{verdict:?}");
}

#[test]
fn a_swapped_recording_fails_as_the_other_clip() {
    let clips = clips(3);
    let verdict = verdict_on(&clips, &recorded(&clips[1].sound));
    assert!(verdict.faults.contains(&Fault::WrongClip), "{verdict:?}");
    assert_eq!(verdict.figures.heard.as_ref(), Some(&clips[1].name));
}

#[test]
fn a_recording_of_another_clip_of_the_same_voice_fails() {
    let clips = clips(4);
    let verdict = verdict_on(&clips[..1], &recorded(&clips[3].sound));
    assert!(verdict.faults.contains(&Fault::WrongClip), "{verdict:?}");
}

#[test]
fn a_silent_recording_fails() {
    let clips = clips(2);
    let silence = clips[0].sound.louder(-200.0);
    let verdict = verdict_on(&clips, &recorded(&silence));
    assert!(verdict.faults.contains(&Fault::WrongClip), "{verdict:?}");
    assert!(verdict.faults.contains(&Fault::Quality), "{verdict:?}");
    assert!(verdict.faults.contains(&Fault::Gap), "{verdict:?}");
}

#[test]
fn an_empty_recording_fails() {
    let clips = clips(2);
    let nothing = Recording {
        sound: Sound::default(),
        made: SystemTime::now(),
    };
    assert!(!verdict_on(&clips, &nothing).passed());
}

#[test]
fn a_recording_6_db_quieter_fails_by_its_level_alone() {
    let clips = clips(2);
    let verdict = verdict_on(&clips, &recorded(&clips[0].sound.louder(-6.0)));
    assert_eq!(verdict.faults, [Fault::Level], "{verdict:?}");
    assert!((verdict.figures.level_db + 6.0).abs() < 0.3, "{verdict:?}");
}

#[test]
fn a_recording_with_an_80_ms_gap_fails() {
    for clip in clips(4) {
        let holed = with_gap(&clip, 80);
        let verdict = verdict_on(&[clip], &recorded(&holed));
        assert!(verdict.faults.contains(&Fault::Gap), "{verdict:?}");
        assert!(verdict.figures.gap_ms <= 90, "{verdict:?}");
    }
}

#[test]
fn a_recording_with_a_40_ms_gap_has_no_gap_fault() {
    for clip in clips(4) {
        let holed = with_gap(&clip, 40);
        let verdict = verdict_on(&[clip], &recorded(&holed));
        assert!(!verdict.faults.contains(&Fault::Gap), "{verdict:?}");
        assert!(verdict.figures.gap_ms >= 30, "{verdict:?}");
    }
}

#[test]
fn a_recording_left_over_from_an_earlier_call_fails_even_with_the_right_clip() {
    let clips = clips(2);
    let mut recording = recorded(&clips[0].sound);
    recording.made = an_hour_ago() - Duration::from_secs(1);
    let verdict = verdict_on(&clips, &recording);
    assert_eq!(verdict.faults, [Fault::LeftOver]);
}

#[test]
fn a_left_over_recording_that_shares_a_sentence_fails() {
    let clips = clips(2);
    let own = clips[0].sound.samples();
    let shared = [&own[..own.len() / 2], clips[1].sound.samples()].concat();
    let verdict = verdict_on(&clips[..1], &recorded(&Sound::from(shared)));
    assert!(verdict.faults.contains(&Fault::WrongClip), "{verdict:?}");
}

#[test]
fn the_clips_of_a_run_differ_and_those_of_the_next_run_too() {
    let first = clips(4);
    let mut names: Vec<&str> = first.iter().map(|clip| clip.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4);
    let mut voices = Voices::under(&prefixes(), SEED + 1).unwrap();
    let next = voices.clip(&pesq()).unwrap();
    assert!(!names.contains(&next.name.as_str()));
}
