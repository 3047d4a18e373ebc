//! Sends arbitrary requests to one provider: `QUELL_FUZZ_PROVIDER` names it, and `QUELL_FUZZ_SEEDS` a folder into which its
//! samples are written first, to begin with. What must hold is told by `providers::attack`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use providers::attack::{self, Input};
use providers::{Provider, SourceSpec, samples};
use std::path::PathBuf;
use std::sync::LazyLock;

static TARGET: LazyLock<(&'static dyn Provider, SourceSpec)> = LazyLock::new(|| {
    let name = std::env::var("QUELL_FUZZ_PROVIDER").unwrap_or_default();
    let Some(provider) = samples::everyone().find(|provider| provider.name() == name) else {
        let names: Vec<&str> = samples::everyone().map(|provider| provider.name()).collect();
        panic!("set QUELL_FUZZ_PROVIDER to one of {}", names.join(", "));
    };
    (provider, samples::guarded(provider.name()))
});

/// Reads every sample once, so that what is made once in a process (the tables of phone numbers) is no slow input.
fn begin() {
    for sample in samples::of(TARGET.0) {
        attack::run(TARGET.0, &TARGET.1, &Input::read(&Input::write(TARGET.0, &sample)));
    }
    write_seeds();
}

fn write_seeds() {
    let Some(folder) = std::env::var_os("QUELL_FUZZ_SEEDS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).expect("the folder of the seeds can be made");
    for (number, sample) in samples::of(TARGET.0).iter().enumerate() {
        let text = Input::write(TARGET.0, sample);
        std::fs::write(folder.join(format!("sample-{number}")), text).expect("a seed can be written");
    }
}

fuzz_target!(
    init: begin(),
    |data: &[u8]| attack::run(TARGET.0, &TARGET.1, &Input::read(data))
);
