//! The entry point of the tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    fletch::tool::main()
}
