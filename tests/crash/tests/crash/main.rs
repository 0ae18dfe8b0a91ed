//! The scenarios of the crash tests, a few at once; see the library.
//!
//! Needs root, for namespaces and mounts; without it everything is skipped and counted, and `HOFT_REQUIRE=root` makes that a
//! failure, as `fuse` and `loop` do for the file systems that some need. Arguments: words of names, `--list`, `--seed N`.

use std::process::ExitCode;

use crash::isolate::Network;
use crash::runner::Way;

fn main() -> ExitCode {
    crash::runner::main(crash::scenarios::ALL, Way { at_once: 4, network: Network::Shared })
}
