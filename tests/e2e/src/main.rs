//! `e2e`: the test clusters by hand. The work is in the library; see `commands`.

use std::process::ExitCode;

mod commands;

fn main() -> ExitCode {
    commands::main()
}
