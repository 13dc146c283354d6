//! Go templates over JSON values, with the functions that docker adds to Go's own.

use gtmpl_ng::{Context, FuncError, Template, Value};
use serde_json::Value as Json;

use super::layout::Layout;
use crate::output::Report;
use crate::show::pretty;

/// The least width of a column of `table` and what is between two, as docker has them.
const COLUMN: usize = 10;
const GAP: usize = 3;

/// The most characters that a template pads a text with, or takes of it.
const MAX_COUNT: usize = 1 << 16;

/// The field of an object that has its form as JSON where that is another: Go's names of fields are not always those that it
/// writes. No template reaches it.
pub(super) const AS_JSON: &str = "";

/// The field of a row that has its labels by their names, for `.Label NAME`. No template reaches it either.
pub(super) const LABELS: &str = " labels";

/// Whether a field is one that templates, and what is printed as JSON, have.
fn is_shown(name: &str) -> bool {
    name != AS_JSON && name != LABELS
}

/// Whether `text` is a template.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parsed(text).map(drop)
}

/// Each of `rows` by a template: a line each, or with `table` in columns under the fields' names.
///
/// # Errors
/// A [`Report`] where the template asks for what a row does not have.
pub(crate) fn rows(layout: &Layout, rows: &[Json]) -> Result<String, Report> {
    let (text, as_table) = match layout {
        Layout::Template(text) => (text, false),
        Layout::Table(text) => (text, true),
        Layout::Text | Layout::Json => return Ok(String::new()),
    };
    let mut lines = Vec::new();
    if as_table {
        lines.push(one(text, &heads(rows.first().unwrap_or(&Json::Null), text))?);
    }
    for row in rows {
        lines.push(one(text, row)?);
    }
    Ok(match as_table {
        true => in_columns(&lines),
        false => lines.iter().map(|line| format!("{line}\n")).collect(),
    })
}

/// What docker's `inspect` prints: one array, or each document by a template.
///
/// # Errors
/// A [`Report`] where the template asks for what a document does not have.
pub(crate) fn inspection(documents: &[Json], layout: Option<&Layout>) -> Result<String, Report> {
    match layout {
        Some(layout @ Layout::Template(_)) => rows(layout, documents),
        _ => Ok(pretty(&Json::Array(documents.to_vec()))),
    }
}

/// One value by a template.
///
/// # Errors
/// A [`Report`] where the template asks for what the value does not have.
pub(crate) fn one(text: &str, value: &Json) -> Result<String, Report> {
    let failed = |why: String| Report::text(format!("cannot print by the template `{text}`")).because(why);
    let template = parsed(text).map_err(failed)?;
    let rendered = template.render(&Context::from(from_json(value)));
    rendered.map_err(|error| {
        let fields = value.as_object().map(|fields| {
            fields
                .keys()
                .filter(|name| is_shown(name))
                .cloned()
                .collect::<Vec<_>>()
        });
        let error = error.to_string();
        // The whole value, which the message ends with, says less than the names of its fields.
        let why = error.lines().next().unwrap_or_default();
        let why = why.rsplit_once(" in map[").map_or(why, |(why, _)| why);
        failed(why.to_owned()).hint(fields.map(|fields| format!("the fields are {}", fields.join(", "))))
    })
}

fn parsed(text: &str) -> Result<Template, String> {
    let mut template = Template::default();
    template.add_func("json", |args| json(args).map(Value::String));
    template.add_func("join", |args| {
        let [Value::Array(items), Value::String(between)] = args else {
            return Err(FuncError::UnableToConvertFromValue);
        };
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        Ok(Value::String(items.join(between)))
    });
    template.add_func("split", |args| {
        let [Value::String(text), Value::String(between)] = args else {
            return Err(FuncError::UnableToConvertFromValue);
        };
        Ok(Value::Array(
            text.split(&**between)
                .map(|part| Value::String(part.into()))
                .collect(),
        ))
    });
    template.add_func("lower", |args| text_of(args, str::to_lowercase));
    template.add_func("upper", |args| text_of(args, str::to_uppercase));
    template.add_func("title", |args| text_of(args, title));
    template.add_func("truncate", |args| {
        let [Value::String(text), length] = args else {
            return Err(FuncError::UnableToConvertFromValue);
        };
        Ok(Value::String(text.chars().take(count(length)?).collect()))
    });
    template.add_func("pad", |args| {
        let [Value::String(text), before, after] = args else {
            return Err(FuncError::UnableToConvertFromValue);
        };
        let (before, after) = (" ".repeat(count(before)?), " ".repeat(count(after)?));
        // As docker, which leaves out what is around nothing.
        Ok(Value::String(match text.is_empty() {
            true => String::new(),
            false => format!("{before}{text}{after}"),
        }))
    });
    template.add_func("label", label);
    template.parse(prepared(text)).map_err(|error| {
        let error = error.to_string();
        error
            .rsplit_once(':')
            .map_or(error.clone(), |(_, why)| why.trim().to_owned())
    })?;
    Ok(template)
}

/// A template as Go's language has it: docker's `\t` and `\n` between the actions, which a shell leaves in double quotes as they are, and
/// its method `.Label NAME`.
fn prepared(text: &str) -> String {
    let mut prepared = String::new();
    let mut rest = text;
    loop {
        let (between, action) = rest.split_at(rest.find("{{").unwrap_or(rest.len()));
        prepared += &between.replace("\\t", "\t").replace("\\n", "\n");
        let (action, after) = action.split_at(action.find("}}").unwrap_or(action.len()));
        prepared += &action.replace(".Label \"", "label . \"");
        if after.is_empty() {
            return prepared;
        }
        rest = after;
        let (end, after) = rest.split_at("}}".len());
        prepared += end;
        rest = after;
    }
}

/// The value of a row's label; of one that is not there, nothing, as with docker.
fn label(args: &[Value]) -> Result<Value, FuncError> {
    let [Value::Object(row), Value::String(name)] = args else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    let value = match row.get(LABELS) {
        Some(Value::Object(labels)) => labels.get(name).cloned(),
        _ => None,
    };
    Ok(value.unwrap_or_else(|| Value::String(String::new())))
}

/// A number of characters; of what is below 0, none.
fn count(number: &Value) -> Result<usize, FuncError> {
    let Value::Number(number) = number else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    let number = number.as_i64().and_then(|number| usize::try_from(number).ok());
    Ok(number.unwrap_or_default().min(MAX_COUNT))
}

fn text_of(args: &[Value], change: impl Fn(&str) -> String) -> Result<Value, FuncError> {
    match args {
        [Value::String(text)] => Ok(Value::String(change(text))),
        _ => Err(FuncError::UnableToConvertFromValue),
    }
}

fn title(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn json(args: &[Value]) -> Result<String, FuncError> {
    match args {
        [value] => Ok(to_json(value).to_string()),
        _ => Err(FuncError::ExactlyXArgs("json".to_owned(), 1)),
    }
}

fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(fraction)) => Value::from(fraction),
            (None, None) => Value::Nil,
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(from_json).collect()),
        // An object has just its fields, a map gives nothing for others: a field that is misspelt is an error.
        Json::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), from_json(value)))
                .collect(),
        ),
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::Bool(*value),
        Value::String(text) => Json::String(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Json::from(whole),
            (None, fraction) => Json::from(fraction),
        },
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Object(fields) if fields.contains_key(AS_JSON) => to_json(&fields[AS_JSON]),
        Value::Object(fields) | Value::Map(fields) => fields
            .iter()
            .filter(|(name, _)| is_shown(name))
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect(),
        Value::NoValue | Value::Nil | Value::Function(_) => Json::Null,
    }
}

/// docker's heads that are not the names of their fields.
const HEADS: [(&str, &str); 8] = [
    ("BlockIO", "BLOCK I/O"),
    ("CPUPerc", "CPU %"),
    ("CreatedSince", "CREATED"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("NetIO", "NET I/O"),
    ("PIDs", "PIDS"),
    ("RunningFor", "CREATED"),
];

/// The heads of a table: each field's name, `RunningFor` as `RUNNING FOR`. Fields of a row that is not there are those
/// that the template names.
fn heads(row: &Json, text: &str) -> Json {
    let of_row = row
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys().cloned());
    let named = text
        .split(['{', '}', ' ', '|', '(', ')'])
        .filter_map(|word| word.strip_prefix('.'));
    let names = of_row.chain(named.map(str::to_owned));
    let head = |name: String| {
        if let Some((_, head)) = HEADS.iter().find(|(field, _)| *field == name) {
            return (name, Json::String((*head).to_owned()));
        }
        let words = name.char_indices().map(|(at, letter)| {
            let begins = at > 0 && letter.is_uppercase() && name[..at].ends_with(char::is_lowercase);
            format!("{}{}", if begins { " " } else { "" }, letter.to_uppercase())
        });
        (name.clone(), Json::String(words.collect()))
    };
    names.map(head).collect()
}

/// Lines in columns, which tabs part.
fn in_columns(lines: &[String]) -> String {
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let width = |column: usize| {
        let widths = cells
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count() + GAP);
        widths.max().unwrap_or(0).max(COLUMN)
    };
    let mut text = String::new();
    for line in &cells {
        let last = line.len() - 1;
        let padded = line
            .iter()
            .enumerate()
            .map(|(column, cell)| match column == last {
                true => (*cell).to_owned(),
                false => format!("{cell:<0$}", width(column)),
            });
        text += padded.collect::<String>().trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod() -> Json {
        json!({
            "State": { "Status": "running", "ExitCode": 0 }, "Labels": { "a.b": "c" }, "Names": "web",
            "Mounts": [{ "Type": "bind", "Source": "/a" }, { "Type": "volume", "Source": "/b" }], "RunningFor": "2 hours ago",
            LABELS: { "a.b": "c" },
        })
    }

    #[test]
    fn templates_are_gos_with_dockers_functions() {
        for (text, printed) in [
            ("{{.State.Status}}", "running"),
            (
                "{{range .Mounts}}{{.Type}}:{{.Source}} {{end}}",
                "bind:/a volume:/b ",
            ),
            (
                "{{range $i, $m := .Mounts}}{{if $i}}, {{end}}{{$m.Source}}{{end}}",
                "/a, /b",
            ),
            ("{{index .Labels \"a.b\"}}", "c"),
            ("{{(index .Mounts 1).Type}}", "volume"),
            ("{{json .Labels}}", "{\"a.b\":\"c\"}"),
            ("{{json .State.ExitCode}}", "0"),
            ("{{if eq .State.Status \"running\"}}yes{{else}}no{{end}}", "yes"),
            (
                "{{upper .Names}} {{title .Names}} {{truncate .Names 2}}",
                "WEB Web we",
            ),
            ("[{{pad .Names 1 2}}{{pad \"\" 1 2}}]", "[ web  ]"),
            ("{{join (split \"a b\" \" \") \",\"}}", "a,b"),
            ("{{.Names}}\\t{{len .Mounts}}", "web\t2"),
            ("{{with .State}}{{.ExitCode}}{{end}}", "0"),
            ("{{range .Mounts}}{{.Source}}{{\"\\n\"}}{{end}}", "/a\n/b\n"),
            ("{{.Label \"a.b\"}}{{.Label \"none\"}}", "c"),
        ] {
            assert_eq!(one(text, &pod()).unwrap(), printed, "{text}");
        }
        for text in ["{{.Names", "{{nothing .}}", "{{end}}", "{{.A}} {{range}}"] {
            assert!(check(text).is_err(), "{text}");
        }
        let event = json!({ "Action": "start", AS_JSON: { "status": "start" } });
        assert_eq!(
            one("{{.Action}} {{json .}}", &event).unwrap(),
            "start {\"status\":\"start\"}"
        );
        let report = one("{{.Nmaes}}", &pod()).unwrap_err();
        let text = anstream::adapter::strip_str(&report.render()).to_string();
        assert!(
            text.contains("no field `Nmaes`") && text.contains("the fields are Labels"),
            "{text}"
        );
        assert!(!text.contains("running"), "{text}");
    }

    #[test]
    fn a_table_has_the_names_of_its_fields() {
        let layout = Layout::Table("{{.Names}}\\t{{.RunningFor}}".into());
        let table = rows(&layout, &[pod()]).unwrap();
        assert_eq!(table, "NAMES     CREATED\nweb       2 hours ago\n");
        assert_eq!(rows(&layout, &[]).unwrap(), "NAMES     CREATED\n");
        let lines = rows(&Layout::Template("{{.Names}}".into()), &[pod(), pod()]).unwrap();
        assert_eq!(lines, "web\nweb\n");
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            "[ -~]{0,12}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::hash_map("[A-Z][a-z]{0,5}", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Whatever is printed as JSON is what came in.
        #[test]
        fn json_is_the_value(value in any_json()) {
            let printed = one("{{json .}}", &value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Json>(&printed).unwrap(), value);
        }

        /// No text that a user writes, and no value, ends the process.
        #[test]
        fn no_template_panics(text in "(\\{\\{|\\}\\}|[ -~]|range |if |end|\\.|\\$x|:=|\\|){0,20}", value in any_json()) {
            let _ = one(&text, &value);
        }
    }
}
