//! The AMQP 1.0 clients nobody here wrote: how each is installed, and how our program on it is run.
//!
//! What a client is pinned to stands in the files beside our program. They are kept with what was
//! installed, so that the registry is asked again only when they have changed; our programs are
//! compiled every time, which is quick when nothing has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A client and our program on it, in `tests/clients/NAME`.
#[derive(Debug)]
pub struct Client {
    /// Its name, and that of its directories.
    pub name: &'static str,
    /// The files that say what to install.
    pins: &'static [&'static str],
    /// Gets it from its registry; nothing where compiling our program does.
    fetch: fn(&Place) -> Vec<Command>,
    /// Compiles our program.
    build: fn(&Place) -> Vec<Command>,
    /// Our program; `--list`, `--queues` or `HOST:PORT NAME...` follow.
    run: fn(&Place) -> Command,
}

/// Where a client is.
#[derive(Debug)]
struct Place {
    /// Our program's source.
    sources: PathBuf,
    /// What is installed and compiled.
    installed: PathBuf,
}

/// All of them, those that take longest first.
pub const CLIENTS: [Client; 5] = [
    Client {
        name: "fe2o3",
        pins: &["Cargo.toml", "Cargo.lock"],
        fetch: |_| Vec::new(),
        build: |at| {
            let mut cargo = command("cargo", ["build", "--release", "--locked", "--quiet"]);
            cargo.arg("--manifest-path").arg(at.sources.join("Cargo.toml"));
            cargo.env("CARGO_TARGET_DIR", at.installed.join("target"));
            vec![cargo]
        },
        run: |at| Command::new(at.installed.join("target/release/fe2o3-check")),
    },
    Client {
        name: "proton",
        pins: &["requirements.txt"],
        fetch: |at| {
            let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet"];
            let mut pip = command("python3", pip);
            pip.arg("--requirement").arg(at.sources.join("requirements.txt"));
            pip.arg("--target").arg(at.installed.join("packages"));
            vec![pip]
        },
        build: |_| Vec::new(),
        run: |at| {
            let mut python = command("python3", ["-B", "-u"]);
            python.arg(at.sources.join("main.py"));
            python.env("PYTHONPATH", at.installed.join("packages"));
            python
        },
    },
    Client {
        name: "jms2",
        pins: &["pom.xml"],
        fetch: |at| {
            let mut maven = command("mvn", ["--quiet", "--batch-mode", "--file"]);
            maven.arg(at.sources.join("pom.xml")).arg("dependency:copy-dependencies");
            maven.arg(format!("-DoutputDirectory={}", at.installed.join("lib").display()));
            vec![maven]
        },
        build: |at| {
            let mut javac = command("javac", ["--release", "17", "-Xlint:all", "-cp"]);
            javac.arg(at.installed.join("lib/*"));
            javac.arg("-d").arg(at.installed.join("classes"));
            javac.args(files(&at.sources, "java"));
            vec![javac]
        },
        run: |at| {
            let path = at.installed.display();
            let path = format!("{path}/classes:{path}/lib/*");
            // Starting it takes longer than what a better compiler would save.
            command("java", ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &path, "Main"])
        },
    },
    Client {
        name: "go-amqp",
        pins: &["go.mod", "go.sum"],
        fetch: |_| Vec::new(),
        build: |at| {
            let mut go = command("go", ["build", "-o"]);
            go.arg(at.installed.join("check")).arg(".").current_dir(&at.sources);
            vec![go]
        },
        run: |at| Command::new(at.installed.join("check")),
    },
    Client {
        name: "rhea",
        pins: &["package.json", "package-lock.json"],
        fetch: |at| {
            let mut npm = command("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
            npm.current_dir(&at.installed);
            vec![npm]
        },
        build: |_| Vec::new(),
        run: |at| {
            let mut node = Command::new("node");
            node.arg(at.sources.join("main.js"));
            node.env("NODE_PATH", at.installed.join("node_modules"));
            node
        },
    },
];

fn command<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The files with this extension directly in a directory.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

impl Client {
    fn place(&self) -> Place {
        Place {
            sources: super::workspace().join("tests/clients").join(self.name),
            installed: super::clients_dir().join(self.name),
        }
    }

    /// Installs the client and compiles our program, as far as that is not done.
    pub fn install(&self) -> Result<()> {
        let at = self.place();
        fs::create_dir_all(&at.installed)?;
        let log = super::clients_dir().join(format!("{}.log", self.name));
        let output = File::create(&log)?;
        let installed = at.installed.join("installed");
        let mut pinned = Vec::new();
        for pin in self.pins {
            pinned
                .extend(fs::read(at.sources.join(pin)).with_context(|| format!("reading {pin}"))?);
        }
        let commands = (self.fetch)(&at);
        if !commands.is_empty() && fs::read(&installed).ok().as_ref() != Some(&pinned) {
            fs::remove_dir_all(&at.installed)?;
            fs::create_dir_all(&at.installed)?;
            for pin in self.pins {
                fs::copy(at.sources.join(pin), at.installed.join(pin))?;
            }
            for command in commands {
                complete(command, &output, &log)?;
            }
            fs::write(&installed, &pinned)?;
        }
        for command in (self.build)(&at) {
            complete(command, &output, &log)?;
        }
        Ok(())
    }

    /// Our program, with nothing to read.
    pub fn program(&self) -> Command {
        let mut command = (self.run)(&self.place());
        command.stdin(Stdio::null());
        command
    }

    /// The lines it prints for `--list` or `--queues`.
    pub fn says(&self, what: &str) -> Result<Vec<String>> {
        let output = self.program().arg(what).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("running the program on {}", self.name))?;
        ensure!(output.status.success(), "the program on {} failed for {what}", self.name);
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }
}

fn complete(mut command: Command, output: &File, log: &Path) -> Result<()> {
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{program} is not installed"))?;
    ensure!(status.success(), "{program} failed; see {}:\n{}", log.display(), tail(log));
    Ok(())
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
