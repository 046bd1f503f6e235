//! A client program of somebody else's: started, waited for, and what it printed.

use anyhow::{Context, Result, bail};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempfile;

/// How long one may run.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Octets that are read of what it says.
const MOST: u64 = 2_000;

/// See the module. Ends with whoever holds it.
pub(super) struct Program {
    name: String,
    child: Child,
    /// What it says, on either stream.
    said: std::fs::File,
}

impl Program {
    /// Starts the program of that name in a directory.
    pub(super) fn start(dir: &Path, name: &str, arguments: &[String]) -> Result<Program> {
        let said = tempfile()?;
        let path = dir.join(name);
        let child = Command::new(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .spawn()
            .with_context(|| format!("{}: --qpid-clients", path.display()))?;
        Ok(Program { name: name.to_owned(), child, said })
    }

    /// What it has printed when it has ended well.
    pub(super) fn finish(mut self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let said = self.said()?;
                    bail!("{} took longer than {PATIENCE:?}: {said}", self.name)
                }
                None => std::thread::sleep(LOOK),
            }
        };
        let said = self.said()?;
        if !status.success() {
            bail!("{} ended with {status}: {said}", self.name);
        }
        Ok(said)
    }

    /// The end of it, if it is much.
    fn said(&mut self) -> Result<String> {
        let length = self.said.metadata()?.len();
        self.said.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut said = Vec::new();
        self.said.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone after `finish`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of the last line that has so many, and nothing else.
pub(super) fn numbers<const N: usize>(said: &str, separator: char) -> Result<[f64; N]> {
    let line = |line: &str| -> Option<[f64; N]> {
        let fields = line.split(separator).map(|field| field.trim().parse().ok());
        fields.collect::<Option<Vec<f64>>>()?.try_into().ok()
    };
    said.lines().rev().find_map(line).with_context(|| format!("no line of {N} numbers: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_last_line_that_has_them() {
        let said = "WARNING: Adjusted --count\n1\t2\t3\t4\n255010\t254999\t1.2e+06\t31.1\n";
        assert_eq!(numbers::<4>(said, '\t').unwrap(), [255_010.0, 254_999.0, 1.2e6, 31.1]);
        assert_eq!(numbers::<1>("337002\n", '\t').unwrap(), [337_002.0]);
        assert!(numbers::<4>("Controller exception: closed\n", '\t').is_err());
    }

    #[test]
    fn a_program_that_fails_is_told_with_what_it_said() {
        let shell = |text: &str| {
            let arguments = ["-c".to_owned(), text.to_owned()];
            Program::start("/bin".as_ref(), "sh", &arguments).unwrap().finish()
        };
        assert_eq!(shell("echo 5; echo 6 >&2").unwrap(), "5\n6\n");
        let error = shell("echo no such queue >&2; exit 3").unwrap_err().to_string();
        assert!(error.contains("no such queue") && error.contains('3'), "{error}");
        let missing = Program::start("/nowhere".as_ref(), "qpid-send", &[]).err().unwrap();
        assert!(missing.to_string().contains("/nowhere/qpid-send: --qpid-clients"), "{missing}");
    }
}
