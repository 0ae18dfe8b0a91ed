//! What a far side does to the calls of an inbound rule besides allowing them: fields, credentials, tokens, cookies.
//!
//! Two views, as everywhere: [`Headers`], [`Credential`] and [`OAuth`] are the YAML as written, [`FarSide`] is what was
//! checked. Invariants: every default stands here, and all of them leave a call as it was written; secrets are files, never
//! values. It reads none of them: the engine does. Test to read first: `a_rule_passes_everything_unless_it_says_otherwise`
//! in `far_side/tests.rs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

/// Which header fields pass in one direction, as written: one of the two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Headers {
    /// The only fields that pass; a name may end in `*`. Default: every field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Fields that do not pass; a name may end in `*`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

impl Headers {
    /// Nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the value of a field comes from, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credential {
    /// File of the value; line ends at its end are no part of it. No default.
    pub file: PathBuf,
    /// Text before the value, such as `Bearer `. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// An access token for the calls of a rule (RFC 6749), as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth {
    /// The token endpoint. No default.
    pub token_url: String,
    /// The client's id. No default.
    pub client_id: String,
    /// File of the client's secret. Default: none, which only a refresh token allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// How the client shows its secret. Default: `basic`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Scopes, separated by spaces. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For whom the token is. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// File of a refresh token, used in the place of the client's own credentials. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_file: Option<PathBuf>,
    /// PEM file of the only authorities to trust at the token endpoint. Default: the rule's `tls.caFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How a client shows its secret to the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// In the Authorization field.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// What becomes of cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cookies {
    /// They pass, both ways.
    #[default]
    Pass,
    /// Those that the called server sets are kept here, for each caller, and sent with its later calls.
    Jar,
}

impl Cookies {
    /// They pass.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is done to the calls of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FarSide {
    /// Which fields of requests pass.
    pub request_headers: FieldList,
    /// Which fields of responses pass.
    pub response_headers: FieldList,
    /// Fields that are added to requests; each name once.
    pub credentials: Vec<Injected>,
    /// Whether the caller's own Authorization and Cookie pass although the rule adds fields.
    pub pass_authorization: bool,
    /// Whence the access token of its calls comes.
    pub oauth: Option<TokenEndpoint>,
    /// What becomes of cookies.
    pub cookies: Cookies,
}

/// Which fields pass: names in lower case, some with a `*` at their end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldList {
    /// Every field.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

/// A field whose value stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Its name, in lower case.
    pub field: String,
    /// File of the value.
    pub file: PathBuf,
    /// Text before the value.
    pub prefix: String,
}

/// A checked [`OAuth`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// http or https, without user and fragment; http only on this machine.
    pub url: Url,
    /// The client's id; not empty.
    pub client_id: String,
    /// File of the client's secret; there unless `refresh_token_file` is.
    pub client_secret_file: Option<PathBuf>,
    /// How the secret is shown.
    pub client_auth: ClientAuth,
    /// Scopes.
    pub scope: Option<String>,
    /// Audience.
    pub audience: Option<String>,
    /// File of the refresh token.
    pub refresh_token_file: Option<PathBuf>,
    /// File of the only authorities to trust.
    pub ca_file: Option<PathBuf>,
}

impl FarSide {
    /// Does a request get fields from here that say who calls?
    #[must_use]
    pub fn injects(&self) -> bool {
        !self.credentials.is_empty() || self.oauth.is_some()
    }

    /// The files with secrets, each with its field below the rule.
    #[must_use]
    pub fn secret_files(&self) -> Vec<(String, PathBuf)> {
        let credentials = self.credentials.iter();
        let credentials = credentials.map(|one| (format!("credentials.{}.file", one.field), one.file.clone()));
        let oauth = self.oauth.iter().flat_map(|oauth| {
            let files = [
                ("oauth.clientSecretFile", &oauth.client_secret_file),
                ("oauth.refreshTokenFile", &oauth.refresh_token_file),
            ];
            files.into_iter().filter_map(|(field, file)| Some((field.to_owned(), file.clone()?)))
        });
        credentials.chain(oauth).collect()
    }
}

#[cfg(test)]
mod tests;
