//! The corpus of the fuzz targets, through the same checks, without libFuzzer: what once was found
//! stays found.

#[path = "../../../tests/fuzz/src/engine/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets use the rest")]
mod checks;

use std::path::Path;

#[test]
fn corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
    for (name, check) in checks::TARGETS {
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
