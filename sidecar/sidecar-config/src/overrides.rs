//! What a start may say in place of the file: the endpoint and the caller, which differ between pods of one file.
//!
//! Invariants: what is given here replaces the file's field before anything is checked, so it is held to the same rules;
//! a problem with it names the flag and the variable it may have come by, because the file is not where it stands.
//! It reads no environment: the program's command line does. Test to read first: `what_a_start_says_replaces_the_file`.

/// Values in place of those of the section `local`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `local.endpoint`: `--endpoint`, `HOFT_ENDPOINT`.
    pub endpoint: Option<String>,
    /// `local.kind`: `--kind`, `HOFT_KIND`.
    pub kind: Option<String>,
    /// `local.namespace`: `--namespace`, `HOFT_NAMESPACE`.
    pub namespace: Option<String>,
    /// `local.serviceAccount`: `--service-account`, `HOFT_SERVICE_ACCOUNT`.
    pub service_account: Option<String>,
}

/// A value and what a problem with it calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) field: &'static str,
    pub(crate) text: &'a str,
}

impl Overrides {
    pub(crate) fn endpoint<'a>(&'a self, file: &'a str) -> Given<'a> {
        either("HOFT_ENDPOINT (--endpoint)", self.endpoint.as_deref(), "local.endpoint", Some(file))
            .unwrap_or(Given { field: "local.endpoint", text: file })
    }

    pub(crate) fn kind(&self) -> Option<Given<'_>> {
        either("HOFT_KIND (--kind)", self.kind.as_deref(), "local.kind", None)
    }

    pub(crate) fn namespace<'a>(&'a self, file: Option<&'a str>) -> Option<Given<'a>> {
        either("HOFT_NAMESPACE (--namespace)", self.namespace.as_deref(), "local.namespace", file)
    }

    pub(crate) fn service_account<'a>(&'a self, file: Option<&'a str>) -> Option<Given<'a>> {
        let field = "HOFT_SERVICE_ACCOUNT (--service-account)";
        either(field, self.service_account.as_deref(), "local.serviceAccount", file)
    }
}

fn either<'a>(
    override_field: &'static str,
    given: Option<&'a str>,
    file_field: &'static str,
    file: Option<&'a str>,
) -> Option<Given<'a>> {
    let given = given.map(|text| Given { field: override_field, text });
    given.or(file.map(|text| Given { field: file_field, text }))
}

#[cfg(test)]
mod tests;
