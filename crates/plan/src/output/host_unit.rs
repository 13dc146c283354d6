//! A unit of the host's service manager that runs a pod (systemd.service(5)).
//!
//! The command stays in the foreground and is the unit's main process: it says when the pod is ready and when it stops
//! (sd_notify(3)), and SIGTERM to it alone stops the apps in order. What it started is killed if it is left over.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use isopod_spec::{PodSpec, RestartPolicy};

use crate::systemd::unit::{self, UnitFile, Unwritable};

/// The exit status of a pod that its deadline has stopped.
const DEADLINE_STATUS: u8 = 124;

/// How long a VM takes to end when its apps have, at the most.
const MARGIN: Duration = Duration::from_secs(30);

/// Whose service manager it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    System,
    /// A user's own.
    User,
}

/// A unit that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostUnit<'a> {
    /// Whose service manager reads it.
    pub manager: Manager,
    /// What it runs, for people.
    pub description: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Where it starts; `None`: nothing depends on that.
    pub working_dir: Option<PathBuf>,
    /// What its environment must have, in order.
    pub environment: Vec<(String, String)>,
    pub pod: &'a PodSpec,
    /// The signals by which its apps are asked to stop: one that ends by them has done what it was asked.
    pub stop_signals: BTreeSet<u8>,
}

/// The unit's text.
///
/// # Errors
/// [`Unwritable`] where its working directory cannot be written.
pub fn host_unit(unit: &HostUnit<'_>) -> Result<String, Unwritable> {
    let online = |key| (key, "network-online.target".to_owned());
    let mut head = vec![("Description", unit::description(&unit.description))];
    let target = match unit.manager {
        Manager::System => {
            head.extend([online("Wants"), online("After")]);
            "multi-user.target"
        }
        // A user's manager knows nothing of the network.
        Manager::User => "default.target",
    };
    let file = UnitFile::default()
        .section("Unit", head)
        .section("Service", service(unit)?)
        .section("Install", vec![("WantedBy", target.to_owned())]);
    Ok(file.text())
}

fn service(unit: &HostUnit<'_>) -> Result<Vec<(&'static str, String)>, Unwritable> {
    let mut settings = vec![("Type", "notify".to_owned())];
    if let Some(dir) = &unit.working_dir {
        settings.push(("WorkingDirectory", unit::path_value(dir)?));
    }
    for (name, value) in &unit.environment {
        settings.push(("Environment", unit::word(&format!("{name}={value}"))));
    }
    settings.push(("ExecStart", command_line(&unit.command)));
    settings.push(("KillMode", "mixed".to_owned()));
    // An app may take as long as it likes to be ready; how long the VM may, isopod knows.
    settings.push(("TimeoutStartSec", "infinity".to_owned()));
    let stop = unit.pod.stop_timeout + MARGIN;
    settings.push(("TimeoutStopSec", stop.as_secs().to_string()));
    let by_signal: Vec<String> = unit
        .stop_signals
        .iter()
        .map(|signal| (128 + u32::from(*signal)).to_string())
        .collect();
    settings.push(("SuccessExitStatus", by_signal.join(" ")));
    if let Some(policy) = restart(unit.pod) {
        settings.push(("Restart", policy.to_owned()));
        if unit.pod.deadline.is_some() {
            settings.push(("RestartPreventExitStatus", DEADLINE_STATUS.to_string()));
        }
    }
    Ok(settings)
}

/// The pod is restarted where one of its apps would be: the VM may have failed, which no app can mend.
fn restart(pod: &PodSpec) -> Option<&'static str> {
    let any = |of: fn(&RestartPolicy) -> bool| pod.apps.iter().any(|app| of(&app.restart));
    if any(|policy| matches!(policy, RestartPolicy::Always)) {
        Some("always")
    } else if any(|policy| matches!(policy, RestartPolicy::OnFailure { .. })) {
        Some("on-failure")
    } else {
        None
    }
}

/// A command line as people write it: words are quoted where they must be. Where one has a `$`, none is expanded.
fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+,@".contains(c);
    let written = |text: &String| match !text.is_empty() && text.chars().all(plain) {
        true => text.clone(),
        false => unit::word(text),
    };
    let line: Vec<String> = words.iter().map(written).collect();
    let prefix = if words.iter().any(|word| word.contains('$')) {
        ":"
    } else {
        ""
    };
    format!("{prefix}{}", line.join(" "))
}

#[cfg(test)]
mod tests {
    use isopod_spec::{App, AppName, ImageSource};

    use super::*;

    fn pod(policies: &[RestartPolicy]) -> PodSpec {
        let app = |(index, restart): (usize, &RestartPolicy)| App {
            restart: *restart,
            ..App::new(
                AppName::new(format!("app{index}")).unwrap(),
                ImageSource::Stored { id: None, name: None },
            )
        };
        PodSpec::new(policies.iter().enumerate().map(app).collect())
    }

    fn unit(pod: &PodSpec) -> HostUnit<'_> {
        HostUnit {
            manager: Manager::System,
            description: "Pod web".into(),
            command: ["/usr/bin/isopod", "start", "--attach", "web"]
                .map(str::to_owned)
                .into(),
            working_dir: None,
            environment: Vec::new(),
            pod,
            stop_signals: [15].into(),
        }
    }

    #[test]
    fn a_unit_is_what_people_write() {
        let text = host_unit(&unit(&pod(&[RestartPolicy::No]))).unwrap();
        assert_eq!(
            text,
            "[Unit]\nDescription=Pod web\nWants=network-online.target\nAfter=network-online.target\n\n\
             [Service]\nType=notify\nExecStart=/usr/bin/isopod start --attach web\nKillMode=mixed\n\
             TimeoutStartSec=infinity\nTimeoutStopSec=40\nSuccessExitStatus=143\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
    }

    #[test]
    fn a_users_unit_waits_for_no_network_and_says_where_it_starts() {
        let mut pod = pod(&[RestartPolicy::No, RestartPolicy::Always]);
        pod.deadline = Some(Duration::from_secs(60));
        let text = host_unit(&HostUnit {
            manager: Manager::User,
            working_dir: Some("/home/a 100%".into()),
            environment: vec![("ISOPOD_AGENT".into(), "/a b".into())],
            command: vec!["/a b/isopod".into(), "$x%".into(), String::new()],
            stop_signals: [3, 15].into(),
            ..unit(&pod)
        });
        let text = text.unwrap();
        for line in [
            "WorkingDirectory=/home/a 100%%",
            "Environment=\"ISOPOD_AGENT=/a b\"",
            "ExecStart=:\"/a b/isopod\" \"$x%%\" \"\"",
            "SuccessExitStatus=131 143",
            "Restart=always",
            "RestartPreventExitStatus=124",
            "WantedBy=default.target",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("network"), "{text}");
    }

    #[test]
    fn a_pod_is_started_anew_where_one_of_its_apps_would_be() {
        use RestartPolicy::{Always, No, OnFailure};
        let failing = OnFailure { max_retries: Some(3) };
        for (policies, expected) in [
            (&[No, No][..], None),
            (&[No, failing], Some("on-failure")),
            (&[failing, Always], Some("always")),
        ] {
            assert_eq!(restart(&pod(policies)), expected, "{policies:?}");
        }
    }
}
