//! The scenarios of the crash tests, a few at once; see the library.
//!
//! Needs root, for namespaces and mounts; without it everything is skipped and counted, and `HOFT_REQUIRE=root` makes that a
//! failure, as `fuse` and `loop` do for the file systems that some need. Arguments: words of names, `--list`, `--seed N`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crash::runner::main(crash::scenarios::ALL)
}
