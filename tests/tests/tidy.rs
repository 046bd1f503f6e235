//! Rules of the repository that no compiler checks: which crate may use which, what the pure crates
//! never name, how long a file may be, and what no text may contain. Each test lists all offenders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fletch_tests::foreign::workspace;

/// Crates without input, output, clocks, threads or randomness, and where their source is.
const PURE: [(&str, &str); 4] = [
    ("fletch-amqp", "broker/amqp/src"),
    ("fletch-web", "broker/web/src"),
    ("fletch-engine", "shards/engine/src"),
    ("fletch-journal", "journal/src"),
];

/// What each crate may use of the workspace. A crate that is not here may use every one.
const DIRECTIONS: [(&str, &[&str]); 8] = [
    ("fletch-amqp", &[]),
    ("fletch-web", &[]),
    ("fletch-journal", &[]),
    ("fletch-engine", &["fletch-amqp", "fletch-journal"]),
    ("fletch-client", &["fletch-amqp"]),
    ("fletch-simulator", &["fletch-engine", "fletch-journal", "fletch-amqp"]),
    ("fletch-shards", &["fletch-engine", "fletch-journal"]),
    (
        "fletch",
        &[
            "fletch-amqp",
            "fletch-client",
            "fletch-engine",
            "fletch-journal",
            "fletch-shards",
            "fletch-web",
        ],
    ),
];

/// Nothing a pure crate builds on may be one of these.
const IMPURE_CRATES: [&str; 12] = [
    "glommio",
    "rustix",
    "libc",
    "socket2",
    "mio",
    "tokio",
    "async-std",
    "rand",
    "getrandom",
    "fastrand",
    "crossbeam-channel",
    "tracing",
];

/// Nor may its source name these.
const IMPURE_WORDS: [&str; 12] = [
    "glommio",
    "rustix",
    "libc::",
    "socket2",
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "rand::",
];

/// Panics of constant evaluation: the compiler meets them, no peer does.
const AT_COMPILE_TIME: [(&str, &str); 1] =
    [("broker/amqp/src/v0_10/message.rs", "structs of a message header have codes")];

/// Files whose text is looked at, whatever they are.
const TEXTS: [&str; 12] =
    ["rs", "md", "toml", "sh", "txt", "java", "xml", "py", "js", "json", "go", "mod"];

/// The longest a source file may be.
const LONGEST: usize = 900;

/// Source files that may be longer, each with the reason beside it.
const LONGER: [&str; 0] = [];

fn path(relative: &str) -> PathBuf {
    workspace().join(relative)
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every file below `dir` with one of these extensions, build output and fuzz finds apart.
fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let skipped = ["target", "corpus", "artifacts", "coverage", ".git"];
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !skipped.contains(&name.as_str()) {
                dirs.push(entry.path());
            } else if kind.is_file()
                && entry.path().extension().is_some_and(|e| extensions.iter().any(|x| e == *x))
            {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// The lines of a Rust file that are code of the crate itself: no comments, no `cfg(test)` items.
/// Relies on rustfmt: a braced item ends at the first `}` with its own indentation.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut test_item: Option<usize> = None;
    let mut waiting = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(of) = test_item {
            if indent == of && trimmed.starts_with('}') {
                test_item = None;
            }
            continue;
        }
        if trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test") {
            waiting = true;
            continue;
        }
        if trimmed.starts_with("//") || (waiting && trimmed.starts_with("#[")) {
            continue;
        }
        if waiting {
            waiting = false;
            if trimmed.ends_with('{') {
                test_item = Some(indent);
            }
            continue;
        }
        let end = line.find(" // ").unwrap_or(line.len());
        lines.push((number + 1, &line[..end]));
    }
    lines
}

/// A module that is compiled for tests only, by its name.
fn is_test_file(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

/// Whether the text stands there by itself, not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(joins) && !line[at + word.len()..].starts_with(joins))
}

fn report(offenders: &[String]) {
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(workspace()).unwrap_or(path).display()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(arguments).current_dir(workspace()).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Each workspace crate with the crates it declares, those for its tests apart.
fn declared() -> BTreeMap<String, Vec<String>> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies.iter().filter(|d| d["kind"] != "dev");
            (text(&package["name"]), normal.map(|d| text(&d["name"])).collect())
        })
        .collect()
}

#[test]
fn crates_depend_one_way() {
    let declared = declared();
    let mut offenders = Vec::new();
    for (name, allowed) in DIRECTIONS {
        let used = declared.get(name).unwrap_or_else(|| panic!("no crate {name}"));
        for other in used.iter().filter(|other| declared.contains_key(*other)) {
            if !allowed.contains(&other.as_str()) {
                offenders.push(format!("{name} depends on {other}"));
            }
        }
    }
    for (name, used) in &declared {
        let allowed = ["fletch-shards", "fletch-perf"].contains(&name.as_str());
        if used.iter().any(|other| other == "glommio") && !allowed {
            offenders.push(format!("{name} depends on glommio"));
        }
    }
    report(&offenders);
}

#[test]
fn pure_crates_build_on_nothing_impure() {
    let mut offenders = Vec::new();
    for (name, _) in PURE {
        for line in cargo(&["tree", "-p", name, "-e", "normal", "--prefix", "none"]).lines() {
            let other = line.split(' ').next().unwrap_or_default();
            if IMPURE_CRATES.contains(&other) {
                offenders.push(format!("{name} builds on {other}"));
            }
        }
    }
    report(&offenders);
}

#[test]
fn pure_crates_name_nothing_impure() {
    let mut offenders = Vec::new();
    for (name, source) in PURE {
        if !read(&path(source).join("lib.rs")).contains("#![forbid(unsafe_code)]") {
            offenders.push(format!("{name} does not forbid unsafe code"));
        }
        for file in files(&path(source), &["rs"]).iter().filter(|file| !is_test_file(file)) {
            for (number, line) in code(&read(file)) {
                for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                    offenders.push(format!("{}:{number}: {word}", shown(file)));
                }
            }
        }
    }
    report(&offenders);
}

#[test]
fn the_protocol_never_panics_on_purpose() {
    let mut offenders = Vec::new();
    let sources = ["broker/amqp/src", "broker/web/src"].map(|dir| files(&path(dir), &["rs"]));
    for file in sources.iter().flatten().filter(|file| !is_test_file(file)) {
        for (number, line) in code(&read(file)) {
            let allowed = AT_COMPILE_TIME
                .iter()
                .any(|(other, text)| path(other) == *file && line.contains(text));
            for word in ["unwrap()", ".expect(", "panic!"] {
                if line.contains(word) && !allowed {
                    offenders.push(format!("{}:{number}: {word}", shown(file)));
                }
            }
        }
    }
    report(&offenders);
}

#[test]
fn glommio_is_named_in_the_runtime_only() {
    let mut offenders = Vec::new();
    for dir in ["broker", "journal", "shards", "tests/src"] {
        for file in files(&path(dir), &["rs"]) {
            if file.starts_with(path("shards/src/runtime")) || is_test_file(&file) {
                continue;
            }
            for (number, line) in code(&read(&file)) {
                if line.contains("glommio") {
                    offenders.push(format!("{}:{number}", shown(&file)));
                }
            }
        }
    }
    report(&offenders);
}

#[test]
fn source_files_are_short() {
    let mut offenders = Vec::new();
    for file in files(workspace(), &["rs"]) {
        let in_source = file.components().any(|part| part.as_os_str() == "src");
        let lines = read(&file).lines().count();
        let longer = LONGER.iter().any(|other| path(other) == file);
        if in_source && lines > LONGEST && !longer {
            offenders.push(format!("{}: {lines} lines", shown(&file)));
        }
        if longer && lines <= LONGEST {
            offenders.push(format!("{} need not be in LONGER", shown(&file)));
        }
    }
    report(&offenders);
}

#[test]
fn no_text_holds_a_banned_word() {
    // In two parts, so that this file passes its own rule.
    let banned = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("repo.maven", ".apache"),
        concat!("registry.npmjs", ".org"),
    ];
    let mut offenders = Vec::new();
    let mut texts = files(workspace(), &TEXTS);
    texts.extend([path("tests/run"), path(".ci/run")]);
    for file in texts {
        for (number, line) in read(&file).lines().enumerate() {
            for word in banned.iter().filter(|word| has_word(line, word)) {
                offenders.push(format!("{}:{}: {word}", shown(&file), number + 1));
            }
        }
    }
    report(&offenders);
}

#[test]
fn pages_have_one_heading_and_no_trailing_blanks() {
    let mut offenders = Vec::new();
    for file in files(workspace(), &["md"]) {
        let text = read(&file);
        let mut fenced = false;
        let mut headings = 0;
        for (number, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            headings += usize::from(!fenced && line.starts_with("# "));
            if line.ends_with([' ', '\t']) {
                offenders.push(format!("{}:{}: trailing blank", shown(&file), number + 1));
            }
        }
        if headings != 1 {
            offenders.push(format!("{}: {headings} first headings", shown(&file)));
        }
    }
    report(&offenders);
}

#[test]
fn the_readme_gives_both_commands() {
    let readme = read(&path("README.md"));
    let blocks: Vec<&str> = readme.split("```").skip(1).step_by(2).collect();
    for command in ["./tests/run", "demo"] {
        assert!(blocks.iter().any(|block| block.contains(command)), "no block with {command}");
    }
}

#[test]
fn code_of_tests_is_told_apart() {
    let text = "\
use a; // unwrap() b
/// c unwrap()
fn d() {}
#[cfg(test)]
#[path = \"x.rs\"]
mod tests;
#[cfg(test)]
mod more {
    fn e() {
    }
}
fn f() {}
";
    let lines: Vec<_> =
        code(text).into_iter().map(|(number, line)| (number, line.trim())).collect();
    assert_eq!(lines, [(1, "use a;"), (3, "fn d() {}"), (12, "fn f() {}")]);
}
