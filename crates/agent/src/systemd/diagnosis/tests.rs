//! Causes, found among the states that a made-up systemd gives.

use std::collections::HashMap;

use isopod_contract::config::GuestMount;
use isopod_contract::message::ExitStatus;

use super::*;
use crate::systemd::appstate::ServiceState;
use crate::systemd::{UnitProcess, Whom};

/// A systemd of units that never change; one that is not listed is active.
#[derive(Default)]
struct Still(HashMap<&'static str, UnitState>);

impl Still {
    fn with(mut self, unit: &'static str, active: Activity, result: &str, requires: &[&str]) -> Self {
        let state = UnitState {
            active,
            load: "loaded".to_owned(),
            result: result.to_owned(),
            assert_failed: false,
            requires: requires.iter().map(|&unit| unit.to_owned()).collect(),
            window_us: (0, 0),
        };
        self.0.insert(unit, state);
        self
    }
}

impl Manager for Still {
    fn watch(&self, _: &str) {}

    fn forget(&self, _: &str) {}

    async fn reset_failed(&self, _: &str) -> Result<(), ManagerError> {
        Ok(())
    }

    async fn process(&self, _: &str) -> Result<UnitProcess, ManagerError> {
        Ok(UnitProcess::default())
    }

    async fn cgroup(&self, _: &str) -> Result<String, ManagerError> {
        Ok(String::new())
    }

    async fn service(&self, _: &str) -> Result<ServiceState, ManagerError> {
        Ok(ServiceState::default())
    }

    async fn unit(&self, unit: &str) -> Result<UnitState, ManagerError> {
        let active = UnitState {
            active: Activity::Active,
            ..UnitState::default()
        };
        Ok(self.0.get(unit).cloned().unwrap_or(active))
    }

    async fn reload(&self) -> Result<(), ManagerError> {
        Ok(())
    }

    async fn rest(&self, _: &str) -> Result<Option<Activity>, ManagerError> {
        Ok(None)
    }

    async fn start(&self, _: &str) -> Result<(), ManagerError> {
        Ok(())
    }

    async fn post_stop(&self, _: &str) -> Result<Option<ExitStatus>, ManagerError> {
        Ok(None)
    }

    async fn set(&self, _: &str, _: &[(String, u64)]) -> Result<(), ManagerError> {
        Ok(())
    }

    async fn stop(&self, _: &str) -> Result<(), ManagerError> {
        Ok(())
    }

    async fn kill(&self, _: &str, _: Whom, _: u8) -> Result<(), ManagerError> {
        Ok(())
    }
}

fn app() -> GuestApp {
    let mount = |unit: &str, at: &str, volume: Option<&str>| GuestMount {
        unit: unit.to_owned(),
        mount_point: at.to_owned(),
        volume: volume.map(str::to_owned),
        fs_type: None,
        read_only: false,
    };
    GuestApp {
        name: "web".to_owned(),
        unit: "web.service".to_owned(),
        mounts: vec![
            mount("rootfs.mount", "/nowhere/rootfs", None),
            mount("data.mount", "/nowhere/rootfs/data", Some("data")),
        ],
        ..GuestApp::default()
    }
}

/// What is mounted when all of the app's mounts are.
fn all_mounted() -> Vec<Mount> {
    let text = "1 1 0:1 / / rw - rootfs rootfs rw\n2 1 0:2 / /nowhere/rootfs rw - overlay overlay rw\n\
        3 2 0:3 / /nowhere/rootfs/data rw - 9p x rw\n";
    crate::mounts::mountinfo::parse(text.as_bytes())
}

fn found(systemd: &Still, step: Option<i32>) -> FailureCause {
    let app = app();
    let mounts = all_mounted();
    let cause = cause(systemd, &app, step, &mounts);
    futures::executor::block_on(cause).unwrap()
}

#[test]
fn a_mount_of_the_app_is_named_with_its_volume() {
    let systemd = Still::default()
        .with(
            "web.service",
            Activity::Inactive,
            "success",
            &["rootfs.mount", "data.mount"],
        )
        .with("data.mount", Activity::Failed, "exit-code", &[]);
    let FailureCause::Mount {
        unit, volume, result, ..
    } = found(&systemd, None)
    else {
        panic!()
    };
    assert_eq!(
        (unit.as_str(), volume.as_deref(), result.as_str()),
        ("data.mount", Some("data"), "exit-code")
    );
}

#[test]
fn a_mount_below_the_apps_is_named_with_the_volume_that_is_missing() {
    let systemd = Still::default()
        .with(
            "web.service",
            Activity::Inactive,
            "success",
            &["sysinit.target", "rootfs.mount", "data.mount"],
        )
        .with(
            "data.mount",
            Activity::Inactive,
            "success",
            &["mnt.mount", "web.service"],
        )
        .with("mnt.mount", Activity::Failed, "timeout", &[]);
    let FailureCause::Mount {
        unit, volume, result, ..
    } = found(&systemd, None)
    else {
        panic!()
    };
    assert_eq!(
        (unit.as_str(), volume.as_deref(), result.as_str()),
        ("mnt.mount", Some("data"), "timeout")
    );
}

#[test]
fn a_root_that_failed_is_not_blamed_on_the_volume_below_it() {
    let systemd = Still::default()
        .with(
            "web.service",
            Activity::Inactive,
            "success",
            &["rootfs.mount", "data.mount"],
        )
        .with("rootfs.mount", Activity::Failed, "exit-code", &["image.mount"])
        .with(
            "data.mount",
            Activity::Inactive,
            "success",
            &["rootfs.mount", "mnt.mount"],
        );
    let FailureCause::Mount { unit, volume, .. } = found(&systemd, None) else {
        panic!()
    };
    assert_eq!((unit.as_str(), volume), ("rootfs.mount", None));

    let mut app = app();
    let share = GuestMount {
        unit: "mnt.mount".to_owned(),
        mount_point: "/mnt".to_owned(),
        ..app.mounts[0].clone()
    };
    app.mounts.insert(0, share);
    let systemd = systemd.with("mnt.mount", Activity::Failed, "exit-code", &[]);
    let cause = futures::executor::block_on(cause(&systemd, &app, None, &[])).unwrap();
    let FailureCause::Mount { unit, volume, .. } = cause else {
        panic!()
    };
    assert_eq!((unit.as_str(), volume.as_deref()), ("mnt.mount", Some("data")));
}

#[test]
fn another_requirement_is_a_dependency() {
    let systemd = Still::default()
        .with("web.service", Activity::Inactive, "success", &["net.service"])
        .with("net.service", Activity::Failed, "exit-code", &[]);
    let FailureCause::Dependency { unit, result, .. } = found(&systemd, None) else {
        panic!()
    };
    assert_eq!((unit.as_str(), result.as_str()), ("net.service", "exit-code"));
}

#[test]
fn otherwise_it_is_the_apps_own_unit() {
    let result = |systemd: &Still, step| {
        let FailureCause::Unit { unit, result, .. } = found(systemd, step) else {
            panic!()
        };
        assert_eq!(unit, "web.service");
        result
    };
    let failed = Still::default().with("web.service", Activity::Failed, "exit-code", &[]);
    assert_eq!(result(&failed, None), "exit-code");
    assert_eq!(result(&failed, Some(226)), "226/NAMESPACE");
    let stopped = Still::default().with("web.service", Activity::Inactive, "success", &[]);
    assert_eq!(result(&stopped, None), "canceled");
    let mut absent = Still::default().with("web.service", Activity::Inactive, "", &[]);
    absent.0.get_mut("web.service").unwrap().load = "not-found".to_owned();
    assert_eq!(result(&absent, None), "not-found");
}

#[test]
fn a_mount_that_the_check_before_the_app_missed_is_named() {
    let mut systemd = Still::default().with("web.service", Activity::Inactive, "success", &[]);
    systemd.0.get_mut("web.service").unwrap().assert_failed = true;
    let (app, mut mounts) = (app(), all_mounted());
    mounts.truncate(2);
    let cause = futures::executor::block_on(cause(&systemd, &app, None, &mounts)).unwrap();
    let FailureCause::Mount {
        unit,
        volume,
        result,
        log,
    } = cause
    else {
        panic!()
    };
    assert_eq!(
        (unit.as_str(), volume.as_deref(), result.as_str()),
        ("data.mount", Some("data"), "not mounted")
    );
    assert!(log[0].contains("is not mounted"), "{log:?}");
}
