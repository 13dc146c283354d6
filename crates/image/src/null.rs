//! `null` in JSON that Go wrote: a list or map that is empty, or a text.

use serde::{Deserialize, Deserializer};

/// Reads a value; `null` is the empty one.
///
/// # Errors
/// The value's own.
pub(crate) fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
