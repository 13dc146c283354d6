//! Giving a pod another name. Beside its supervisor, which reads the record when it starts the pod, nobody else writes to the
//! directory of a pod: who renames one holds the lock of names.

use std::path::Path;
use std::{fs, io};

use isopod_plan::layout;
use isopod_spec::PodName;

use super::files::{Asked, PodRecord};
use super::{NameError, Pods, PodsError, failed};
use crate::json_file::{self, Durability};

impl Pods {
    /// Names a pod `name`, whatever it was called before, also while it runs. What happened to it keeps the name of that time.
    ///
    /// # Errors
    /// [`NameError::Taken`] where another pod has that name, [`NameError::Pods`] where a file cannot be written.
    pub fn rename(&self, uuid: &str, name: &PodName) -> Result<(), NameError> {
        let Some(pod) = self.entry(uuid) else {
            return Err(gone(&self.started_path(uuid)).into());
        };
        let before = pod.record.as_ref().and_then(|record| record.name.clone());
        if before.as_ref() == Some(name) {
            return Ok(());
        }
        self.name(uuid, name)?;
        let _guard = self.guard()?;
        if let Err(error) = record_name(&pod.path, name) {
            let link = self.root.join("names").join(name.as_str());
            let _ = fs::remove_file(link);
            return Err(error.into());
        }
        if let Some(before) = before {
            let link = self.root.join("names").join(before.as_str());
            fs::remove_file(&link).map_err(failed("remove", &link))?;
        }
        Ok(())
    }
}

fn gone(path: &Path) -> PodsError {
    failed("read", path)(io::ErrorKind::NotFound.into())
}

fn record_name(dir: &Path, name: &PodName) -> Result<(), PodsError> {
    let at = dir.join(layout::RECORD);
    let record: Option<PodRecord> = json_file::read(dir, layout::RECORD).map_err(failed("read", &at))?;
    let Some(mut record) = record else {
        return Err(gone(&at));
    };
    record.name = Some(name.clone());
    json_file::write(dir, layout::RECORD, &record, Durability::Durable).map_err(failed("write", &at))?;
    let at = dir.join(layout::SPEC);
    let asked: Option<Asked> = json_file::read(dir, layout::SPEC).map_err(failed("read", &at))?;
    let Some(mut asked) = asked.filter(|asked| asked.version == json_file::VERSION) else {
        return Ok(());
    };
    asked.spec.name = Some(name.clone());
    json_file::write(dir, layout::SPEC, &asked, Durability::Durable).map_err(failed("write", &at))
}

#[cfg(test)]
mod tests {
    use super::super::files::Keep;
    use super::super::tests::{fixture, prepared};
    use super::*;

    #[test]
    fn a_pod_has_one_name() {
        let (_dir, pods) = fixture();
        let name = |name: &str| PodName::new(name).unwrap();
        let web = prepared(&pods, Some("web"), Keep::UntilRemoved);
        let other = prepared(&pods, None, Keep::UntilRemoved);
        pods.rename(&web, &name("front")).unwrap();
        assert_eq!(pods.find("front").unwrap().uuid, web);
        assert!(pods.find("web").is_err());
        let error = pods.rename(&other, &name("front")).unwrap_err();
        assert!(matches!(error, NameError::Taken { .. }), "{error:?}");
        pods.rename(&other, &name("web")).unwrap();
        pods.rename(&other, &name("web")).unwrap();
        assert_eq!(pods.entry(&other).unwrap().label(), "web");
        assert!(pods.rename("00000000", &name("x")).is_err());
        assert!(pods.named(&name("x")).is_none());
    }
}
