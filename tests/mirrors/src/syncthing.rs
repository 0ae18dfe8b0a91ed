//! Syncthing: an instance for each side, on loopback, each with keys and folders of its own.
//!
//! Invariants: the outboxes are `sendonly` and the inboxes `receiveonly`, so that only the writer of a file changes or deletes
//! it; an instance knows the other's address and asks nobody else for it (no discovery, relays, NAT, upgrades, reports); what
//! starts with a dot is ignored. Read first: [`config`].

use std::path::PathBuf;
use std::process::Command;

use crash::line::{Mirrors, Place, Which, free_port};
use crash::process::{Process, run};

/// Two instances.
#[derive(Debug)]
pub struct Syncthing([Instance; 2]);

impl Syncthing {
    /// Starts them.
    #[must_use]
    pub fn start(place: &Place) -> Self {
        let mut instances = Which::BOTH.map(|which| Instance::new(place, which));
        let known = instances.each_ref().map(|instance| (instance.id.clone(), instance.port));
        for (instance, other) in instances.iter_mut().zip([&known[1], &known[0]]) {
            std::fs::write(instance.home.join("config.xml"), config(place, instance, other)).unwrap();
            instance.start();
        }
        Self(instances)
    }
}

impl Mirrors for Syncthing {
    /// Kills the instance of this side.
    fn stop(&mut self, from: Which) {
        self.0[usize::from(from == Which::Far)].process = None;
    }

    fn resume(&mut self, from: Which) {
        self.0[usize::from(from == Which::Far)].start();
    }
}

#[derive(Debug)]
struct Instance {
    which: Which,
    home: PathBuf,
    log: PathBuf,
    id: String,
    port: u16,
    process: Option<Process>,
}

impl Instance {
    /// Makes its keys, and lets it ignore what starts with a dot.
    fn new(place: &Place, which: Which) -> Self {
        let home = place.home(which).join("syncthing");
        run(Command::new("syncthing").args(["generate", "--no-default-folder", "--home"]).arg(&home)).unwrap();
        let id = run(Command::new("syncthing").args(["--device-id", "--home"]).arg(&home)).unwrap().trim().to_owned();
        for name in ["out", "in"] {
            std::fs::write(place.disk(which).join(name).join(".stignore"), ".*\n").unwrap();
            // Without it an instance refuses a folder, lest it takes a share that is not mounted for an empty one.
            std::fs::create_dir(place.disk(which).join(name).join(".stfolder")).unwrap();
        }
        Self { which, home, log: place.home(which).join("mirror.log"), id, port: free_port(), process: None }
    }

    fn start(&mut self) {
        let mut command = Command::new("syncthing");
        command.args(["serve", "--no-browser", "--no-restart", "--no-upgrade", "--home"]).arg(&self.home);
        // One process, which can be killed, in place of one that watches another.
        command.env("STMONITORED", "yes").env("STNOUPGRADE", "1").env("HOME", &self.home);
        self.process = Some(Process::start(command, &self.log));
    }
}

/// Its configuration; what it does not name has its default.
fn config(place: &Place, own: &Instance, (other, other_port): &(String, u16)) -> String {
    let (id, port) = (&own.id, own.port);
    let folder = |name: &str, label: &str, kind: &str| {
        let path = place.disk(own.which).join(name).display().to_string();
        format!(
            r#"<folder id="{label}" path="{path}" type="{kind}" rescanIntervalS="60" fsWatcherEnabled="true" fsWatcherDelayS="1">
            <device id="{id}"/><device id="{other}"/><minDiskFree unit="%">0</minDiskFree></folder>"#
        )
    };
    let label = |which: Which| format!("from-{}", which.side());
    let far = if own.which == Which::Near { Which::Far } else { Which::Near };
    let (out, inbox) = (folder("out", &label(own.which), "sendonly"), folder("in", &label(far), "receiveonly"));
    format!(
        r#"<configuration version="36">
        {out}
        {inbox}
        <device id="{id}" name="own"><address>tcp://127.0.0.1:{port}</address></device>
        <device id="{other}" name="other"><address>tcp://127.0.0.1:{other_port}</address></device>
        <gui enabled="false"/>
        <options>
            <listenAddress>tcp://127.0.0.1:{port}</listenAddress>
            <globalAnnounceEnabled>false</globalAnnounceEnabled>
            <localAnnounceEnabled>false</localAnnounceEnabled>
            <relaysEnabled>false</relaysEnabled>
            <natEnabled>false</natEnabled>
            <startBrowser>false</startBrowser>
            <urAccepted>-1</urAccepted>
            <autoUpgradeIntervalH>0</autoUpgradeIntervalH>
            <crashReportingEnabled>false</crashReportingEnabled>
            <reconnectionIntervalS>1</reconnectionIntervalS>
            <setLowPriority>false</setLowPriority>
            <minHomeDiskFree unit="%">0</minHomeDiskFree>
        </options>
        </configuration>"#
    )
}
