//! What a seed draws before its world begins: the shape of the world and how hard it is on everyone.
//!
//! Invariant: everything that differs between two seeds is in here or in draws made while the world runs; both follow from the
//! seed alone. Chances are per mille of the files, the calls or the starts they concern.

use std::time::Duration;

use layer0_pipe::Profile;
use layer1_replication::Config;

use crate::rng::Rng;
use crate::servers::Servers;
use crate::time::SEC;

/// Every so many seeds the packets are sealed with real keys.
pub const SEALED_EVERY: u64 = 20;

/// Every so many seeds nothing but a poisoned record is met.
pub const POISON_EVERY: u64 = 50;

/// Every so many seeds nothing but a lost tail is met: everything that is sent within a short time, and then nobody sends more.
pub const TAIL_EVERY: u64 = 50;

/// Within so many times the latency after a lost tail, besides twice the time that it took, every call has ended: each probe comes
/// after twice the interval of the one before, so the first one after the tail comes no later than that again.
pub const TAIL_ROUNDS: u64 = 100;

/// How often a file meets a fault, per mille.
#[derive(Clone, Debug, Default)]
pub struct FileFaults {
    /// Never arrives.
    pub loss: u64,
    /// Is cut.
    pub cut: u64,
    /// Ends in zeros.
    pub zero_tail: u64,
    /// Grows slowly.
    pub slow: u64,
    /// Grows after it was given up.
    pub late: u64,
    /// Has a flipped bit.
    pub flip: u64,
    /// Comes twice.
    pub duplicate: u64,
    /// Comes under another name.
    pub rename: u64,
    /// Comes back after it was removed.
    pub undelete: u64,
}

/// How often things befall an engine: mean time between two, in microseconds; 0: never.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Kills and power cuts, at turns and at calls.
    pub crash: u64,
    /// Of the crashes, percent: by power cut.
    pub power_percent: u64,
    /// Full and broken log disks.
    pub disk: u64,
    /// The process stands still.
    pub stall: u64,
    /// Wall clock jumps.
    pub jump: u64,
    /// The folders are full or broken.
    pub folder: u64,
    /// A direction of the mirror stands still.
    pub outage: u64,
    /// Forged, old and reflected files.
    pub forge: u64,
    /// One record is eaten for a while.
    pub poison: u64,
}

/// Rare faults of whole engines, at most one of each in a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// An engine loses its state folder.
    pub lose: bool,
    /// An engine goes back to an older image.
    pub restore: bool,
    /// A second engine runs from an image.
    pub clone: bool,
}

/// All that is drawn.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Endpoints of the first side.
    pub norths: usize,
    /// Endpoints of the second side.
    pub souths: usize,
    /// Many bodies of more than a MiB, and many cuts.
    pub bulky: bool,
    /// Nothing goes wrong but that one record is eaten from an early time on.
    pub only_poison: bool,
    /// Nothing goes wrong but that everything sent from then until then is lost, when nothing new is begun after that.
    pub lost_tail: Option<(u64, u64)>,
    /// Real sealing instead of checksums.
    pub sealed: bool,
    /// What the mirror does with deletions.
    pub profile: Profile,
    /// Median time of a small file one way.
    pub latency_us: u64,
    /// How much that varies: thousandths of doublings per standard deviation, over ten.
    pub spread_percent: u64,
    /// Octets per second of one file.
    pub bytes_per_second: u64,
    /// Faults of files.
    pub files: FileFaults,
    /// Faults of engines.
    pub troubles: Troubles,
    /// Faults that happen once.
    pub rare: Rare,
    /// How long the faults last.
    pub faults_for_us: u64,
    /// Calls begun in all.
    pub calls: u64,
    /// Largest ordinary body.
    pub body_max: u64,
    /// Chance of a body of hundreds of KiB.
    pub large: u64,
    /// Longest time an upstream takes.
    pub think_us: u64,
    /// Publishing a packet takes up to this long.
    pub publish_us: u64,
    /// Octets of a log segment.
    pub segment_bytes: u64,
    /// Shortest and longest wait between two looks at the inbox.
    pub poll: (Duration, Duration),
    /// Chance of a hint that a file arrived.
    pub hint_percent: u64,
    /// Least quiet time of a file.
    pub quiet_min: Duration,
    /// Several servers over the same folders.
    pub servers: Option<Servers>,
    /// For layer 1.
    pub replication: Config,
    /// Octets of stored results.
    pub results_bytes_max: u64,
}

impl Options {
    /// Draws.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let small = rng.percent(55);
        let (norths, souths) = if small { (1, 1) } else { (rng.between(1, 2), rng.between(1, 3)) };
        let latency_us = 20_000 << if rng.percent(85) { rng.below(9) } else { rng.between(9, 13) };
        let faults_for_us = (latency_us * rng.between(80, 220) + 10 * SEC).min(6 * 3_600 * SEC);
        let profile = match rng.below(3) {
            0 => Profile::Move,
            1 => Profile::Copy,
            _ => Profile::Sync,
        };
        let sealed = seed % SEALED_EVERY == SEALED_EVERY - 1;
        let calls = rng.between(18, 44) / if sealed { 2 } else { 1 };
        let only_poison = seed % POISON_EVERY == POISON_EVERY / 2;
        let bulky = !sealed && !only_poison && rng.percent(8);
        let mut files = FileFaults::draw(&mut rng);
        let mut troubles = Troubles::draw(&mut rng, faults_for_us);
        let mut rare = Rare { lose: rng.percent(14), restore: rng.percent(10), clone: rng.percent(8) };
        let mut replication = draw_replication(&mut rng, latency_us);
        if bulky {
            files.cut = 300;
            replication.packet_bytes_target = 3_000_000;
            replication.stream_window_bytes = replication.stream_window_bytes.max(1_200_000);
        }
        if only_poison {
            (files, rare) = (FileFaults::default(), Rare::default());
            troubles = Troubles { poison: faults_for_us / 4, ..Troubles::default() };
        }
        let drawn = Self {
            seed,
            bulky,
            only_poison,
            lost_tail: None,
            norths: usize::try_from(norths).unwrap_or(1),
            souths: usize::try_from(souths).unwrap_or(1),
            sealed,
            profile,
            latency_us,
            spread_percent: rng.between(5, 260),
            bytes_per_second: 1 << rng.between(17, 24),
            files,
            troubles,
            rare,
            faults_for_us,
            calls,
            body_max: 1 << rng.between(7, 15),
            large: if bulky { 250 } else { rng.between(0, 50) },
            think_us: latency_us << rng.below(4),
            publish_us: 1_000 << rng.below(7),
            segment_bytes: 16_000 << rng.below(6),
            poll: draw_poll(&mut rng, latency_us),
            hint_percent: rng.between(0, 100),
            quiet_min: Duration::from_micros((latency_us / 2).clamp(100_000, 20 * SEC)),
            servers: None,
            replication,
            results_bytes_max: 200_000 << rng.below(5),
        };
        let drawn = if seed % TAIL_EVERY == TAIL_EVERY * 7 / 10 { drawn.with_lost_tail(&mut rng) } else { drawn };
        drawn.with_servers()
    }

    /// The same, but that nothing goes wrong except that a tail is lost. Heartbeats are rare: only a probe helps in time.
    fn with_lost_tail(self, rng: &mut Rng) -> Self {
        let latency_us = self.latency_us.min(320_000);
        let begins = latency_us * rng.between(20, 100) + 5 * SEC;
        let lasts = latency_us * rng.between(3, 20) + SEC;
        let longest = (latency_us * 4).clamp(400_000, 2 * SEC);
        Self {
            lost_tail: Some((begins, begins + lasts)),
            bulky: false,
            latency_us,
            spread_percent: self.spread_percent.min(20),
            files: FileFaults::default(),
            troubles: Troubles::default(),
            rare: Rare::default(),
            faults_for_us: begins + lasts * 3 + TAIL_ROUNDS * latency_us + 20 * SEC,
            body_max: 1_000,
            large: 0,
            think_us: latency_us,
            poll: (self.poll.0.min(Duration::from_micros(latency_us)), Duration::from_micros(longest)),
            quiet_min: Duration::from_micros(latency_us / 2).max(Duration::from_millis(100)),
            replication: Config {
                expected_latency: Duration::from_micros(latency_us * 2),
                exchanges_max: 40,
                heartbeat: Some(Duration::from_secs(300)),
                ..self.replication
            },
            ..self
        }
    }

    /// One line per drawn value.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{self:#?}")
    }
}

fn draw_poll(rng: &mut Rng, latency_us: u64) -> (Duration, Duration) {
    let longest = (latency_us * rng.between(1, 8)).clamp(400_000, 60 * SEC);
    let shortest = (latency_us / rng.between(1, 4)).clamp(10_000, SEC);
    (Duration::from_micros(shortest), Duration::from_micros(longest))
}

fn draw_replication(rng: &mut Rng, latency_us: u64) -> Config {
    let heartbeat = (latency_us * rng.between(4, 12)).clamp(5 * SEC, 300 * SEC);
    Config {
        expected_latency: Duration::from_micros(latency_us * rng.between(1, 6)),
        packet_bytes_target: rng.between(50_000, 2_000_000),
        receive_pool_bytes: rng.between(700_000, 4_000_000),
        stream_window_bytes: rng.between(600_000, 1_500_000),
        exchanges_max: rng.between(2, 40),
        send_log_bytes_max: rng.between(1_500_000, 8_000_000),
        heartbeat: rng.percent(50).then(|| Duration::from_micros(heartbeat)),
        ..Config::default()
    }
}

impl FileFaults {
    fn draw(rng: &mut Rng) -> Self {
        let mut most = |max: u64| if rng.percent(70) { rng.below(max + 1) } else { 0 };
        Self {
            loss: most(250),
            cut: most(200),
            zero_tail: most(80),
            slow: most(150),
            late: most(80),
            flip: most(80),
            duplicate: most(150),
            rename: most(100),
            undelete: most(120),
        }
    }
}

impl Troubles {
    fn draw(rng: &mut Rng, span_us: u64) -> Self {
        let mut mean = |percent: u64, fewest: u64, most: u64| {
            let count = rng.between(fewest, most);
            if rng.percent(percent) { span_us / count.max(1) } else { 0 }
        };
        Self {
            crash: mean(75, 1, 6),
            disk: mean(35, 1, 3),
            stall: mean(30, 1, 3),
            jump: mean(30, 1, 4),
            folder: mean(35, 1, 4),
            outage: mean(45, 1, 4),
            forge: mean(70, 2, 16),
            poison: mean(25, 1, 2),
            power_percent: rng.between(0, 100),
        }
    }
}
