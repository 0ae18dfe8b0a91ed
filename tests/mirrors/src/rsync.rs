//! rsync in a loop, one for each way: plain, taking files away, in place, deleting.
//!
//! Invariant: whatever the way, what starts with a dot stays where it is: packets that are being written have such names.
//! Read first: [`Rsync::start`].

use std::process::Command;
use std::time::Duration;

use crash::line::{Mirrors, Place, Which};

use crate::again::Again;

/// From the end of a run to the next one.
const PAUSE: Duration = Duration::from_millis(150);

/// Two loops.
#[derive(Debug)]
pub struct Rsync([Again; 2]);

impl Rsync {
    /// Starts them, with these options besides those that every way has.
    #[must_use]
    pub fn start(place: &Place, options: &'static [&'static str]) -> Self {
        let start = |from: Which, to: Which| {
            let [source, target] = [place.disk(from).join("out"), place.disk(to).join("in")];
            let command = move || {
                let mut rsync = Command::new("rsync");
                rsync.args(["--recursive", "--times", "--exclude=.*"]).args(options);
                // The slash means what is in it.
                rsync.arg(source.join("")).arg(target.join(""));
                rsync
            };
            Again::start(command, PAUSE, &place.home(from).join("mirror.log"))
        };
        Self([start(Which::Near, Which::Far), start(Which::Far, Which::Near)])
    }
}

impl Mirrors for Rsync {
    fn stop(&mut self, from: Which) {
        self.0[usize::from(from == Which::Far)].hold();
    }

    fn resume(&mut self, from: Which) {
        self.0[usize::from(from == Which::Far)].go_on();
    }
}
