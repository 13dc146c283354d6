//! `--filter` of the commands that remove what nobody uses, with docker's keys.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::label_filter::LabelFilter;
use crate::output::Report;
use crate::time::time;

/// Which of those that nobody uses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PruneFilter {
    /// Those that were made before: the time as it is written.
    Until(String),
    /// Those with this label.
    Label(LabelFilter),
    /// Those without it.
    NoLabel(LabelFilter),
}

/// Reads one.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn prune_filter(text: &str) -> Result<PruneFilter, String> {
    let wrong = || "it is until=TIME, label=NAME[=VALUE] or label!=NAME[=VALUE]".to_owned();
    if let Some(label) = text.strip_prefix("label!=") {
        return Ok(PruneFilter::NoLabel(LabelFilter::read(label)));
    }
    match text.split_once('=').ok_or_else(wrong)? {
        ("until", moment) => time("filter", moment)
            .map(|_| PruneFilter::Until(moment.to_owned()))
            .map_err(|_| "`until` is a time, such as 24h or 2026-11-23T20:08:36Z".to_owned()),
        ("label", label) => Ok(PruneFilter::Label(LabelFilter::read(label))),
        _ => Err(wrong()),
    }
}

/// Whether what was made then, with these labels, goes: it passes every filter. What does not say when it was made is old.
///
/// # Errors
/// A [`Report`] for a time that is not one.
pub(crate) fn goes(
    filters: &[PruneFilter],
    made: Option<SystemTime>,
    labels: &BTreeMap<String, String>,
) -> Result<bool, Report> {
    for filter in filters {
        let passes = match filter {
            PruneFilter::Until(moment) => {
                let before = time("filter", moment)?;
                made.is_none_or(|made| made < before)
            }
            PruneFilter::Label(label) => label.passes(labels),
            PruneFilter::NoLabel(label) => !label.passes(labels),
        };
        if !passes {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_passes_every_filter_goes() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let before = SystemTime::now() - Duration::from_secs(3600);
        for (filters, expected) in [
            (&["until=30m"][..], true),
            (&["until=2h"], false),
            (&["label=a"], true),
            (&["label=a=b", "until=30m"], true),
            (&["label=a=c"], false),
            (&["label!=a"], false),
            (&["label!=c", "label=a"], true),
            (&[], true),
        ] {
            let read: Vec<PruneFilter> = filters.iter().map(|text| prune_filter(text).unwrap()).collect();
            assert_eq!(
                goes(&read, Some(before), &labels).unwrap(),
                expected,
                "{filters:?}"
            );
        }
        for wrong in ["until=x", "name=a", "label"] {
            assert!(prune_filter(wrong).is_err(), "{wrong}");
        }
    }
}
