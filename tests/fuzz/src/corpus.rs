//! The corpus of the fuzz targets, through the same checks, without libFuzzer: what once was found
//! stays found. A part of the test `corpus` of each crate that has targets.

use std::path::Path;

type Check = fn(&[u8]);

/// Runs each target's check over its files; `corpus`: their directory, as seen from the crate's.
pub(crate) fn run(corpus: &str, targets: &[(&str, Check)]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(corpus);
    for (name, check) in targets {
        let files = std::fs::read_dir(corpus.join(name)).expect("every target has a corpus");
        let mut count = 0;
        for file in files {
            let path = file.expect("a file").path();
            // A panic is caught by the test's thread; the file's name must come before it.
            println!("{}", path.display());
            check(&std::fs::read(&path).expect("a readable file"));
            count += 1;
        }
        assert!(count > 0, "the corpus of {name} is empty");
    }
}
