//! The scenarios over real mirrors and shares, a few at once; see the library.
//!
//! Needs root, for namespaces and mounts; without it everything is skipped and counted. `HOFT_REQUIRE` makes a failure of what
//! is missing: `root`, `mirrors` (rsync, Syncthing), `shares` (sshfs, davfs2, rclone), `fuse`. Arguments: words of names,
//! `--list`, `--seed N`.

use std::process::ExitCode;

use crash::isolate::Network;
use crash::runner::Way;

fn main() -> ExitCode {
    crash::runner::main(mirrors::scenarios::ALL, Way { at_once: 4, network: Network::Own })
}
