//! A control block, and as an ext block.

use wire::Control;
use wire::tlv::{TlvWriter, check_ext, walk};

use crate::bound::within;

/// A block that was taken is written again as a block that means the same; TLVs are written again as the same bytes.
pub fn fuzz_control(data: &[u8]) {
    let bytes_max = 64 * data.len();
    let read = |block: &[u8], to_side: bool| within(bytes_max, || Control::decode(block, to_side));
    for to_side in [false, true] {
        let Ok(control) = read(data, to_side) else { continue };
        let written = control.encode();
        assert_eq!(read(&written, to_side).as_ref(), Ok(&control));
        assert_eq!(control.encode(), written);
        let mut outside = control.clone();
        outside.drop_association_scope();
        assert_eq!(read(&outside.encode(), to_side), Ok(outside));
    }
    let ext = within(bytes_max, || check_ext(data));
    let Ok(tlvs) = walk(data) else { return assert!(ext.is_err()) };
    let mut writer = TlvWriter::new();
    for tlv in tlvs {
        writer.put(tlv.kind, tlv.value.to_vec());
    }
    assert_eq!(writer.finish(), data);
}
