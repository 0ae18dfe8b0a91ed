//! Writes the custom resource definition as YAML: `crdgen` to standard output, `crdgen FOLDER…` to `tunnelpeerings.yaml`
//! in each folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let folders: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match write(&folders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("crdgen: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn write(folders: &[PathBuf]) -> Result<(), String> {
    let yaml = crd_types::crd_yaml().map_err(|error| format!("the definition cannot be written: {error}"))?;
    if folders.is_empty() {
        return std::io::stdout().write_all(yaml.as_bytes()).map_err(|error| format!("standard output: {error}"));
    }
    folders.iter().try_for_each(|folder| write_file(&folder.join("tunnelpeerings.yaml"), &yaml))
}

fn write_file(path: &Path, yaml: &str) -> Result<(), String> {
    std::fs::write(path, yaml).map_err(|error| format!("{}: {error}", path.display()))
}
