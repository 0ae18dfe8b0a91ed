//! The program `hoft`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar_app::cli::main()
}
