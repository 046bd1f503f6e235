//! The tool `fletch`, and the reference's tools that it stands in for: called as `qpid-send`, `qpid-receive`, `drain` or
//! `spout` it is that tool. All of it but `journal` is a client; the only broker it starts is the demonstration's, as another process.

pub mod address;
mod connect;
mod demo;
mod drain;
mod groups;
mod journal;
mod logs;
mod message;
mod ping;
mod progress;
mod receive;
mod refuse;
mod report;
mod send;
mod spout;
mod stats;
mod unique;
mod value;
mod wire;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches, Parser, Subcommand};

use address::AddressError;

/// Tools for the Fletch message broker
#[derive(Debug, Parser)]
#[command(
    name = "fletch",
    version,
    about = "Tools for the Fletch message broker",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for the life of the program")]
enum Tool {
    Send(send::Options),
    Receive(receive::Options),
    Drain(drain::Options),
    Spout(spout::Options),
    Ping(ping::Options),
    Demo(demo::Options),
    Journal(journal::Options),
}

impl Tool {
    fn run(&self) -> anyhow::Result<()> {
        match self {
            Tool::Send(options) => options.run(),
            Tool::Receive(options) => options.run(),
            Tool::Drain(options) => options.run(),
            Tool::Spout(options) => options.run(),
            Tool::Ping(options) => options.run(),
            Tool::Demo(options) => options.run(),
            Tool::Journal(options) => options.run(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Tool::Send(_) => "fletch send",
            Tool::Receive(_) => "fletch receive",
            Tool::Drain(_) => "fletch drain",
            Tool::Spout(_) => "fletch spout",
            Tool::Ping(_) => "fletch ping",
            Tool::Demo(_) => "fletch demo",
            Tool::Journal(_) => "fletch journal",
        }
    }
}

/// The whole of `fletch`.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().map(Path::new).and_then(|path| path.file_name()?.to_str());
    let (name, tool) = match called {
        // The demonstration's broker: see `demo`.
        Some("fletchd") => return crate::daemon::main(),
        Some("qpid-send") => ("qpid-send", single(&arguments, "qpid-send").map(Tool::Send)),
        Some("qpid-receive") => {
            ("qpid-receive", single(&arguments, "qpid-receive").map(Tool::Receive))
        }
        Some("drain") => ("drain", single(&arguments, "drain").map(Tool::Drain)),
        Some("spout") => ("spout", single(&arguments, "spout").map(Tool::Spout)),
        _ => ("", Cli::try_parse_from(&arguments).map(|cli| cli.tool)),
    };
    let tool = match tool {
        Ok(tool) => tool,
        Err(error) => {
            // Nowhere to say that it cannot be said.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let name = if name.is_empty() { tool.name() } else { name };
    match tool.run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has gone: as good an end as any.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            if let Some(place) =
                error.chain().find_map(|cause| cause.downcast_ref::<AddressError>())
            {
                point_at(place);
            }
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line of one tool under its own name.
fn single<T: Args + FromArgMatches>(
    arguments: &[OsString],
    name: &'static str,
) -> Result<T, clap::Error> {
    let command = T::augment_args(Command::new(name)).version(env!("CARGO_PKG_VERSION"));
    T::from_arg_matches(&command.max_term_width(100).try_get_matches_from(arguments)?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Shows the column of an address that is wrong, if it is on one line.
fn point_at(error: &AddressError) {
    if !error.text.contains(['\n', '\t']) {
        eprintln!("  {}\n  {:>column$}", error.text, '^', column = error.column);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        send::Options::augment_args(Command::new("qpid-send")).debug_assert();
        receive::Options::augment_args(Command::new("qpid-receive")).debug_assert();
        drain::Options::augment_args(Command::new("drain")).debug_assert();
        spout::Options::augment_args(Command::new("spout")).debug_assert();
    }
}
