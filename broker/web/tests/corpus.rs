//! What fuzzing has found stays found.

#[path = "../../../tests/fuzz/src/web/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets use the rest")]
mod checks;
#[path = "../../../tests/fuzz/src/corpus.rs"]
mod corpus;

#[test]
fn corpus() {
    corpus::run("../../tests/fuzz/corpus", checks::TARGETS);
}
