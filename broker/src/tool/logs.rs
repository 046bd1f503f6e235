//! The `--log-*` options of the tools: the daemon's log, on standard error or in a file.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::BoolishValueParser;

use crate::logging::{Level, Log, LogConfig, Rule};

/// See the module.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// Log everything, as --log-enable trace+ does
    #[arg(short, long)]
    trace: bool,
    /// Log these levels and modules, as LEVEL[+-][:PATTERN] [default: warning+]
    #[arg(long, value_name = "RULE")]
    log_enable: Vec<String>,
    /// Do not log these
    #[arg(long, value_name = "RULE")]
    log_disable: Vec<String>,
    /// Begin lines with the time
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_time: bool,
    /// Include the level
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_level: bool,
    /// Include file and line of the source
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_source: bool,
    /// Include the thread's name
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_thread: bool,
    /// Include the module path
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_function: bool,
    /// Times as seconds with nanoseconds
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_hires_timestamp: bool,
    /// Include the category
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_category: bool,
    /// Begin lines with this text
    #[arg(long, value_name = "STRING", default_value = "", hide_default_value = true)]
    log_prefix: String,
    /// Log to standard error [default: yes, unless to a file]
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes",
        value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_to_stderr: Option<bool>,
    /// Log to standard output
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    log_to_stdout: bool,
    /// Log to this file
    #[arg(long, value_name = "FILE")]
    log_to_file: Option<PathBuf>,
}

impl LogArgs {
    /// Starts the log; it ends with what is returned.
    pub(super) fn start(&self) -> Result<Log> {
        let rules = |texts: &[String]| -> Result<Vec<Rule>> {
            let rule =
                |text: &String| Rule::parse(text).with_context(|| format!("log rule {text}"));
            texts.iter().map(rule).collect()
        };
        let mut enable = rules(&self.log_enable)?;
        if self.trace {
            enable.push(Rule::at_least(Level::Trace));
        } else if enable.is_empty() {
            enable.push(Rule::at_least(Level::Warning));
        }
        let config = LogConfig {
            enable,
            disable: rules(&self.log_disable)?,
            time: self.log_time,
            level: self.log_level,
            source: self.log_source,
            thread: self.log_thread,
            function: self.log_function,
            hires: self.log_hires_timestamp,
            category: self.log_category,
            prefix: self.log_prefix.clone(),
            stderr: self.log_to_stderr.unwrap_or(self.log_to_file.is_none()),
            stdout: self.log_to_stdout,
            file: self.log_to_file.clone(),
            syslog: None,
        };
        Log::start(&config).context("cannot start the log")
    }
}
