//! Reads the values of `--format`.

use super::layout::Layout;
use super::template::check;

/// Reads `--format`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn layout(text: &str) -> Result<Layout, String> {
    let table = text
        .strip_prefix("table")
        .map(|rest| rest.trim_start_matches([' ', '\t']));
    match (text, table) {
        ("text", _) | (_, Some("")) => Ok(Layout::Text),
        ("json", _) => Ok(Layout::Json),
        (_, Some(template)) if template.contains("{{") => {
            check(template).map(|()| Layout::Table(template.to_owned()))
        }
        _ if text.contains("{{") => check(text).map(|()| Layout::Template(text.to_owned())),
        _ => Err("write text, json, table, or a Go template such as '{{.Names}}'".to_owned()),
    }
}

/// Reads the `--format` of one document: JSON or a template.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn document(text: &str) -> Result<Layout, String> {
    match layout(text)? {
        Layout::Text | Layout::Table(_) => {
            Err("write json, or a Go template such as '{{.State.Status}}'".to_owned())
        }
        layout => Ok(layout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_words_or_templates() {
        assert_eq!(layout("json"), Ok(Layout::Json));
        assert_eq!(layout("table"), Ok(Layout::Text));
        assert_eq!(layout("table {{.ID}}"), Ok(Layout::Table("{{.ID}}".into())));
        assert_eq!(layout("{{.ID}}"), Ok(Layout::Template("{{.ID}}".into())));
        for text in ["yaml", "", "{{.ID", "table x"] {
            assert!(layout(text).is_err(), "{text}");
        }
    }
}
