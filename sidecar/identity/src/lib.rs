//! A side's keys: generation, secret-key file, public token, pinned peers, and the cryptography of packets.
//!
//! - [`Identity`]: one side's secret keys; [`Identity::encode_secret`] and
//!   [`Identity::parse_secret`] are its file, [`Identity::bundle`] what the other side pins.
//! - [`PeerKeys`]: what is pinned of a remote side.
//! - [`build_prefix`], [`FrameSealer`]: writing packets; [`verify_prefix`], [`open_prefix`],
//!   [`FrameOpener`]: reading them.
//!
//! Invariants: secrets are wiped when dropped and never printed; what is compared with a secret is
//! compared in constant time; no input from outside panics. The room does no file I/O and keeps no
//! state: which packets are new, and whose, is decided elsewhere.
//! Spec: wire format §4, §5, §12. Read `packet/vectors.rs` first: the published check values.

mod kem;
mod packet;
mod peer;
mod secret_file;
mod side_keys;
mod signing;

pub use packet::{
    BuiltPrefix, FrameOpener, FrameSealer, OpenedPrefix, PrefixInput, SealError, build_prefix, build_prefix_with,
    open_prefix, verify_prefix,
};
pub use peer::{PeerKeys, PeerKeysError};
pub use secret_file::{SECRET_FILE_LEN_MAX, SecretError};
pub use side_keys::{Identity, IdentityError, KEM_KEYS_MAX, KeyId};
