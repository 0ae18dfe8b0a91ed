//! What will happen to one file, drawn from the seed, its relative path and its occurrence.
//!
//! Invariants: the draw is pure; every fault has its own stream of numbers, so changing the share
//! of one fault leaves the others as they were. It touches no file and knows no time of day.
//! Read first: the tests at the end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::faults::Faults;

/// Fewest and most pieces a slowly growing file comes in.
const GROWTH_STEPS: (u64, u64) = (3, 10);

/// Everything that is decided about one occurrence of a file before it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fate {
    /// It never arrives.
    pub(super) lost: bool,
    /// Time under way before the first copy appears, holding back included.
    pub(super) delay: Duration,
    /// It is held back for longer than others.
    pub(super) reordered: bool,
    /// It arrives under a changed name.
    pub(super) renamed: bool,
    /// What the first copy lacks.
    pub(super) damage: Damage,
    /// The first copy grows under its final name.
    pub(super) growth: Option<Growth>,
    /// A second copy follows.
    pub(super) again: Option<Again>,
    /// Time under way of the deletion, for a mirror that propagates it.
    pub(super) delete_delay: Duration,
}

/// How a file grows in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// Number of pieces, at least one.
    pub(super) steps: u64,
    /// Time between two pieces.
    pub(super) gap: Duration,
    /// The file has its full length (of zeros) from the start.
    pub(super) preallocated: bool,
}

/// The second copy of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Again {
    /// Time after the first copy.
    pub(super) after: Duration,
    /// Under a name of its own instead of over the first copy.
    pub(super) renamed: bool,
    /// What the second copy lacks, whatever the first lacked.
    pub(super) damage: Damage,
}

/// What is missing of a copy; becomes concrete with the length of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Damage {
    /// Nothing.
    Intact,
    /// Everything after a point, given as a share of the length, rounded down to a multiple of a size if that is above 1.
    Cut { at: f64, multiple_of: u64 },
    /// The same, but zeros stand in for what is missing.
    ZeroTail { at: f64 },
}

/// The bytes of one copy: `0..true_len` as in the source, zeros up to `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Length of the copy, in bytes.
    pub(super) len: u64,
    /// How many bytes from the start are those of the source.
    pub(super) true_len: u64,
}

impl Damage {
    /// The copy of a file of `len` bytes; a damaged copy always lacks at least one byte, if there is one.
    pub(super) fn shape(self, len: u64, cut_above: Option<u64>) -> Shape {
        let mut shape = match self {
            Self::Intact => Shape { len, true_len: len },
            Self::Cut { at, multiple_of } => {
                let point = point(at, len);
                // A file below the size is cut anywhere: rounding would always leave nothing of it.
                let point = if len > multiple_of { point - point % multiple_of } else { point };
                Shape { len: point, true_len: point }
            }
            Self::ZeroTail { at } => Shape { len, true_len: point(at, len) },
        };
        if let Some(limit) = cut_above
            && len > limit
        {
            shape.len = shape.len.min(limit);
            shape.true_len = shape.true_len.min(limit);
        }
        shape
    }

    fn draw(faults: &Faults, mut dice: Dice) -> Self {
        let kind = dice.unit();
        let at = dice.unit();
        let rounding = dice.unit();
        let which = dice.next();
        if kind < faults.cut {
            let sizes = &faults.cut_sizes;
            let multiple_of = match usize::try_from(dice_index(which, sizes.len())) {
                Ok(index) if rounding < 0.4 => sizes.get(index).copied().unwrap_or(1),
                _ => 1,
            };
            // Some services create the file and never fill it.
            let at = if rounding > 0.95 { 0.0 } else { at };
            Self::Cut { at, multiple_of: multiple_of.max(1) }
        } else if kind < faults.cut + faults.zero_tail {
            Self::ZeroTail { at }
        } else {
            Self::Intact
        }
    }
}

impl Fate {
    /// Draws the fate of the `occurrence`-th file seen under `path` (relative to the watched folder).
    pub(super) fn draw(faults: &Faults, seed: u64, path: &Path, occurrence: u32) -> Self {
        let base = mix(mix(mix(seed) ^ hash(path.as_os_str().as_encoded_bytes())).wrapping_add(u64::from(occurrence)));
        let dice = |purpose: Purpose| Dice(mix(base ^ mix(purpose as u64)));
        let reordered = dice(Purpose::Reorder).chance(faults.reorder);
        let mut delay_ms = dice(Purpose::Delay).within(faults.delay_ms);
        if reordered {
            delay_ms = delay_ms.saturating_add(dice(Purpose::ReorderDelay).within(faults.extra_ms()));
        }
        let mut slow = dice(Purpose::Slow);
        let growth = slow.chance(faults.slow).then(|| {
            let steps = slow.within(GROWTH_STEPS);
            let total_ms = slow.within(faults.slow_ms);
            Growth { steps, gap: Duration::from_millis(total_ms / steps), preallocated: slow.chance(0.25) }
        });
        let mut twice = dice(Purpose::Duplicate);
        let again = twice.chance(faults.duplicate).then(|| Again {
            after: Duration::from_millis(twice.within(faults.extra_ms())),
            renamed: twice.chance(0.5),
            damage: Damage::draw(faults, dice(Purpose::SecondDamage)),
        });
        Self {
            lost: dice(Purpose::Loss).chance(faults.loss),
            delay: Duration::from_millis(delay_ms),
            reordered,
            renamed: dice(Purpose::Rename).chance(faults.rename),
            damage: Damage::draw(faults, dice(Purpose::FirstDamage)),
            growth,
            again,
            delete_delay: Duration::from_millis(dice(Purpose::DeleteDelay).within(faults.delay_ms)),
        }
    }

    /// Where the first copy of `path` arrives, relative to the far folder.
    pub(super) fn first_name(&self, path: &Path) -> PathBuf {
        if self.renamed { numbered(path, 1) } else { path.to_path_buf() }
    }

    /// Where the second copy arrives, if there is one.
    pub(super) fn second_name(&self, path: &Path) -> Option<PathBuf> {
        let again = self.again.as_ref()?;
        Some(match (again.renamed, self.renamed) {
            (false, _) => self.first_name(path),
            (true, false) => numbered(path, 1),
            (true, true) => numbered(path, 2),
        })
    }
}

/// Whether a file whose content has this [`ContentHash`] value can never pass.
pub(super) fn content_is_dropped(faults: &Faults, seed: u64, content: u64) -> bool {
    Dice(mix(mix(seed ^ (Purpose::Content as u64)) ^ content)).chance(faults.content_drop)
}

/// FNV-1a over a content that comes in pieces; good enough to tell contents apart in a test.
pub(super) struct ContentHash(u64);

impl ContentHash {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) const fn value(&self) -> u64 {
        self.0
    }
}

/// The same hash of one short text.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = ContentHash::new();
    hash.update(bytes);
    hash.value()
}

/// One stream of random numbers per fault.
#[derive(Clone, Copy)]
enum Purpose {
    Loss = 1,
    Delay,
    Reorder,
    ReorderDelay,
    Rename,
    FirstDamage,
    SecondDamage,
    Slow,
    Duplicate,
    DeleteDelay,
    Content,
}

/// SplitMix64: tiny, and good enough for drawing faults.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 up to, but not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A number from `least` to `most`, both included.
    fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        let span = u128::from(most.saturating_sub(least)) + 1;
        let offset = (u128::from(self.next()) * span) >> 64;
        least.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

/// An index below `len` (0 for an empty list).
fn dice_index(number: u64, len: usize) -> u64 {
    number.checked_rem(len as u64).unwrap_or(0)
}

/// The finalizer of SplitMix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The byte at the share `at` of `len`, below `len` (0 if that is 0).
fn point(at: f64, len: u64) -> u64 {
    ((at * len as f64) as u64).min(len.saturating_sub(1))
}

/// `folder/name.ext` as `folder/name (n).ext`.
fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.file_stem().map_or_else(OsString::new, OsString::from);
    name.push(format!(" ({n})"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(faults: &Faults, seed: u64, count: u32) -> Vec<Fate> {
        (0..count).map(|i| Fate::draw(faults, seed, Path::new(&format!("a/b/{i:016x}-00c0ffee.hft")), 0)).collect()
    }

    fn assert_share(what: &str, hits: usize, of: usize, share: f64) {
        let (hits, of) = (hits as f64, of as f64);
        let deviation = 5.0 * (share * (1.0 - share) / of).sqrt();
        assert!((hits / of - share).abs() <= deviation, "{what}: {hits} of {of}, wanted {share}");
    }

    #[test]
    fn same_seed_gives_same_fates_and_another_seed_others() {
        let faults = Faults::harsh();
        assert_eq!(fates(&faults, 7, 500), fates(&faults, 7, 500));
        assert_ne!(fates(&faults, 7, 500), fates(&faults, 8, 500));
        let path = Path::new("x.hft");
        let occurrences: Vec<_> = (0..100).map(|n| Fate::draw(&faults, 7, path, n).lost).collect();
        assert!(occurrences.contains(&true) && occurrences.contains(&false));
    }

    #[test]
    fn fates_never_change_between_versions() {
        let faults = Faults::harsh();
        let drawn = fates(&faults, 7, 40);
        let lost: Vec<_> = (0..drawn.len()).filter(|i| drawn[*i].lost).collect();
        assert_eq!(lost, [6, 14, 17, 29, 30, 31]);
    }

    #[test]
    fn each_fault_hits_about_its_share() {
        let faults = Faults { delay_ms: (10, 19), ..Faults::harsh() };
        let drawn = fates(&faults, 1, 20_000);
        let count = |hit: &dyn Fn(&Fate) -> bool| drawn.iter().filter(|fate| hit(fate)).count();
        assert_share("loss", count(&|f| f.lost), drawn.len(), faults.loss);
        assert_share("cut", count(&|f| matches!(f.damage, Damage::Cut { .. })), drawn.len(), faults.cut);
        assert_share(
            "zero tail",
            count(&|f| matches!(f.damage, Damage::ZeroTail { .. })),
            drawn.len(),
            faults.zero_tail,
        );
        assert_share("slow", count(&|f| f.growth.is_some()), drawn.len(), faults.slow);
        assert_share("duplicate", count(&|f| f.again.is_some()), drawn.len(), faults.duplicate);
        assert_share("reorder", count(&|f| f.reordered), drawn.len(), faults.reorder);
        assert_share("rename", count(&|f| f.renamed), drawn.len(), faults.rename);
        assert_share("loss and cut", count(&|f| f.lost && f.damage != Damage::Intact), drawn.len(), 0.2 * 0.23);
        for fate in &drawn {
            let ms = fate.delay.as_millis();
            if fate.reordered {
                assert!((110..=319).contains(&ms), "{ms}");
            } else {
                assert!((10..=19).contains(&ms), "{ms}");
            }
        }
    }

    #[test]
    fn changing_one_share_leaves_the_other_faults_alone() {
        let before = fates(&Faults::harsh(), 3, 300);
        let after = fates(&Faults { loss: 0.0, slow: 0.9, ..Faults::harsh() }, 3, 300);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((&before.damage, &before.again, before.delay), (&after.damage, &after.again, after.delay));
        }
    }

    #[test]
    fn a_damaged_copy_lacks_at_least_one_byte_and_some_cuts_are_round() {
        let faults = Faults { cut: 0.9, zero_tail: 0.1, ..Faults::none() };
        let len = 3_000_000;
        let mut round = 0;
        let mut empty = 0;
        let drawn = fates(&faults, 5, 2000);
        for fate in &drawn {
            let shape = fate.damage.shape(len, None);
            assert!(shape.true_len < len && shape.true_len <= shape.len && shape.len <= len);
            assert_eq!(matches!(fate.damage, Damage::ZeroTail { .. }), shape.len == len);
            round += usize::from(shape.len > 0 && shape.len < len && shape.len % 4096 == 0);
            empty += usize::from(shape.len == 0);
            assert_eq!(fate.damage.shape(0, None), Shape { len: 0, true_len: 0 });
            assert_eq!(fate.damage.shape(1, None).true_len, 0);
        }
        assert!(round > drawn.len() / 5, "{round} cuts at multiples");
        assert!(empty > 20, "{empty} empty files");
    }

    #[test]
    fn a_file_over_the_size_threshold_is_always_cut_there() {
        assert_eq!(Damage::Intact.shape(100, Some(64)), Shape { len: 64, true_len: 64 });
        assert_eq!(Damage::Intact.shape(64, Some(64)), Shape { len: 64, true_len: 64 });
        assert_eq!(Damage::ZeroTail { at: 0.5 }.shape(100, Some(64)), Shape { len: 64, true_len: 50 });
    }

    #[test]
    fn changed_names_keep_folder_and_extension_and_never_meet() {
        assert_eq!(numbered(Path::new("a/b.c/x.hft"), 1), Path::new("a/b.c/x (1).hft"));
        assert_eq!(numbered(Path::new("x"), 2), Path::new("x (2)"));
        let faults = Faults { rename: 1.0, duplicate: 1.0, ..Faults::none() };
        for fate in fates(&faults, 1, 20) {
            let path = Path::new("x.hft");
            let second = fate.second_name(path).unwrap();
            assert_eq!(fate.again.as_ref().unwrap().renamed, second != fate.first_name(path));
        }
    }

    #[test]
    fn dropped_contents_depend_on_the_content_alone() {
        let faults = Faults { content_drop: 0.3, ..Faults::none() };
        let dropped = (0..10_000_u64).filter(|n| content_is_dropped(&faults, 9, hash(&n.to_le_bytes()))).count();
        assert_share("content drop", dropped, 10_000, 0.3);
    }
}
