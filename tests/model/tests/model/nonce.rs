//! Searches of the sealing: S6 under every failure of the random source, and that each rule is needed.

use model::check::{depth, holds, refuted};
use model::nonce::{Broken, Sealing};

#[test]
fn no_key_and_nonce_seal_two_plaintexts() {
    holds("nonce, sound machines", Sealing { packets: 2, faults: false, broken: None });
    holds("nonce, cloned, reverted or stuck", Sealing { packets: 3 + depth(), faults: true, broken: None });
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        (Broken::ContentNotHashed, true, "S6"),
        (Broken::ControlNotHashed, true, "S6"),
        (Broken::TableNotHashed, true, "S6"),
        (Broken::ControlApart, false, "S6"),
        (Broken::FramesShareNonce, false, "S6"),
        (Broken::OneKey, false, "S6"),
        (Broken::SeedFromSalt, false, "keys are secret"),
        (Broken::NoLocalKey, true, "keys are secret"),
    ];
    for (broken, faults, property) in cases {
        let model = Sealing { packets: 2, faults, broken: Some(broken) };
        refuted(&format!("nonce, {broken:?}"), &model, property);
    }
}
