//! Where option texts come from: command line, environment, file. Each source is read into
//! [`Values`] on its own, checked against the table, and then layered by precedence.
//! Knows names and texts, not what an option means.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::table::{self, GROUPS, Kind, OptionSpec};
use super::value;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--name value`.
    CommandLine,
    /// A variable of that name.
    Environment(String),
    /// A line of that file.
    File(PathBuf, usize),
    /// What that profile sets.
    Profile(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Profile(name) => write!(f, "--profile {name}"),
        }
    }
}

/// Why the options are refused. Each is one line and names the option and its source.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such option.
    #[error("{origin}: unknown option {name}{}", suggestion(.nearest))]
    Unknown {
        /// Where it stands.
        origin: Source,
        /// As it was written.
        name: String,
        /// The known option most like it.
        nearest: Option<&'static str>,
    },
    /// The option's text makes no sense.
    #[error("{origin}: invalid value '{text}' for --{name}: {reason}")]
    Invalid {
        /// Where it stands.
        origin: Source,
        /// The option.
        name: &'static str,
        /// What was given.
        text: String,
        /// What was expected.
        reason: String,
    },
    /// The command line cannot be split into options and values.
    #[error("command line: {0}")]
    CommandLine(String),
    /// A line of a file that is neither a comment nor `name=value`.
    #[error("{0}: expected name=value")]
    Line(Source),
    /// A file that was asked for cannot be read.
    #[error("cannot read configuration file {path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, std::io::Error),
    /// Options that are fine alone and not together, or not in this version.
    #[error("{0}")]
    Refused(String),
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |known| format!("; the nearest known option is --{known}"))
}

/// The texts given for each option by one source, or by all of them once layered.
#[derive(Debug, Default)]
pub(super) struct Values {
    given: HashMap<&'static str, (Vec<String>, Source)>,
}

impl Values {
    /// Takes one more text for an option, checked by the option's kind.
    fn give(
        &mut self,
        option: &'static OptionSpec,
        text: String,
        origin: Source,
    ) -> Result<(), ConfigError> {
        let checked = match option.kind {
            Kind::Flag | Kind::Bool => value::boolean(&text).map(drop),
            Kind::Text | Kind::List => Ok(()),
            Kind::Integer(max) => value::integer(&text, max).map(drop),
            Kind::Size => value::size(&text).map(drop),
            Kind::Duration(unit) => value::duration(&text, unit).map(drop),
            Kind::Choice(words) if words.contains(&text.as_str()) => Ok(()),
            Kind::Choice(words) => Err(format!("expected one of {}", words.join(", "))),
        };
        if let Err(reason) = checked {
            return Err(ConfigError::Invalid { origin, name: option.name, text, reason });
        }
        let entry = self.given.entry(option.name).or_insert_with(|| (Vec::new(), origin.clone()));
        if !option.repeats() {
            entry.0.clear();
        }
        entry.0.push(text);
        entry.1 = origin;
        Ok(())
    }

    /// Takes the text of an option by its name.
    pub(super) fn set(
        &mut self,
        name: &str,
        text: &str,
        origin: Source,
    ) -> Result<(), ConfigError> {
        match table::find(name) {
            Some(option) => self.give(option, text.to_owned(), origin),
            None => Err(ConfigError::Unknown { origin, name: name.to_owned(), nearest: None }),
        }
    }

    /// Adds what `weaker` gives for options that are not given here.
    pub(super) fn or(mut self, weaker: Self) -> Self {
        for (name, given) in weaker.given {
            self.given.entry(name).or_insert(given);
        }
        self
    }

    /// The texts and source of an option, when any source gave it.
    pub(super) fn get(&self, name: &str) -> Option<(&[String], &Source)> {
        self.given.get(name).map(|(texts, origin)| (texts.as_slice(), origin))
    }
}

/// What a grammar is built for. The help shows flags without the value they may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Parse,
    Help,
}

/// The command line's grammar, built from the table.
fn command(purpose: Purpose) -> Command {
    let mut command = Command::new("fletchd")
        .about("The Fletch message broker")
        .override_usage("fletchd [OPTIONS]")
        .after_help(
            "Every option can also be given as FLETCH_NAME or QPID_NAME in the environment (upper \
             case, - as _) or as a line name=value of the configuration file. The command line \
             goes before the environment, the environment before the file, the file before --profile.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .max_term_width(110);
    for (group, options) in GROUPS {
        for option in *options {
            let mut help = option.help.to_owned();
            if !option.default.is_empty() {
                help.push_str(&format!(" [default: {}]", option.default));
            }
            match option.status {
                table::Status::Active => {}
                table::Status::Later(_) => help.push_str(" [not available yet]"),
                table::Status::NotNeeded(_) => help.push_str(" [accepted, not needed]"),
            }
            let mut arg = Arg::new(option.name)
                .long(option.name)
                .short(option.short)
                .help(help)
                .help_heading(*group)
                .action(ArgAction::Append);
            if let Some(alias) = option.alias {
                arg = arg.visible_alias(alias);
            }
            arg = match option.kind {
                Kind::Flag if purpose == Purpose::Help => arg.action(ArgAction::SetTrue),
                // A value only behind "=", so that letters can stand together: -dt.
                Kind::Flag => arg.num_args(0..=1).default_missing_value("yes").require_equals(true),
                Kind::Bool if purpose == Purpose::Parse => {
                    arg.num_args(0..=1).default_missing_value("yes")
                }
                _ => arg.value_name(option.value),
            };
            command = command.arg(arg);
        }
    }
    command
}

/// The text of `--help`.
pub(super) fn help() -> String {
    command(Purpose::Help).next_line_help(true).render_help().to_string()
}

/// Reads the command line; `args` begins with the program's name.
pub(super) fn command_line(args: &[String]) -> Result<Values, ConfigError> {
    let matches = command(Purpose::Parse).try_get_matches_from(args).map_err(command_line_error)?;
    let mut values = Values::default();
    for option in table::all() {
        for text in matches.get_many::<String>(option.name).into_iter().flatten() {
            values.give(option, text.clone(), Source::CommandLine)?;
        }
    }
    Ok(values)
}

/// One line for what the grammar refused, with our own nearest name.
fn command_line_error(error: clap::Error) -> ConfigError {
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        if !argument.starts_with('-') {
            return ConfigError::CommandLine(format!("unexpected argument '{argument}'"));
        }
        return ConfigError::Unknown {
            origin: Source::CommandLine,
            name: argument.clone(),
            nearest: table::nearest(argument.trim_start_matches('-')),
        };
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    ConfigError::CommandLine(line.trim_start_matches("error: ").to_owned())
}

/// Reads the environment. `FLETCH_NAME` goes before `QPID_NAME`. Other `QPID_` variables belong to
/// clients and are left alone; other `FLETCH_` variables are returned, to be warned about.
pub(super) fn environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(Values, Vec<String>), ConfigError> {
    let (mut ours, mut theirs) = (Values::default(), Values::default());
    let mut unknown = Vec::new();
    for (variable, text) in variables {
        let (values, name) =
            match (variable.strip_prefix("FLETCH_"), variable.strip_prefix("QPID_")) {
                (Some(name), _) => (&mut ours, name),
                (None, Some(name)) => (&mut theirs, name),
                (None, None) => continue,
            };
        match table::find(&name.to_ascii_lowercase().replace('_', "-")) {
            // A container platform that has a service called "fletch" sets FLETCH_PORT=tcp://...
            Some(option) if option.name == "port" && text.starts_with("tcp://") => {
                unknown.push(variable);
            }
            Some(option) => values.give(option, text, Source::Environment(variable))?,
            None if variable.starts_with("FLETCH_") => unknown.push(variable),
            None => {}
        }
    }
    unknown.sort_unstable();
    Ok((ours.or(theirs), unknown))
}

/// Reads the text of a configuration file: `name=value` lines; `#` begins a comment.
pub(super) fn file(path: &Path, text: &str) -> Result<Values, ConfigError> {
    let mut values = Values::default();
    for (index, line) in text.lines().enumerate() {
        let origin = Source::File(path.to_path_buf(), index + 1);
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((name, text)) = line.split_once('=') else {
            return Err(ConfigError::Line(origin));
        };
        let name = name.trim();
        let Some(option) = table::find(name) else {
            return Err(ConfigError::Unknown {
                origin,
                name: name.to_owned(),
                nearest: table::nearest(name),
            });
        };
        if option.name == "config" {
            let line = "a configuration file cannot name another";
            return Err(ConfigError::Refused(format!("{origin}: {line}")));
        }
        values.give(option, text.trim().to_owned(), origin)?;
    }
    Ok(values)
}
