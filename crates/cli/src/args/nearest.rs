//! Which known word was most likely meant. A guess ends up in a hint, never in a command.

use isopod_spec::words;

/// The one of `known` that `name` was most likely meant to be: a few typing errors away, or the beginning of one.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    /// So much of a name distinguishes it from others.
    const BEGINNING: usize = 3;
    let found = words::nearest(name, known.iter().copied());
    found.or_else(|| {
        let begins = |long: &str| name.len() >= BEGINNING && long.starts_with(name);
        known.iter().copied().find(|long| begins(long))
    })
}
