//! The command line of hoft-operator. Every option can be given by an environment variable too.
//!
//! Exit status: 0 told to stop, 1 failed (what went wrong is said on standard error), 2 the command line is wrong. It
//! starts nothing; `operator` does. Test to read first: `tests::what_the_chart_passes_is_understood`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use k8s_openapi::api::core::v1::LocalObjectReference;
use tracing_subscriber::EnvFilter;

use crate::plan::Settings;

/// Shortest life of a CA or certificate: a turn of the keeper must fit many times.
const LIFETIME_MIN: Duration = Duration::from_secs(30);
/// Longest life of a CA or certificate.
const LIFETIME_MAX: Duration = Duration::from_hours(20 * 365 * 24);

/// The operator of hoft: runs the engines that TunnelPeering objects ask for, and shows how they are.
///
/// It reaches the API server by KUBECONFIG or ~/.kube/config, and else by the service account of its pod. Run it in a
/// cluster with the chart; on a desk, `hoft-operator --sidecar-image IMAGE --namespace NAMESPACE` is enough. Several
/// replicas may run: the holder of the Lease reconciles, all of them serve the webhook.
#[derive(Clone, Debug, Parser)]
#[command(name = "hoft-operator", version)]
pub struct Args {
    /// Image of the engines, for gateways and for injection.
    #[arg(long, env = "HOFT_SIDECAR_IMAGE", value_name = "IMAGE", help_heading = "Engines")]
    pub sidecar_image: String,
    /// When nodes pull that image.
    #[arg(long, env = "HOFT_IMAGE_PULL_POLICY", default_value = "IfNotPresent", help_heading = "Engines")]
    pub image_pull_policy: PullPolicy,
    /// Secret with the registry's credentials, in the peering's namespace, for gateways; repeatable. Injected pods use
    /// their own.
    #[arg(long, env = "HOFT_IMAGE_PULL_SECRETS", value_name = "NAME", value_delimiter = ',', help_heading = "Engines")]
    pub image_pull_secret: Vec<String>,
    /// Least important line in the engines' logs.
    #[arg(long, env = "HOFT_ENGINE_LOG_LEVEL", default_value = "info", help_heading = "Engines")]
    pub engine_log_level: Level,

    /// Namespace of the operator: its Lease and its webhook's Secret are there. Default: that of the pod or kubeconfig.
    #[arg(long, env = "POD_NAMESPACE", help_heading = "Operator")]
    pub namespace: Option<String>,
    /// Name of this replica among the others. Default: one made up at each start.
    #[arg(long, env = "POD_NAME", help_heading = "Operator")]
    pub identity: Option<String>,
    /// Lease that one replica holds at a time.
    #[arg(
        long,
        env = "HOFT_LEASE_NAME",
        value_name = "NAME",
        default_value = "hoft-operator",
        help_heading = "Operator"
    )]
    pub lease_name: String,
    /// Namespace whose peerings are looked after; repeatable. Default: all namespaces.
    #[arg(
        long,
        env = "HOFT_WATCH_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        help_heading = "Operator"
    )]
    pub watch_namespace: Vec<String>,
    /// Where probes and metrics are served, without TLS.
    #[arg(
        long,
        env = "HOFT_ADMIN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080",
        help_heading = "Operator"
    )]
    pub admin_address: SocketAddr,

    /// The MutatingAdmissionPolicy hoft-inject is installed: the API server itself puts engines into pods.
    #[arg(long, env = "HOFT_POLICY_INSTALLED", help_heading = "Injection")]
    pub policy_installed: bool,
    /// Serve the webhook that puts engines into pods, for clusters without that policy.
    #[arg(long, env = "HOFT_WEBHOOK", help_heading = "Injection")]
    pub webhook: bool,
    /// Where the webhook is served.
    #[arg(
        long,
        env = "HOFT_WEBHOOK_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8443",
        help_heading = "Injection"
    )]
    pub webhook_address: SocketAddr,
    /// Service by which the API server calls the webhook: its certificate is made for it.
    #[arg(
        long,
        env = "HOFT_WEBHOOK_SERVICE",
        value_name = "NAME",
        default_value = "hoft-webhook",
        help_heading = "Injection"
    )]
    pub webhook_service: String,
    /// MutatingWebhookConfiguration that is told which CA to trust.
    #[arg(
        long,
        env = "HOFT_WEBHOOK_CONFIGURATION",
        value_name = "NAME",
        default_value = "hoft-inject",
        help_heading = "Injection"
    )]
    pub webhook_configuration: String,
    /// Secret that keeps the webhook's CA.
    #[arg(
        long,
        env = "HOFT_WEBHOOK_CA_SECRET",
        value_name = "NAME",
        default_value = "hoft-webhook-ca",
        help_heading = "Injection"
    )]
    pub webhook_ca_secret: String,
    /// How long a CA of the webhook is good; a new one takes over when two thirds are past.
    #[arg(long, env = "HOFT_WEBHOOK_CA_LIFETIME", value_name = "DURATION", default_value = "365d", value_parser = lifetime, help_heading = "Injection")]
    pub webhook_ca_lifetime: Duration,
    /// How long a certificate of the webhook is good; a new one takes over when two thirds are past.
    #[arg(long, env = "HOFT_WEBHOOK_CERTIFICATE_LIFETIME", value_name = "DURATION", default_value = "30d", value_parser = lifetime, help_heading = "Injection")]
    pub webhook_certificate_lifetime: Duration,

    /// Shape of the operator's log lines, on standard error.
    #[arg(long, env = "HOFT_LOG_FORMAT", default_value = "text", help_heading = "Log")]
    pub log_format: LogFormat,
    /// Least important line in the operator's log. RUST_LOG overrides it, by module.
    #[arg(long, env = "HOFT_LOG_LEVEL", default_value = "info", help_heading = "Log")]
    pub log_level: Level,
}

/// When nodes pull an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// When they do not have it.
    IfNotPresent,
    /// At each start.
    Always,
    /// Never: somebody put it there.
    Never,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Least important line that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Only what does not work.
    Error,
    /// Also what a person should look at.
    Warn,
    /// Also changes.
    Info,
    /// Also steps.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Args {
    /// What the planner is told.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let policy = match self.image_pull_policy {
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Always => "Always",
            PullPolicy::Never => "Never",
        };
        let secret = |name: &String| LocalObjectReference { name: name.clone() };
        Settings {
            sidecar_image: self.sidecar_image.clone(),
            image_pull_policy: policy.to_owned(),
            image_pull_secrets: self.image_pull_secret.iter().filter(|name| !name.is_empty()).map(secret).collect(),
            log_level: self.engine_log_level.as_str().to_owned(),
            policy_installed: self.policy_installed,
            webhook_installed: self.webhook,
        }
    }

    /// The namespaces to look after; none means all.
    #[must_use]
    pub fn watch_namespaces(&self) -> Vec<String> {
        let mut namespaces: Vec<String> =
            self.watch_namespace.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        namespaces.sort();
        namespaces.dedup();
        namespaces
    }

    /// Starts the log of this process.
    pub fn start_log(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(self.log_level.as_str()));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => builder.json().flatten_event(true).init(),
            LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        }
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = sidecar_config::parse_duration(text)?;
    if (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err(format!("{text} is not between {} s and 20 years", LIFETIME_MIN.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    //! The command line itself.
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        let always = ["hoft-operator", "--sidecar-image=hoft-sidecar:1"];
        Args::try_parse_from(always.iter().chain(line))
    }

    #[test]
    fn command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_the_chart_passes_is_understood() {
        let args = parse(&[
            "--namespace=hoft-system",
            "--identity=hoft-operator-7d9f-x",
            "--image-pull-policy=Never",
            "--image-pull-secret=a",
            "--image-pull-secret=b,c",
            "--policy-installed",
            "--webhook",
            "--watch-namespace=shop",
            "--watch-namespace=bank,shop",
            "--log-format=json",
            "--log-level=debug",
        ])
        .unwrap();
        let settings = args.settings();
        assert_eq!(settings.image_pull_policy, "Never");
        assert_eq!(settings.image_pull_secrets.len(), 3);
        assert!(settings.policy_installed && settings.webhook_installed);
        assert_eq!(settings.log_level, "info", "the engines' level is their own");
        assert_eq!(args.watch_namespaces(), ["bank", "shop"]);
    }

    #[test]
    fn defaults_are_those_of_the_chart() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.lease_name, "hoft-operator");
        assert_eq!(
            (args.webhook_service.as_str(), args.webhook_ca_secret.as_str()),
            ("hoft-webhook", "hoft-webhook-ca")
        );
        assert_eq!((args.admin_address.port(), args.webhook_address.port()), (8080, 8443));
        assert!(!args.webhook && args.watch_namespaces().is_empty());
        assert_eq!(args.webhook_ca_lifetime, Duration::from_hours(8760));
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (line, reason) in [
            (["--webhook-ca-lifetime=1s"], "between"),
            (["--webhook-ca-lifetime=soon"], "is not a duration"),
            (["--image-pull-policy=Sometimes"], "IfNotPresent"),
            (["--admin-address=8080"], "invalid socket address"),
            (["--log-level=loud"], "possible values"),
        ] {
            let refused = parse(&line).unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(Args::try_parse_from(["hoft-operator"]).unwrap_err().to_string().contains("--sidecar-image"));
    }
}
