//! Where a pod's VM comes from: restored from its template where there is one, otherwise booted. A template from which a VM is not
//! restored is dropped, and the pod starts without.

use std::error::Error;

use super::error::RunError;
use crate::Settings;
use crate::pods::files::{PodRecord, TemplateRecord};
use crate::template_maker::{self, Other};
use crate::templates::{Template, Templates};
use isopod_spec::StartMode;

/// The template of the pod's VM, where there is one; it is made first where that was asked for.
///
/// # Errors
/// It was asked for and cannot be made.
pub(super) async fn template<'r>(
    record: &'r PodRecord,
    settings: &Settings,
) -> Result<Option<(&'r TemplateRecord, Template)>, RunError> {
    let Some(wanted) = &record.template else {
        return Ok(None);
    };
    let templates = Templates::of(&settings.state_dir);
    let open = || {
        let opened = templates.open(&wanted.key).unwrap_or_else(|error| {
            tracing::warn!("cannot read template `{}`: {error}", wanted.key);
            None
        });
        opened.map(|template| (wanted, template))
    };
    let found = open();
    if found.is_some() || wanted.vm.start != StartMode::Warm {
        return Ok(found);
    }
    template_maker::make(settings, &wanted.vm, Other::Awaited, Some(&wanted.key))
        .await
        .map_err(|error| RunError::Template(Box::new(error)))?;
    Ok(open())
}

/// Begins to make the template that a pod's VM could have been restored from, for the next one.
pub(super) fn make_for_the_next(record: &PodRecord, settings: &Settings) {
    let Some(wanted) = &record.template else { return };
    match template_maker::spawn(settings, &wanted.vm, &wanted.key) {
        Ok(()) => tracing::debug!("a template is being made for the next start"),
        Err(error) => tracing::warn!("cannot make a template for the next start: {error}"),
    }
}

/// Whether the pod is to be booted after its VM was not restored: said in one line, and where the template is why, it is dropped.
pub(super) fn boots_instead(error: &RunError, record: &PodRecord, settings: &Settings) -> bool {
    let is_the_templates = match error {
        RunError::NotRestored(error) => error.is_the_templates(),
        RunError::NoGuest { .. } | RunError::GuestEnded { .. } | RunError::Agent { .. } => true,
        _ => return false,
    };
    let mut words = error.to_string().lines().next().unwrap_or_default().to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    let dropped = record
        .template
        .as_ref()
        .filter(|_| is_the_templates)
        .is_some_and(|template| Templates::of(&settings.state_dir).remove(&template.key).is_ok());
    let end = if dropped {
        ", and the template is dropped"
    } else {
        ""
    };
    tracing::warn!("the VM is booted{end}: it was not restored: {words}");
    true
}
