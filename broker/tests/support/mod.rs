//! A real broker and real tools, each test with its own.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fletch_client::{ConnectOptions, Connection, Session};
use rustix::process::{Pid, Signal, kill_process};

/// Longest time for anything that should take none.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A `fletchd` on a port of its own, ended with the value.
pub struct Broker {
    child: Child,
    pub port: u16,
}

impl Broker {
    pub fn start() -> Broker {
        Self::with(&["--shards", "2"])
    }

    pub fn with(arguments: &[&str]) -> Broker {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fletchd"))
            .args(["--port", "0", "--interface", "127.0.0.1", "--auth", "no", "--no-data-dir"])
            .args(["--log-enable", "warning+"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("fletchd starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("fletchd says its port");
        let port = line.trim().parse().expect("a port");
        Broker { child, port }
    }

    pub fn url(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A connection and a session for looking behind the tools' backs.
    pub fn session(&self) -> (Connection, Session) {
        let options = ConnectOptions { timeout: PATIENCE, ..Default::default() };
        let connection = Connection::connect(("127.0.0.1", self.port), &options).expect("connects");
        let session = connection.session("a test", false).expect("attaches");
        (connection, session)
    }

    /// Stops in order, as an operator would.
    pub fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it lives");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "fletchd ended with {status}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tool's command line against a broker.
pub struct Tool<'a> {
    command: Command,
    /// It must outlive the tool.
    broker: PhantomData<&'a Broker>,
}

pub fn fletch() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fletch"))
}

impl Broker {
    /// `fletch NAME -b URL`.
    pub fn tool(&self, name: &str) -> Tool<'_> {
        let mut command = fletch();
        command.args([name, "-b", &self.url()]);
        Tool { command, broker: PhantomData }
    }

    /// The tool called by another name, through a link.
    pub fn tool_named(&self, dir: &std::path::Path, name: &str) -> Tool<'_> {
        let link: PathBuf = dir.join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fletch"), &link).expect("links");
        let mut command = Command::new(link);
        command.args(["-b", &self.url()]);
        Tool { command, broker: PhantomData }
    }
}

impl Tool<'_> {
    pub fn args<'s>(mut self, arguments: impl IntoIterator<Item = &'s str>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Runs it to its end.
    pub fn output(self) -> Output {
        output(self.command, "")
    }

    /// Runs it with input.
    pub fn output_of(self, input: &str) -> Output {
        output(self.command, input)
    }

    /// Runs it, and returns what it printed; it must succeed.
    pub fn ok(self) -> String {
        success(&self.output())
    }

    /// Runs it, and returns what it complained of; it must fail.
    pub fn fails(self) -> String {
        let output = self.output();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Starts it, with its output piped.
    pub fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts")
    }
}

pub fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Runs a command to its end, which must come before patience ends.
pub fn output(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("reads its input");
    drop(stdin);
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    let (done, ended) = std::sync::mpsc::channel::<()>();
    // It is not waited for before `wait_with_output` below, so that the pid stays its own.
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("ends");
    drop(done);
    watch.join().expect("the watch does not panic");
    output
}

/// Waits for a child that should be ending.
pub fn wait(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("can be waited for") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the tool does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
