//! Renders the chart and reads the result.

use std::process::Command;

use serde_json::Value;

use crate::programs::{program, repository, run};

/// What an API server of Kubernetes 1.36 with the Prometheus operator has and helm does not assume.
pub(crate) const POLICY: &str = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
pub(crate) const POD_MONITOR: &str = "monitoring.coreos.com/v1/PodMonitor";
pub(crate) const PROMETHEUS_RULE: &str = "monitoring.coreos.com/v1/PrometheusRule";

/// Helm with the chart.
pub(crate) struct Helm {
    program: std::path::PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    /// Helm, if it is here.
    pub(crate) fn find() -> Option<Self> {
        Some(Self { program: program("helm")?, home: tempfile::tempdir().unwrap() })
    }

    /// A command that leaves nothing behind and knows no cluster.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(repository()).env("KUBECONFIG", "/dev/null");
        for (variable, folder) in [("CACHE", "cache"), ("CONFIG", "config"), ("DATA", "data")] {
            command.env(format!("HELM_{variable}_HOME"), self.home.path().join(folder));
        }
        command
    }

    /// The text that `helm template` gives with these `--set` arguments, on an API server that has these kinds besides.
    pub(crate) fn text(&self, sets: &[&str], kinds: &[&str]) -> Result<String, String> {
        let mut command = self.command(&["template", "hoft", "charts/hoft", "--namespace", "hoft-system"]);
        for set in sets {
            command.args(["--set", set]);
        }
        for kind in kinds {
            command.args(["--api-versions", kind]);
        }
        run(&mut command)
    }

    /// The objects in it.
    #[track_caller]
    pub(crate) fn objects(&self, sets: &[&str], kinds: &[&str]) -> Objects {
        let text = self.text(sets, kinds).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
        Objects(documents(&text).unwrap_or_else(|error| panic!("{sets:?}: {error}\n{text}")))
    }
}

/// The documents of a YAML text that are not empty.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let all: Vec<Value> = serde_yaml::from_multiple(text).map_err(|error| error.to_string())?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

/// What was rendered.
pub(crate) struct Objects(pub(crate) Vec<Value>);

impl Objects {
    /// The object of that kind and name, if there is one.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// The object of that kind and name.
    #[track_caller]
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name).unwrap_or_else(|| panic!("no {kind} {name} among {:?}", self.names()))
    }

    /// Kind and name of every object.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|object| format!("{} {}", word(&object["kind"]), word(&object["metadata"]["name"]))).collect()
    }
}

/// The text of a value.
#[track_caller]
pub(crate) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The texts of a list; empty where there is none.
#[track_caller]
pub(crate) fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().map(word).collect()).unwrap_or_default()
}
