//! The file that `hoft config init` writes: every field, explained.
//!
//! Invariants: what it writes passes [`crate::parse`]; every value it shows for a field that has a default is that
//! default; a commented-out field passes too once its `#` is removed.
//! It does not make keys or folders. Test to read first: `the_template_is_a_valid_file`.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{name::Name, problem::Refusal};

const TEXT: &str = include_str!("template.yaml");

/// What differs between the files of two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Name of the side that the file is for.
    pub local: Name,
    /// Name of the far side.
    pub remote: Name,
    /// Address of the proxy port.
    pub proxy: SocketAddr,
    /// Address of the admin port.
    pub admin: SocketAddr,
}

impl Template {
    /// The file of side `local`, with the usual ports.
    ///
    /// # Errors
    /// If a name is no side name, or both are the same.
    pub fn new(local: &str, remote: &str) -> Result<Self, Refusal> {
        let (local, remote) = (Name::new(local)?, Name::new(remote)?);
        if local == remote {
            return Err(Refusal::new(
                format!("`{local}` is the name of both sides"),
                "give the two sides different names",
            ));
        }
        Ok(Self {
            local,
            remote,
            proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 9470)),
        })
    }
}

/// The commented configuration file.
#[must_use]
pub fn template(side: &Template) -> String {
    TEXT.replace("@LOCAL@", side.local.as_str())
        .replace("@REMOTE@", side.remote.as_str())
        .replace("@PROXY@", &side.proxy.to_string())
        .replace("@ADMIN@", &side.admin.to_string())
}

#[cfg(test)]
mod tests;
