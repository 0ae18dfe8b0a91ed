//! The command line of the test clusters: `up`, `down`, `build`, `status`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use e2e::bed::{self, TestBed};
use e2e::cluster::Layout;
use e2e::images::product;
use e2e::place::Place;
use e2e::prerequisites;
use e2e::runner::interruptible;
use e2e::tools::Tools;

const EXAMPLES: &str = "\
Examples:
  Both clusters, until Ctrl-C:
      cargo run -p e2e -- up

  Leave them up, run one scenario on them again and again, take them down:
      cargo run -p e2e -- up --detach
      HOFT_E2E_ATTACH=1 cargo test -p e2e --test e2e -- isolation
      cargo run -p e2e -- down

  All scenarios on fresh clusters, and fail if this machine cannot run them:
      HOFT_REQUIRE=cluster cargo test -p e2e --test e2e

Environment:
  HOFT_CACHE        what outlives runs: built programs and images [default: ~/.cache/hoft]
  HOFT_E2E_STATE    what a run writes; removed with it [default: /var/lib/hoft-e2e]
  HOFT_ARTEFACTS    where failed scenarios leave their evidence [default: target/e2e-artefacts]
  HOFT_REQUIRE      with the word `cluster`, tests fail where they would be skipped
  HOFT_E2E_ATTACH   tests use clusters that `up --detach` left running
  HOFT_E2E_ROUNDS   how often the scenario `rounds` starts and ends the clusters [default: 3]";

/// Two real, isolated Kubernetes clusters on this machine, for tests and for looking around.
#[derive(Debug, Parser)]
#[command(name = "e2e", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start both clusters, say how to use them, and take them down at Ctrl-C.
    Up {
        /// Return when they are ready and leave them up, until `down`.
        #[arg(long)]
        detach: bool,
        /// Also build the product and make its images known to both clusters.
        #[arg(long)]
        product: bool,
    },
    /// Remove both clusters: detached ones, and what a killed run has left.
    Down,
    /// Build what the clusters need (once, about ten minutes), and the product with its images.
    Build {
        /// Leave the product out.
        #[arg(long)]
        tools_only: bool,
    },
    /// Say what is built, what is up and who uses it.
    Status,
}

/// Runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match Place::from_environment().and_then(|place| run(&cli.command, place)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, place: Place) -> anyhow::Result<()> {
    match *command {
        Command::Up { detach, product } => up(place, detach, product),
        Command::Down => {
            let said = if bed::clean(&place)? { "both clusters are gone" } else { "there was nothing to take down" };
            println!("{said}");
            Ok(())
        }
        Command::Build { tools_only } => build(&place, tools_only),
        Command::Status => status(&place),
    }
}

fn build(place: &Place, tools_only: bool) -> anyhow::Result<()> {
    let missing = prerequisites::check();
    if !missing.is_empty() {
        println!("{missing}\n");
    }
    let tools = Tools::build(place)?;
    println!("the programs of the clusters: {}", tools.folder().display());
    if !tools_only {
        let product = product::build(place)?;
        println!("the product: {}", product.hoft.display());
        for archive in &product.archives {
            println!("its image: {}", archive.display());
        }
    }
    Ok(())
}

fn up(place: Place, detach: bool, with_product: bool) -> anyhow::Result<()> {
    let missing = prerequisites::check();
    anyhow::ensure!(missing.is_empty(), "{missing}");
    let tools = Tools::build(&place)?;
    let product = with_product.then(|| product::build(&place)).transpose()?;
    let starting = place.clone();
    interruptible(&place, async move {
        let bed = TestBed::start(starting, tools).await?;
        for archive in product.iter().flat_map(|product| &product.archives) {
            for cluster in bed.clusters() {
                cluster.import_image(archive).await?;
            }
        }
        describe(&bed);
        if detach {
            println!("\nBoth stay up until `cargo run -p e2e -- down`.");
            return bed.detach();
        }
        println!("\nCtrl-C takes both down.");
        std::future::pending::<()>().await;
        bed.down()
    })
    .or_else(|error| if error.to_string() == "interrupted" { Ok(()) } else { Err(error) })
}

fn describe(bed: &TestBed) {
    let kubectl = bed.a.tools.program("kubectl");
    for (cluster, timing) in bed.clusters().iter().zip(&bed.timings) {
        let layout = &cluster.layout;
        println!("cluster {} is ready after {:.1} s", cluster.name(), timing.total().as_secs_f64());
        println!("  kubeconfig  {}", layout.kubeconfig("admin").display());
        println!(
            "  node        {} at {}, in the network namespace {}",
            layout.node_name(),
            layout.node_address(),
            layout.namespace()
        );
        println!("  logs        {}", layout.logs().display());
    }
    println!("\nUse them:");
    println!("  alias kubectl={}", kubectl.display());
    println!("  kubectl --kubeconfig {} get pods -A", bed.a.layout.kubeconfig("admin").display());
    println!("  nsenter --net={} curl http://POD-OR-SERVICE-ADDRESS/", bed.a.layout.namespace_file().display());
    println!("The image for apps is {} (imagePullPolicy: Never).", e2e::BUSYBOX);
}

fn status(place: &Place) -> anyhow::Result<()> {
    let missing = prerequisites::check();
    println!("{}", if missing.is_empty() { "the machine has what it takes".to_owned() } else { missing.to_string() });
    match Tools::find(place)? {
        Some(tools) => println!("programs of the clusters: {}", tools.folder().display()),
        None => println!("programs of the clusters: not built (`cargo run -p e2e -- build`)"),
    }
    println!("product: {}", if product::was_built(place) { "built" } else { "not built" });
    let holder = bed::holder().context("cannot tell who uses the clusters")?;
    let state = holder.as_ref().map_or(&place.state, |holder| &holder.state);
    if let Some(holder) = &holder {
        let how = if holder.detached { "left up by" } else { "in use by" };
        println!("clusters: {how} process {} (`{}`)", holder.pid, holder.command);
    }
    for layout in Layout::all(state) {
        let words = layout.components().into_iter().map(|component| {
            format!("{} {}", component.name, if component.is_alive() { "runs" } else { "does not run" })
        });
        println!("cluster {}: {}", layout.name, words.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
