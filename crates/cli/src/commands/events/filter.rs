//! `--filter` of `isopod events`.

use isopod_runtime::events::{Event, EventKind};
use isopod_spec::AppName;

use crate::args::app_name;
use crate::as_docker::{action, event_type};

/// Which events are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Those of a pod: its name, its UUID or the beginning of it.
    Pod(String),
    /// Those of apps of this name.
    App(AppName),
    /// Those of this kind, in Isopod's word or in docker's.
    Kind(String),
    /// Those of what docker calls a container, or of volumes.
    Type(&'static str),
}

/// Reads a filter.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(text: &str) -> Result<Filter, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "pod" | "container" if !value.is_empty() => Ok(Filter::Pod(value.to_owned())),
        "app" => app_name(value).map(Filter::App),
        "event" => {
            let known = EventKind::ALL.iter().any(|kind| is_called(*kind, value));
            known.then(|| Filter::Kind(value.to_owned())).ok_or_else(|| {
                let words = EventKind::ALL.map(EventKind::as_str);
                format!("the kinds are {}, and docker's words for them", words.join(", "))
            })
        }
        "type" => {
            let types = ["container", "volume"];
            let found = types.into_iter().find(|known| *known == value);
            found
                .map(Filter::Type)
                .ok_or_else(|| "the types are container and volume".to_owned())
        }
        _ => Err("the keys are container, app, event and type".to_owned()),
    }
}

/// Whether an event is one of those: of several filters with one key any, of several keys all.
pub(super) fn matches(filters: &[Filter], event: &Event) -> bool {
    let is = |filter: &Filter| match filter {
        Filter::Pod(pod) => {
            event.uuid.starts_with(pod) || event.name.as_ref().is_some_and(|name| name.as_str() == pod)
        }
        Filter::App(app) => event.app.as_ref() == Some(app),
        Filter::Kind(word) => is_called(event.kind, word),
        Filter::Type(name) => event_type(event.kind) == *name,
    };
    filters.iter().all(|filter| {
        let same_key = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
        filters.iter().filter(same_key).any(is)
    })
}

/// `health_status` is docker's word for both.
fn is_called(kind: EventKind, word: &str) -> bool {
    let action = action(kind);
    kind.as_str() == word || action == word || action.split_once(": ").is_some_and(|(name, _)| name == word)
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    #[test]
    fn filters_of_one_key_widen_and_keys_narrow() {
        for (filters, shown) in [
            ("", true),
            ("pod=web", true),
            ("container=0123", true),
            ("container=we", false),
            ("container=db container=web", true),
            ("app=a event=app-exited", true),
            ("app=b event=app-exited", false),
            ("event=exited event=app-exited pod=web", true),
            ("type=container", true),
            ("type=volume", false),
        ] {
            let read: Vec<Filter> = filters
                .split_whitespace()
                .map(|text| read(text).unwrap())
                .collect();
            assert_eq!(matches(&read, &event()), shown, "{filters:?}");
        }
        for wrong in ["pod", "event=nothing", "type=image", "image=x", "container="] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_have_dockers_words_too() {
        let called = |word: &str| -> Vec<&str> {
            let kinds = EventKind::ALL.into_iter().filter(|kind| is_called(*kind, word));
            kinds.map(EventKind::as_str).collect()
        };
        assert_eq!(called("die"), ["exited"]);
        assert_eq!(called("health_status"), ["app-healthy", "app-unhealthy"]);
        assert_eq!(called("health_status: unhealthy"), ["app-unhealthy"]);
        assert_eq!(called("app-exited"), ["app-exited"]);
    }
}
