//! What another form of a pod cannot say, and what is done about it: of the writers of pod files and manifests.

use std::cell::RefCell;

/// What is done about what cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The file is refused.
    Refuse,
    /// The pod does without.
    Ignore,
}

/// A pod in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// What it does without, with [`Unsupported::Ignore`].
    pub left_out: Vec<Gap>,
}

/// Something of a pod that the other form has no words for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be expressed in {form}: {why}")]
pub struct Gap {
    form: &'static str,
    what: String,
    why: String,
    hint: Option<String>,
    /// Whether there is no pod without it.
    needed: bool,
}

impl Gap {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let general = || match self.needed {
            true => None,
            false => Some("print the pod without it (`--ignore-unsupported`)".to_owned()),
        };
        self.hint.clone().or_else(general)
    }
}

/// What was found so far that a form cannot say.
pub(crate) struct Gaps {
    form: &'static str,
    found: RefCell<Vec<Gap>>,
}

impl Gaps {
    /// None yet; `form` is how messages call the form.
    pub(crate) fn of(form: &'static str) -> Self {
        let found = RefCell::default();
        Self { form, found }
    }

    /// Something may be left out.
    pub(crate) fn add(&self, what: impl Into<String>, why: impl Into<String>) {
        self.push(what.into(), why.into(), None, false);
    }

    /// Something may be left out that a flag of `run` says beside the file.
    pub(crate) fn add_flag(&self, what: impl Into<String>, why: impl Into<String>, flag: &str) {
        let hint = format!("give `{flag}` beside what `--ignore-unsupported` prints");
        self.push(what.into(), why.into(), Some(hint), false);
    }

    /// There is no pod without it.
    pub(crate) fn add_needed(
        &self,
        what: impl Into<String>,
        why: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(what.into(), why.into(), Some(hint.into()), true);
    }

    /// The document cannot be written in its syntax at all; nothing in its place.
    pub(crate) fn not_written(&self, error: &dyn std::error::Error) -> String {
        let hint = "look in it for text that JSON and YAML have no way to write";
        self.add_needed("the pod", error.to_string(), hint);
        String::new()
    }

    fn push(&self, what: String, why: String, hint: Option<String>, needed: bool) {
        let form = self.form;
        self.found.borrow_mut().push(Gap {
            form,
            what,
            why,
            hint,
            needed,
        });
    }

    /// `text`, unless what it does not say stands against it.
    pub(crate) fn finish(self, text: String, unsupported: Unsupported) -> Result<Written, Vec<Gap>> {
        let left_out = self.found.into_inner();
        let ignored = |gap: &Gap| unsupported == Unsupported::Ignore && !gap.needed;
        match left_out.iter().all(ignored) {
            true => Ok(Written { text, left_out }),
            false => Err(left_out.into_iter().filter(|gap| !ignored(gap)).collect()),
        }
    }
}
