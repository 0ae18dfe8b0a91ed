//! Patterns of the texts in the schema.
//!
//! Invariants: every text that one of them lets through can be computed with: no duration or size, nor three times one,
//! overflows the 64 bits of the API server's rules and of the engines. They are read by the API server (RE2), so they
//! hold no look-around. Test to read first: `every_bound_refuses_what_is_beyond_it` in `tests/bounds.rs`.

/// A name that people give: side, rule, key.
pub(crate) const NAME: &str = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// A name of an object: claim, Secret, Service, service account, class.
pub(crate) const OBJECT_NAME: &str = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
/// The same, or nothing.
pub(crate) const OBJECT_NAME_OR_EMPTY: &str = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$";
/// A duration such as 1h30m. Whole numbers only, and units are never mixed up: `m` is minutes.
pub(crate) const DURATION: &str = r"^([0-9]{1,5}h|[0-9]{1,6}m|[0-9]{1,8}s|[0-9]{1,9}ms){1,4}$";
/// A number of bytes.
pub(crate) const SIZE: &str = r"^([0-9]{1,12}|[0-9]{1,12}(k|Ki|M|Mi)|[0-9]{1,9}(G|Gi)|[0-9]{1,6}(T|Ti))$";
/// A quantity of a resource such as 500m, 0.5 or 64Mi. Only in requests and limits, where `m` is a thousandth.
pub(crate) const QUANTITY: &str = r"^[0-9]{1,9}(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?$";
/// A point in time (RFC 3339).
pub(crate) const TIME: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$";
/// A public key token.
pub(crate) const TOKEN: &str = r"^hoft1[A-Za-z0-9_-]+$";
/// A folder below the root of a volume: no `..`, no hidden folder, neither `/` at an end.
pub(crate) const SUB_PATH: &str = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$";
/// A host name, an address, or `*.` and a suffix; never `*` alone.
pub(crate) const HOST: &str = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$|^\[?[0-9A-Fa-f:.]+\]?$";
/// Scheme, host and port.
pub(crate) const URL: &str = r"^https?://[A-Za-z0-9.\[\]:-]+/?$";
/// A network: an address and the length of its prefix.
pub(crate) const NETWORK: &str = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";
