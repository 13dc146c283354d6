//! Names of hosts and of apps.

use std::path::Path;

use isopod_plan::guest::entry::EntryKind;
use isopod_plan::plan;
use isopod_spec::{AppRoot, ImageReference, ImageSource, PodSpec};

use crate::fixture::{self, app};

/// Which of the three files an app of that image gets where it mounts `target`, below its upper directory.
fn name_files(image: &[&str], target: Option<&str>) -> (Vec<String>, Vec<String>) {
    let mut spec = fixture::pod();
    if let Some(target) = target {
        spec.volumes.push(fixture::empty("v"));
        spec.apps[0].mounts.push(fixture::mount("v", target));
    }
    let plan = plan(&spec, &fixture::facts(&spec, image)).expect("a plan");
    let upper = "/isopod/apps/web/seed";
    let files = ["hosts", "hostname", "resolv.conf"];
    let found = plan.guest.entries.iter().filter(|(path, entry)| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        path.starts_with(upper) && files.contains(&name) && matches!(entry.kind, EntryKind::File(_))
    });
    let relative = |path: &Path| {
        path.strip_prefix(upper)
            .expect("it is below")
            .display()
            .to_string()
    };
    (found.map(|(path, _)| relative(path)).collect(), plan.notices)
}

#[test]
fn names_are_where_the_app_looks_for_them() {
    let all = |dir: &str| {
        ["hostname", "hosts", "resolv.conf"]
            .map(|name| format!("{dir}/{name}"))
            .to_vec()
    };
    for (image, dir) in [
        (&[][..], "etc"),
        (&["/etc/hosts"], "etc"),
        (&["/etc/resolv.conf -> ../run/stub"], "etc"),
        (&["/usr/etc/", "/etc -> usr/etc"], "usr/etc"),
        (&["/etc -> /nowhere"], "nowhere"),
        (&["/etc -> ../../.."], ""),
    ] {
        let (files, _) = name_files(image, None);
        let expected: Vec<String> = all(dir)
            .iter()
            .map(|f| f.trim_start_matches('/').to_owned())
            .collect();
        assert_eq!(files, expected, "{image:?}");
    }
    for (target, left) in [
        ("/etc", &[][..]),
        ("/etc/hosts", &["etc/hostname", "etc/resolv.conf"]),
        ("/etc/hosts/below", &["etc/hostname", "etc/resolv.conf"]),
        ("/etc/hosts.d", &["etc/hostname", "etc/hosts", "etc/resolv.conf"]),
    ] {
        assert_eq!(name_files(&[], Some(target)).0, left, "{target}");
    }
    for image in [["/etc"], ["/etc -> etc"]] {
        let (files, notices) = name_files(&image, None);
        assert!(files.is_empty(), "{files:?}");
        assert_eq!(
            notices,
            ["app `web`: its image's `/etc` is not a directory, so it gets no `/etc/hosts`"]
        );
    }
}

/// An app that nobody named has the name of its image's manifest, and not of the file.
#[test]
fn an_aci_is_called_by_its_manifest() {
    let image = |name: &str| ImageSource::Reference(ImageReference::parse(name.as_ref()).unwrap());
    let mut spec = PodSpec::new(vec![app("file"), app("mine")]);
    spec.apps[0].root = AppRoot::Image(image("aci:/images/file.aci"));
    spec.apps[1].root = AppRoot::Image(image("aci:/images/file.aci"));
    let mut facts = fixture::facts(&spec, &[]);
    for facts in &mut facts.apps {
        facts.root.as_mut().unwrap().config.image_name = Some("example.com/worker".into());
    }
    let plan = plan(&spec, &facts).unwrap();
    let names = plan
        .apps
        .iter()
        .map(|app| app.process.env["AC_APP_NAME"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["worker", "mine"]);
}
