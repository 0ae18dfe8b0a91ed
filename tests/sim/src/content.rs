//! Bodies that are a function of a tag: whoever gets one can tell it from every other, wherever it is cut.

use bytes::{Bytes, BytesMut};

use crate::rng::Rng;

const PERIOD: usize = 1_021;

fn block(tag: u64) -> [u8; PERIOD] {
    let mut block = [0; PERIOD];
    Rng::new(tag ^ 0x00b0_d1e5).fill(&mut block);
    // Every other one compresses well.
    if tag.is_multiple_of(2) {
        for byte in &mut block[64..] {
            *byte = b'a' + *byte % 4;
        }
    }
    block
}

/// `len` octets of the body of this tag, from `offset` on.
#[must_use]
pub fn piece(tag: u64, offset: u64, len: usize) -> Bytes {
    let block = block(tag);
    let mut out = BytesMut::with_capacity(len);
    let mut at = usize::try_from(offset % PERIOD as u64).unwrap_or(0);
    while out.len() < len {
        let take = (PERIOD - at).min(len - out.len());
        out.extend_from_slice(&block[at..at + take]);
        at = 0;
    }
    out.freeze()
}

/// Checks a body as it comes.
#[derive(Clone, Debug)]
pub struct Check {
    tag: u64,
    read: u64,
}

impl Check {
    /// Nothing was read yet of the body of this tag.
    #[must_use]
    pub const fn new(tag: u64) -> Self {
        Self { tag, read: 0 }
    }

    /// True if these octets are the next ones.
    pub fn take(&mut self, octets: &[u8]) -> bool {
        let same = piece(self.tag, self.read, octets.len()) == octets;
        self.read += octets.len() as u64;
        same
    }

    /// Octets read.
    #[must_use]
    pub const fn read(&self) -> u64 {
        self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole_and_nothing_else_does() {
        let whole = piece(3, 0, 5_000);
        let mut check = Check::new(3);
        assert!(check.take(&whole[..17]) && check.take(&whole[17..]));
        assert_eq!(check.read(), 5_000);
        assert!(!Check::new(4).take(&whole));
        let mut late = Check::new(3);
        late.take(&whole[..1]);
        assert!(!late.take(&whole[2..40]));
    }
}
