//! The voices that are spoken, and the scorer that hears them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mxtrunk_media::FRAME;

use crate::chain::RATE;

const PROMPTS: &str = "debian/usr/share/asterisk/sounds/en_US_f_Allison";
const SPEAKERS: &str = "debian-bookworm/usr/share/codec2/wav";
/// Clips of several speakers: a folder under the testbed, and the files of it that are spoken one after the other.
const CLIPS: [(&str, [&str; 2]); 4] = [
    (PROMPTS, ["demo-enterkeywords", "demo-thanks"]),
    (PROMPTS, ["confbridge-lock-extended", "agent-user"]),
    (SPEAKERS, ["hts1a", "hts2a"]),
    (SPEAKERS, ["forig", "morig"]),
];
/// A clip lasts so long at most, in samples.
const LONGEST: usize = 9 * RATE as usize;
/// Between two sentences, in samples.
const PAUSE: usize = 400 * RATE as usize / 1000;

/// Scores pairs of reference and degraded sound, one line in, one line out.
const SCORER: &str = "
import sys, numpy, pesq
for line in sys.stdin:
    sounds = [numpy.frombuffer(bytes.fromhex(word), dtype='<i2') for word in line.split()]
    print(pesq.pesq(8000, sounds[0], sounds[1], 'nb'), flush=True)
";

/// The clips, in whole frames.
pub(crate) fn clips(testbed: &str) -> Vec<Vec<i16>> {
    let clips = CLIPS.map(|(folder, names)| {
        let mut clip = Vec::new();
        for name in names {
            let path = Path::new(testbed).join(folder).join(format!("{name}.wav"));
            clip.extend(samples(&path));
            clip.extend([0; PAUSE]);
        }
        clip.truncate(clip.len().min(LONGEST) / FRAME * FRAME);
        clip
    });
    clips.into()
}

/// The samples of a WAV file of 16 bits, 8 kHz, one channel.
fn samples(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).expect("the voices that `cargo xtask setup` puts in place");
    let data = bytes.windows(4).position(|word| word == b"data").unwrap() + 8;
    let (pairs, _) = bytes[data..].as_chunks::<2>();
    pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// Narrow-band PESQ (ITU-T P.862.1) by the Python package of that name.
pub(crate) struct Pesq {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Pesq {
    pub(crate) fn new(testbed: &str) -> Self {
        let mut child = Command::new(Path::new(testbed).join("venv/bin/python"))
            .args(["-c", SCORER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Pesq {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            _child: child,
        }
    }

    /// The mean score of pairs of what was said and what was heard.
    pub(crate) fn mean(&mut self, pairs: &[(Vec<i16>, Vec<i16>)]) -> f64 {
        let mut sum = 0.0;
        for (said, heard) in pairs {
            writeln!(self.to, "{} {}", hex(said), hex(heard)).unwrap();
            let mut score = String::new();
            self.from.read_line(&mut score).unwrap();
            sum += score.trim().parse::<f64>().unwrap();
        }
        sum / pairs.len() as f64
    }
}

fn hex(pcm: &[i16]) -> String {
    pcm.iter()
        .flat_map(|sample| sample.to_le_bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
