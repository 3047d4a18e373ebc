//! The kept corpus of fuzzing, `fuzz/corpus/NAME/`: each of its inputs is run here too, on any toolchain. What once crashed lies
//! there for good.

use crate::attack::{self, Input};
use crate::samples;
use std::collections::BTreeSet;
use std::path::PathBuf;

const INPUTS_MAX: usize = 64;
const BYTES_MAX: usize = 16_384;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

#[test]
fn every_kept_input_holds() {
    for provider in samples::everyone() {
        let folder = corpus().join(provider.name());
        let spec = samples::guarded(provider.name());
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| {
            panic!("{}: {error}; write an input for its fuzz target (CONTRIBUTING.md)", folder.display())
        });
        let mut inputs = 0;
        for entry in entries {
            let text = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(text.len() <= BYTES_MAX, "{}: the corpus is to stay small", folder.display());
            attack::run(provider, &spec, &Input::read(&text));
            inputs += 1;
        }
        assert!((1..=INPUTS_MAX).contains(&inputs), "{}: {inputs} inputs", folder.display());
    }
}

#[test]
fn every_folder_is_a_providers() {
    let names: BTreeSet<String> = samples::everyone().map(|provider| provider.name().to_owned()).collect();
    let folders: BTreeSet<String> =
        std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names);
}

#[test]
fn every_sample_as_fuzzing_begins_with_it_holds() {
    for provider in samples::everyone() {
        let spec = samples::guarded(provider.name());
        for sample in samples::of(provider) {
            attack::run(provider, &spec, &Input::read(&Input::write(provider, &sample)));
        }
    }
}
