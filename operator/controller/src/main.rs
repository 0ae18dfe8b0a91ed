//! The program hoft-operator.

use std::process::ExitCode;

use clap::Parser;
use controller::{cli::Args, operator};

fn main() -> ExitCode {
    let args = Args::parse();
    args.start_log();
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain, one line each: what failed, then why. It ends as the pod's termination message.
            eprintln!("hoft-operator: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> anyhow::Result<()> {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(operator::run(args))
}
