//! Reads what `qpid-python-test` prints, line by line.
//!
//! A test prints `NAME .... pass|fail|skip`; when it writes something itself, the line ends in
//! `start`, its output follows and the line comes again with the outcome. What stands after a
//! `fail` or `skip` line, up to the next name, is the reason. The name is printed before the test
//! runs, so an unfinished last line names the test that hangs.

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Pass,
    /// It failed.
    Fail,
    /// It found no broker to talk to, or the like.
    Skip,
}

/// A finished test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Full name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The traceback, or what else stood below.
    pub reason: Vec<String>,
}

/// What the client's selector says when a socket is closed under it by the end of the test before.
const CLOSED_UNDER_IT: [&str; 2] =
    ["'NoneType' object has no attribute 'fileno'", "Bad file descriptor"];

impl Finished {
    /// The client failed in itself: it could not even start, because its selector had died before;
    /// or it was answered before the test made it deaf to the answer.
    pub fn client_failed(&self) -> bool {
        let says = |text: &str| self.reason.iter().any(|line| line.contains(text));
        // A deaf transport answers a read with the end of the stream: octets were under way then.
        if says("AssertionError: did not time out")
            || says("in timeoutTest") && says("ConnectionError: connection aborted")
        {
            return true;
        }
        let in_selector = self.reason.iter().any(|line| line.contains("qpid/selector.py"));
        let stopped = |line: &String| {
            line.contains("SelectorStopped") || line.contains("Bad file descriptor")
        };
        in_selector && self.reason.iter().any(stopped)
    }
}

/// The reader's state.
#[derive(Debug, Default)]
pub struct Output {
    /// Tests that ended, in order.
    pub finished: Vec<Finished>,
    /// The test whose `start` or name was seen last, without an outcome so far.
    pub running: Option<String>,
    /// The client's own thread died: a race in it that has nothing to do with the broker. Tests that wait
    /// for nothing pass without it, and the next one that does waits for ever.
    pub client_died: bool,
    /// Lines that belong to no test: an import error, say.
    pub stray: Vec<String>,
}

impl Output {
    /// Takes a whole line, without its newline.
    pub fn line(&mut self, line: &str) {
        // Also between two tests: the one before closed the socket.
        self.client_died |= line.contains("qpid.messaging thread died:")
            && CLOSED_UNDER_IT.iter().any(|what| line.contains(what));
        if let Some((name, word)) = test_line(line) {
            let Some(outcome) = outcome(word) else {
                self.running = Some(name.to_owned());
                return;
            };
            self.running = None;
            self.finished.push(Finished { name: name.to_owned(), outcome, reason: Vec::new() });
            return;
        }
        if self.running.is_none() && !line.starts_with("Totals:") {
            match self.finished.last_mut() {
                Some(last) if last.outcome != Outcome::Pass => last.reason.push(line.to_owned()),
                _ => self.stray.push(line.to_owned()),
            }
        }
    }

    /// Takes what stands after the last newline when the runner was ended.
    pub fn rest(&mut self, line: &str) {
        if let Some((name, _)) = test_line(line) {
            self.running = Some(name.to_owned());
        }
    }
}

/// What the word says. Another thread's log may stand right behind it, with its date first.
fn outcome(word: &str) -> Option<Outcome> {
    let all = [("pass", Outcome::Pass), ("fail", Outcome::Fail), ("skip", Outcome::Skip)];
    let (_, outcome) = all.into_iter().find(|(text, _)| {
        let log = word.strip_prefix(text).map(str::as_bytes);
        log.is_some_and(|log| log.first().is_none_or(u8::is_ascii_digit))
    })?;
    Some(outcome)
}

/// Splits `NAME ...... WORD`; the word is empty while the test runs.
fn test_line(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(' ')?;
    let word = rest.trim_start_matches('.');
    let dots = rest.len() - word.len();
    if word.starts_with(name) {
        return test_line(word); // A test that forks prints what was not flushed twice.
    }
    let of_a_suite = name.starts_with("qpid.tests.") || name.starts_with("qpid_tests.");
    (dots > 0 && of_a_suite).then_some((name, word.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
qpid_tests.b.T.one ....... pass
qpid_tests.b.T.two ....... start
  words of the test
  Totals: none
qpid_tests.b.T.two ....... pass
qpid_tests.b.T.three ..... fail
Error during test:  Traceback (most recent call last):
    AssertionError: 1 != 2
qpid_tests.b.T.four ...... skip
  Skipped: [Errno 111] Connection refused
Totals: 4 tests, 2 passed, 1 skipped, 0 ignored, 1 failed";

    #[test]
    fn outcomes_and_reasons_are_told_apart() {
        let mut output = Output::default();
        SAMPLE.lines().for_each(|line| output.line(line));
        let seen: Vec<_> = output.finished.iter().map(|t| (t.name.as_str(), t.outcome)).collect();
        assert_eq!(
            seen,
            [
                ("qpid_tests.b.T.one", Outcome::Pass),
                ("qpid_tests.b.T.two", Outcome::Pass),
                ("qpid_tests.b.T.three", Outcome::Fail),
                ("qpid_tests.b.T.four", Outcome::Skip),
            ]
        );
        assert_eq!(output.finished[2].reason.len(), 2);
        assert_eq!(output.finished[3].reason, ["  Skipped: [Errno 111] Connection refused"]);
        assert!(output.stray.is_empty() && output.running.is_none());
    }

    #[test]
    fn the_test_that_hangs_is_named() {
        let mut output = Output::default();
        output.line("qpid_tests.b.T.one ....... pass");
        output.rest("qpid_tests.b.T.two .......");
        assert_eq!(output.running.as_deref(), Some("qpid_tests.b.T.two"));
        let mut output = Output::default();
        output.line("qpid_tests.b.T.two ....... start");
        output.line("  words");
        assert_eq!(output.running.as_deref(), Some("qpid_tests.b.T.two"));
    }

    #[test]
    fn a_client_without_its_thread_stays_known() {
        let died = "2026-11-26 16:21:26,100 ERROR qpid.messaging thread died: [Errno 9] Bad file descriptor";
        for lines in [
            &["qpid_tests.b.T.one ....... pass", died][..],
            &["qpid_tests.b.T.one ....... start", died, "qpid_tests.b.T.one ....... pass"],
        ] {
            let mut output = Output::default();
            lines.iter().for_each(|line| output.line(line));
            output.rest("qpid_tests.b.T.two .......");
            assert!(output.client_died && output.running.is_some(), "{lines:?}");
        }
        let mut output = Output::default();
        output.line(&format!("qpid_tests.b.T.one ....... pass{died}"));
        assert!(output.client_died && output.running.is_none());
        assert_eq!(output.finished[0].outcome, Outcome::Pass);
        let mut output = Output::default();
        output.line("qpid_tests.b.T.two ....... start");
        output.line("ERROR qpid.messaging thread died: something else");
        assert!(!output.client_died);
    }

    #[test]
    fn a_line_begun_twice_is_one_outcome() {
        let mut output = Output::default();
        output.line("qpid_tests.b.T.one .......qpid_tests.b.T.one ....... pass");
        assert_eq!(output.finished[0].outcome, Outcome::Pass);
    }

    #[test]
    fn lines_of_no_test_are_kept() {
        let mut output = Output::default();
        output.line("ImportError: No module named qpid");
        assert_eq!(output.stray, ["ImportError: No module named qpid"]);
    }

    #[test]
    fn an_answer_to_a_deaf_client_is_its_own_failure() {
        let failed = |reason: &[&str]| {
            let reason = reason.iter().map(|line| line.to_string()).collect();
            Finished { name: "t".into(), outcome: Outcome::Fail, reason }.client_failed()
        };
        let aborted = "ConnectionError: connection aborted";
        assert!(failed(&["endpoints.py\", line 325, in timeoutTest", aborted]));
        assert!(!failed(&["endpoints.py\", line 325, in testSend", aborted]));
        assert!(failed(&["AssertionError: did not time out"]));
    }
}
