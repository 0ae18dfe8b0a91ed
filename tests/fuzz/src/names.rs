//! Names: of packet files as a mirror may have changed them, of endpoints, ids as text, and the public token.

use wire::ids::{EndpointId, Incarnation, endpoint_id, side_id, valid_name};
use wire::name::{MAX_PATH, PacketName, considered, parse_file_name, temporary};
use wire::token::{Bundle, parse_token};

use crate::bound::within;

/// What a name says is what the name of such a packet says; a temporary name is left alone; ids and tokens come back.
pub fn fuzz_names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    file_name(&text);
    payload(data);
    if valid_name(&text) {
        assert!(text.is_ascii() && text.len() <= 63);
    }
    let side = side_id(&text, "a", &text);
    assert_eq!(side.as_bytes()[6] >> 4, 8);
    assert_eq!(endpoint_id(&side, &text, &text).as_bytes()[8] >> 6, 2);
    if let Ok(id) = text.parse::<EndpointId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_hex32().parse(), Ok(id));
    }
    if let Some(bytes) = data.first_chunk() {
        assert_eq!(Incarnation::from_bytes(bytes).to_bytes(), *bytes);
    }
    if let Ok(bundle) = within(16 * data.len(), || parse_token(&text)) {
        assert_eq!(bundle.to_token().unwrap(), text.trim());
        assert_eq!(bundle.fingerprint().unwrap().len(), 29);
    }
}

/// The bytes behind a token, whose checksum no fuzzer guesses.
fn payload(data: &[u8]) {
    let Ok(bundle) = within(16 * data.len(), || Bundle::from_payload(data)) else { return };
    assert_eq!(bundle.payload().unwrap(), data);
    assert!(valid_name(&bundle.side));
    if let Ok(token) = bundle.to_token() {
        assert_eq!(parse_token(&token), Ok(bundle));
    }
}

fn file_name(text: &str) {
    assert!(!considered(&temporary(text)));
    let Some((pn, tag)) = parse_file_name(text) else { return };
    assert!(considered(text));
    let lower = text.to_ascii_lowercase();
    let id = EndpointId::from_bytes([0x5a; 16]);
    let name = PacketName { recipient: id, sender: id, incarnation_random: [0x5a; 8], pn, tag };
    assert!(name.path().len() <= MAX_PATH);
    assert!(lower == name.file_name() || lower.len() == 56 && lower[31..] == name.flat()[31..], "{lower}");
}
