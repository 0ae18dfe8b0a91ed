//! What every mirror and share goes through: traffic, kills of either engine, outages, and the verdict.
//!
//! Invariants: nothing is lost, doubled or changed, every call ends, and no folder fills up: what was carried is removed by
//! whom the profile says, whatever the mirror makes of it. Read first: [`Trial::run`].

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crash::caller::{Mix, Traffic};
use crash::dice::Dice;
use crash::line::{Line, Which};
use crash::oracle::Verdict;
use crash::process::eventually;
use crash::runner::Context;

/// Files that may be in one folder when nothing is called, besides an announcement of each start: heartbeats go on.
const AT_REST: usize = 15;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Kills of an engine.
    pub kills: u64,
    /// Outages of the mirror, of each way.
    pub outages: u64,
    /// How long each is.
    pub outage: Duration,
    /// Calls without trouble, in tens.
    pub tens: u64,
}

impl Default for Trial {
    fn default() -> Self {
        Self { kills: 10, outages: 1, outage: Duration::from_millis(1500), tens: 6 }
    }
}

/// The folders that a side's files are in.
pub type Folders = [(&'static str, std::path::PathBuf); 4];

impl Trial {
    /// Runs it over a line whose engines were not started; gives the figures.
    #[must_use]
    pub fn run(self, context: Context<'_>, name: &str, mut line: Line, folders: &Folders) -> String {
        let mut dice = Dice::new(context.seed, name);
        line.start_engines();
        let began = Instant::now();
        let traffic = line.traffic(Mix::default(), context.seed);
        traffic.go_on_for(10);
        self.trouble(&mut dice, &mut line, &traffic);
        for _ in 0..self.tens {
            traffic.go_on_for(10);
        }
        let verdict = line.conclude(traffic);
        let took = began.elapsed();
        let seed = context.seed;
        assert!(verdict.findings.is_empty(), "{name}, seed {seed}: {verdict}\n{}", verdict.findings.join("\n"));
        assert!(verdict.answered > self.kills, "hardly anything was answered: {verdict}");
        let round_trip = round_trip(&mut line);
        let most = folders.iter().map(|(_, folder)| packets(folder)).max().unwrap_or(0);
        let at_rest = AT_REST + usize::try_from(self.kills).unwrap_or(0);
        for (which, folder) in folders {
            eventually(&format!("{which} of {name} is emptied"), || (packets(folder) <= at_rest).then_some(()));
        }
        self.figures(&verdict, took, &round_trip, most)
    }

    fn trouble(self, dice: &mut Dice, line: &mut Line, traffic: &Traffic) {
        for _ in 0..self.kills {
            let which = *dice.pick(&Which::BOTH);
            line.engine(which).kill();
            if dice.percent(30) {
                thread::sleep(Duration::from_millis(dice.below(500)));
            }
            line.engine(which).start_and_wait();
            traffic.go_on_for(dice.within(1, 8));
        }
        for _ in 0..self.outages {
            for from in Which::BOTH {
                line.stop_mirror(from);
                thread::sleep(self.outage);
                line.resume_mirror(from);
                traffic.go_on_for(8);
            }
        }
    }

    fn figures(self, verdict: &Verdict, took: Duration, round_trip: &str, most: usize) -> String {
        let Self { kills, outages, .. } = self;
        let rate = verdict.calls as f64 / took.as_secs_f64();
        format!(
            "{kills} kills, {} outages, {verdict}; {rate:.1} calls/s, round trip {round_trip}, at most {most} files in a \
             folder at the end",
            2 * outages
        )
    }
}

/// What both engines measured, smoothed.
fn round_trip(line: &mut Line) -> String {
    let of = |line: &mut Line, which| {
        let status = line.engine(which).status()?;
        let peer = status["peers"].as_array()?.iter().find(|peer| peer["srtt_ms"].is_number())?.clone();
        let number = |name: &str| peer[name].as_f64().unwrap_or(0.0);
        Some(format!("{:.0} ms ({} sent, {} lost)", number("srtt_ms"), peer["packets_sent"], peer["packets_lost"]))
    };
    let told = Which::BOTH.map(|which| of(line, which).unwrap_or_else(|| "unknown".to_owned()));
    told.join(" and ")
}

/// Packet files in a folder and below it.
#[must_use]
pub fn packets(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => packets(&entry.path()),
            _ => usize::from(entry.path().extension().is_some_and(|end| end == "hft")),
        })
        .sum()
}
