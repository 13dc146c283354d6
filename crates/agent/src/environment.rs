//! A command's environment: the app's, from the file that the planner wrote for its unit, and what the caller adds.

use std::collections::BTreeMap;

use isopod_protocol::environment::{is_name, unpack};

/// What a terminal is called where neither the app nor the caller say (docker's).
const DEFAULT_TERM: &str = "xterm";

/// Reads an environment file as the planner writes them: `NAME="VALUE"` in lines, where `"`, `\`, `` ` `` and `$` have
/// a `\` before them and a value may go over several lines. What is not so is left out.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        let (name, value) = unpack(name.into(), value.into());
        variables.extend(name.into_string().ok().zip(value.into_string().ok()));
        rest = after.get(end..).unwrap_or_default().trim_start_matches('\n');
    }
    variables
}

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
    fn what_the_planner_writes_comes_back() {
        // isopod-plan's environment_line, whose escapes are pinned there.
        let text = "A=\"x\\\"\\$\\\\\\`\ny\"\nB=\"\"\nC=\"1=\\\"2\\\"\"\n";
        let read = parse(text);
        assert_eq!(read["A"], "x\"$\\`\ny");
        assert_eq!((&*read["B"], &*read["C"]), ("", "1=\"2\""));
        assert_eq!(read.len(), 3);
        assert_eq!(parse("ISOPOD_ENV_7=\"a.b=\\$x=\"\n")["a.b"], "$x=");
        assert!(parse("").is_empty());
        assert_eq!(parse("A=\"cut").len(), 1);
    }

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
