//! Replays what the fuzz targets begin with and have found (`fuzz/corpus`).

use std::path::Path;

use mxtrunk_sip::fuzzing::TARGETS;

#[test]
fn every_input_that_fuzzing_kept_is_survived() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let entries = std::fs::read_dir(corpora.join(name)).unwrap();
        let inputs = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let replayed = inputs.map(|input| target(&input)).count();
        assert!(replayed > 0, "the corpus of {name} is empty");
    }
}
