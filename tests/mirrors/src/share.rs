//! A network share: a server on loopback, and a mount of what it serves for each side.
//!
//! The outbox of one side is the inbox of the other, as they are the same folder of the server; but the sides see it through
//! mounts of their own, each with its caches. Invariants: servers have keys and configurations of their own in the folder of
//! the run; what a mount program writes elsewhere goes into memory that nobody else sees. Read first: [`Share::start`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use crash::line::{Mirrors, Place, Which, free_port};
use crash::process::{Process, eventually, run};
use rustix::process::{Pid, Signal, kill_process};

const MOUNT_DAVFS: &str = "/usr/sbin/mount.davfs";

/// What serves, and what mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenSSH, mounted by sshfs.
    Sshfs,
    /// `rclone serve webdav`, mounted by davfs2.
    Davfs,
    /// `rclone serve webdav`, mounted by `rclone mount`.
    RcloneDav,
    /// `rclone serve sftp`, mounted by `rclone mount`.
    RcloneSftp,
}

/// A server with two mounts.
#[derive(Debug)]
pub struct Share {
    kind: Kind,
    home: PathBuf,
    port: u16,
    server: Option<Process>,
    /// Those that stay in the foreground.
    mounters: Vec<Process>,
    mounts: Vec<PathBuf>,
}

/// The folder of the server in which this side's packets are.
#[must_use]
pub fn folder_from(which: Which) -> &'static str {
    match which {
        Which::Near => "from-north",
        Which::Far => "from-south",
    }
}

/// Where a side has its mount.
#[must_use]
pub fn mount_of(place: &Place, which: Which) -> PathBuf {
    place.disk(which).join("share")
}

impl Share {
    /// Starts the server and mounts it for both sides.
    #[must_use]
    pub fn start(place: &Place, kind: Kind) -> Self {
        private_places();
        let home = place.home(Which::Near).join("server");
        let mut share = Self { kind, home, port: free_port(), server: None, mounters: Vec::new(), mounts: Vec::new() };
        for which in Which::BOTH {
            std::fs::create_dir_all(share.store().join(folder_from(which))).unwrap();
            std::fs::create_dir_all(mount_of(place, which)).unwrap();
        }
        if matches!(kind, Kind::Sshfs | Kind::RcloneSftp) {
            share.make_ssh_files();
        }
        share.serve();
        for which in Which::BOTH {
            share.mount(&mount_of(place, which), &place.home(which).join("mirror.log"));
        }
        share
    }

    /// What is served.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    fn make_ssh_files(&self) {
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.home.join(name))).unwrap();
        }
        let home = self.home.display();
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/user.pub\nPidFile none\n\
             UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n\
             Subsystem sftp internal-sftp\n",
            self.port
        );
        std::fs::write(self.home.join("sshd_config"), text).unwrap();
    }

    fn serve(&mut self) {
        let address = format!("127.0.0.1:{}", self.port);
        let command = match self.kind {
            Kind::Sshfs => {
                // It starts itself again for every connection, and wants its own path for that.
                let mut sshd = Command::new("/usr/sbin/sshd");
                sshd.args(["-D", "-e", "-f"]).arg(self.home.join("sshd_config"));
                sshd
            }
            Kind::Davfs | Kind::RcloneDav => {
                let mut serve = rclone();
                serve.args(["serve", "webdav", "--dir-cache-time", "0s", "--addr", &address]).arg(self.store());
                serve
            }
            Kind::RcloneSftp => {
                let mut serve = rclone();
                serve.args(["serve", "sftp", "--no-auth", "--dir-cache-time", "0s", "--addr", &address]);
                serve.arg("--key").arg(self.home.join("host")).arg(self.store());
                serve
            }
        };
        self.server = Some(Process::start(command, &self.home.join("server.log")));
        let listens = || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok();
        drop(eventually("the server of the share listens", listens));
    }

    fn mount(&mut self, folder: &Path, log: &Path) {
        let port = self.port.to_string();
        match self.kind {
            Kind::Sshfs => {
                let mut sshfs = Command::new("sshfs");
                sshfs.arg(format!("root@127.0.0.1:{}", self.store().display())).arg(folder).arg("-f");
                let options = [
                    format!("port={port},IdentityFile={}", self.home.join("user").display()),
                    "StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null".to_owned(),
                    "reconnect,ServerAliveInterval=5,dir_cache=no".to_owned(),
                ];
                sshfs.args(["-o", &options.join(",")]);
                self.mounters.push(Process::start(sshfs, log));
            }
            Kind::Davfs => {
                let mut mount = Command::new(MOUNT_DAVFS);
                run(mount.arg(format!("http://127.0.0.1:{port}/")).arg(folder)).unwrap();
            }
            Kind::RcloneDav => {
                let mut mount = rclone();
                mount.args(["mount", ":webdav:", "--webdav-url", &format!("http://127.0.0.1:{port}/")]);
                self.mounters.push(Process::start(mounted(mount, folder), log));
            }
            Kind::RcloneSftp => {
                let password = run(rclone().args(["obscure", "nobody asks"])).unwrap();
                let mut mount = rclone();
                mount.args(["mount", ":sftp:", "--sftp-host", "127.0.0.1", "--sftp-port", &port, "--sftp-user", "any"]);
                mount.args(["--sftp-pass", password.trim(), "--sftp-set-modtime=false"]);
                self.mounters.push(Process::start(mounted(mount, folder), log));
            }
        }
        eventually("the share is mounted", || is_mounted(folder).then_some(()));
        self.mounts.push(folder.to_owned());
    }
}

impl Mirrors for Share {
    /// Ends the server with all its connections, for both ways.
    fn stop(&mut self, _: Which) {
        if let Some(mut server) = self.server.take() {
            let connections = children(server.id());
            server.kill();
            for connection in connections {
                let _ = kill_process(connection, Signal::KILL);
            }
        }
    }

    fn resume(&mut self, _: Which) {
        self.serve();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        for mount in &self.mounts {
            // Not by the helper of davfs2, which waits until everything is uploaded.
            if let Err(error) = run(Command::new("umount").args(["--internal-only", "--lazy"]).arg(mount)) {
                eprintln!("a share could not be unmounted: {error}");
            }
            for mounter in mounters_in_background(mount) {
                let _ = kill_process(mounter, Signal::KILL);
            }
        }
    }
}

fn rclone() -> Command {
    let mut rclone = Command::new("rclone");
    rclone.args(["--config", "/dev/null", "--cache-dir", "/run/rclone"]);
    rclone
}

/// Files are written through and looked up anew: nothing is kept that the other side would wait for.
fn mounted(mut command: Command, folder: &Path) -> Command {
    command.arg(folder).args(["--vfs-cache-mode", "off", "--dir-cache-time", "1s", "--attr-timeout", "0s"]);
    // Packets are short-lived: an outage is the engine's to wait out.
    command.args(["--low-level-retries", "3", "--contimeout", "5s"]);
    command
}

fn is_mounted(folder: &Path) -> bool {
    let name = format!(" {} ", folder.display());
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().contains(&name)
}

/// Processes that this one started.
fn children(of: u32) -> Vec<Pid> {
    let parent = |status: &str| status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
    processes(|folder| parent(&std::fs::read_to_string(folder.join("status")).unwrap_or_default()) == Some(of))
}

/// Processes of davfs2 for this mount, which let go of their parents.
fn mounters_in_background(mount: &Path) -> Vec<Pid> {
    let mount = mount.to_string_lossy();
    processes(|folder| {
        let line = String::from_utf8_lossy(&std::fs::read(folder.join("cmdline")).unwrap_or_default()).into_owned();
        let mut words = line.split('\0');
        words.next() == Some(MOUNT_DAVFS) && words.any(|word| word == mount)
    })
}

/// Processes of this run (it has a process namespace of its own) whose folder in /proc says so.
fn processes(which: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?)))
        .filter(|(folder, _)| which(folder))
        .map(|(_, pid)| pid)
        .collect()
}

/// What davfs2 reads besides its command line: uploads are not put off, listings are asked for, no locks; and a buffer as
/// large as the kernel's questions, without which recent kernels cannot list its folders.
const DAVFS: &str = "dav_user root\ndav_group root\nask_auth 0\nuse_locks 0\ndelay_upload 0\ndir_refresh 1\n\
                     file_refresh 0\ngui_optimize 0\nbuf_size 256\n";

/// Lays memory over the places of the system where sshd and davfs2 keep files, in this mount namespace.
fn private_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for folder in ["/run", "/var/cache/davfs2", "/etc/davfs2"] {
            if Path::new(folder).exists() {
                run(Command::new("mount").args(["-t", "tmpfs", "hoft-mirrors"]).arg(folder)).unwrap();
            }
        }
        for folder in ["/run/sshd", "/run/mount.davfs"] {
            std::fs::create_dir(folder).unwrap();
        }
        if Path::new("/etc/davfs2").exists() {
            std::fs::write("/etc/davfs2/davfs2.conf", DAVFS).unwrap();
        }
    });
}
