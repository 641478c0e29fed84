//! Replays what the fuzz targets have found worth keeping (`fuzz/corpus`), on the stable toolchain.

use std::path::Path;
use std::time::Instant;

use mxtrunk_media::fuzzing::TARGETS;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the corpora are files, and virtual time has to begin somewhere"
)]
fn every_input_that_fuzzing_kept_is_survived() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
            target(
                Instant::now(),
                &std::fs::read(entry.unwrap().path()).unwrap(),
            );
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}
