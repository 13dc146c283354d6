//! A command's environment: the app's, and what the caller adds.

use std::collections::BTreeMap;

use isopod_contract::environment::is_name;

/// What a terminal is called where neither the app nor the caller say (docker's).
const DEFAULT_TERM: &str = "xterm";

/// The app's environment with the caller's variables on top.
///
/// # Errors
/// The name of a variable that cannot be one.
pub(crate) fn of_command(
    mut app: BTreeMap<String, String>,
    given: Vec<(String, String)>,
    terminal: bool,
) -> Result<Vec<(String, String)>, String> {
    for (name, value) in given {
        if !is_name(&name) || value.contains('\0') {
            return Err(name);
        }
        app.insert(name, value);
    }
    if terminal {
        app.entry("TERM".to_owned())
            .or_insert_with(|| DEFAULT_TERM.to_owned());
    }
    Ok(app.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_variables_win() {
        let app = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
        let given = vec![("B".to_owned(), "3".to_owned())];
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            of_command(app.clone(), given.clone(), true),
            Ok(vec![pair("A", "1"), pair("B", "3"), pair("TERM", "xterm")])
        );
        assert_eq!(of_command(app, given, false).map(|env| env.len()), Ok(2));
        for name in ["", "A=B", "A\0"] {
            assert_eq!(
                of_command(BTreeMap::new(), vec![pair(name, "")], false),
                Err(name.to_owned())
            );
        }
    }
}
