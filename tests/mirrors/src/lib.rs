//! Engines over the mirror programs and network shares that people have, each from its Debian package.
//!
//! The line of `crash` (two engines, callers, an upstream whose journal is the oracle) with rsync, Syncthing or a mounted
//! share between its sides; `docs/mirrors.md` tells what came of it. Every run has mount, process and network namespaces of
//! its own. Invariant: a scenario uses the settings that `docs/mirrors.md` recommends. Read first: `trial`, then `scenarios`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "a scenario that panics has failed")]

pub mod again;
pub mod rsync;
pub mod scenarios;
pub mod share;
pub mod syncthing;
pub mod trial;
