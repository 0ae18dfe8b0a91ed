//! The configuration file.

use std::path::Path;

use sidecar_config::{ConfigFile, FILE_BYTES_MAX, parse};

use crate::bound::within;

/// A file that was taken is written again as one that says the same; one that is refused is told why.
pub fn fuzz_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > FILE_BYTES_MAX {
        return;
    }
    let base = Path::new("/base");
    match within((1 << 20) + 4096 * text.len(), || parse(text, "fuzz.yaml", base)) {
        Ok(config) => {
            let file: ConfigFile = serde_yaml::from_str(text).unwrap();
            let written = file.to_yaml().unwrap();
            let again = parse(&written, "again.yaml", base).unwrap_or_else(|errors| panic!("{errors}\n{written}"));
            assert_eq!(again, config, "{written}");
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            assert!(errors.to_string().contains("fuzz.yaml"));
        }
    }
}
