//! What an app executes, with which environment and capabilities.

use std::path::Path;

use isopod_plan::facts::{Facts, SourceKind};
use isopod_plan::{PodPlan, plan};
use isopod_spec::{Capabilities, EnvVar, PodSpec};

use super::{planned, refused, unit};
use crate::fixture::{empty, facts, host, launch, mount, pod, read_only, volume_name};

/// The file in which an app says why it ended is there wherever it is asked for, and anybody in the app may write to it.
#[test]
fn an_app_finds_the_file_for_its_last_words() {
    let mut pod = pod();
    let image = ["/var/run -> /run", "/run/", "/etc/dir/"];
    let at = |made: &PodPlan, path: &str| made.guest.entries.get(Path::new(path)).map(|entry| entry.mode);
    let made = planned(&pod, &image);
    assert_eq!(at(&made, "/isopod/apps/web/dev/termination-log"), Some(0o666));
    pod.apps[0].last_words.path = Some("/var/run/a b".into());
    let made = planned(&pod, &image);
    assert_eq!(at(&made, "/isopod/apps/web/last-words"), Some(0o666));
    assert!(
        at(&made, "/isopod/apps/web/seed/run/a b").is_some(),
        "its mount point"
    );
    let text = unit(&made, "web.service");
    let bound = "BindPaths=\"/isopod/apps/web/last-words\":\"/run/a b\"\n";
    assert!(text.contains(bound), "{text}");
    for (path, words) in [
        ("/etc/dir", "the image has a directory there"),
        ("/proc/x", "the guest itself mounts"),
    ] {
        pod.apps[0].last_words.path = Some(path.into());
        assert!(refused(&pod, &facts(&pod, &image)).contains(words), "{path}");
    }
}

/// A volume's file in that place is its owner's: the agent neither reads nor empties it.
#[test]
fn a_volume_in_place_of_the_last_words_is_left_alone() {
    let file = |pod: &PodSpec, known: &Facts| {
        let made = plan(pod, known).unwrap();
        let config = made.guest.text(Path::new("/isopod/arrival.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["apps"][0]["lastWords"].clone()
    };
    let mut pod = pod();
    let own = file(&pod, &facts(&pod, &[]));
    assert_eq!(own, "/isopod/apps/web/dev/termination-log");
    pod.volumes = vec![host("v", "/srv/words")];
    pod.apps[0].mounts = vec![mount("v", "/dev/termination-log")];
    let mut known = facts(&pod, &[]);
    known.sources.get_mut(&volume_name("v")).unwrap().kind = SourceKind::File;
    assert!(file(&pod, &known).is_null());
}

/// A working directory in a volume is made there, as container runtimes do it.
#[test]
fn a_working_directory_in_a_volume_is_made_in_it() {
    let mut pod = pod();
    pod.volumes = vec![empty("v")];
    pod.apps[0].mounts = vec![mount("v", "/data")];
    pod.apps[0].overrides.working_dir = Some("/data/a b".into());
    let text = unit(&planned(&pod, &[]), "opt-stage2-web-rootfs-data.mount");
    assert!(
        text.contains("Options=bind,private,X-isopod.workdir=/a%%20b\n"),
        "{text}"
    );
    pod.apps[0].mounts = vec![read_only("v", "/data")];
    let text = unit(&planned(&pod, &[]), "opt-stage2-web-rootfs-data.mount");
    assert!(text.contains("Options=bind,private,ro\n"), "{text}");
}

#[test]
fn programs_are_found_as_in_a_container() {
    let mut pod = pod();
    pod.volumes = vec![empty("v")];
    let image = ["/usr/local/bin/tool", "/bin/data/", "/opt/rel"];
    let mut with = |exec: &str, dir: Option<&str>| {
        pod.apps[0].overrides.exec = Some(exec.into());
        pod.apps[0].overrides.working_dir = dir.map(Into::into);
        pod.apps[0].mounts = vec![mount("v", "/vol")];
        let error = |e: isopod_plan::PlanError| (e.faults[0].exit_status(), e.to_string());
        plan(&pod, &facts(&pod, &image))
            .map(|p| p.apps[0].process.executable.display().to_string())
            .map_err(error)
    };
    assert_eq!(with("tool", None), Ok("/usr/local/bin/tool".into()));
    assert_eq!(with("./rel", Some("/opt")), Ok("/opt/rel".into()));
    assert_eq!(with("/vol/made/later", None), Ok("/vol/made/later".into()));
    assert_eq!(with("nothing", None).unwrap_err().0, 127);
    assert_eq!(with("/no/thing", None).unwrap_err().0, 127);
    assert_eq!(with("data", None).unwrap_err().0, 126);
}

/// Another app, or the host, may put it on a volume before the app starts: what is mounted counts, not the image alone.
#[test]
fn a_program_of_a_volume_is_found_through_the_path() {
    let mut pod = pod();
    pod.volumes = vec![empty("v"), host("h", "/srv/tools")];
    let image = [
        "/bin/app",
        "/bin/plain",
        "/usr/local/bin/",
        "/opt/link -> /usr/local",
    ];
    let mut with = |exec: &str, target: &str, volume: &str| {
        pod.apps[0].overrides.exec = Some(exec.into());
        pod.apps[0].mounts = vec![mount(volume, target)];
        let known = facts(&pod, &image);
        let refused = |e: isopod_plan::PlanError| e.faults[0].exit_status();
        plan(&pod, &known)
            .map(|p| p.apps[0].process.executable.display().to_string())
            .map_err(refused)
    };
    for volume in ["v", "h"] {
        assert_eq!(with("tool", "/usr/local/bin", volume), Ok("tool".into()));
        assert_eq!(with("tool", "/usr/local", volume), Ok("tool".into()));
        assert_eq!(with("tool", "/opt/link/bin", volume), Ok("tool".into()));
        assert_eq!(with("tool", "/opt/bin", volume), Err(127));
        // A volume over the directory hides what the image has there.
        assert_eq!(with("/bin/app", "/bin", volume), Ok("/bin/app".into()));
        assert_eq!(with("app", "/usr/local/bin", volume), Ok("/bin/app".into()));
    }
}

/// Every path goes to the agent as it is: systemd would refuse some (quotes, backslashes), and read others otherwise.
#[test]
fn a_program_may_be_called_anything() {
    for name in [
        "it's",
        "a\"b",
        "back\\slash",
        "50%",
        "$HOME",
        "two words",
        "-dash",
        "@at",
        "+p",
        "!e",
        ":c",
        "new\nline",
        "é\u{1}",
    ] {
        let path = format!("/opt/{name}");
        let mut pod = pod();
        pod.apps[0].overrides.exec = Some(path.clone());
        pod.apps[0].overrides.args = Some(vec![name.into()]);
        pod.apps[0].overrides.working_dir = Some(path.clone().into());
        let known = facts(&pod, &[&path]);
        let made = plan(&pod, &known).unwrap_or_else(|error| panic!("{name}: {error}"));
        let launched = launch(&made, "web");
        assert_eq!(launched.main, [path.clone(), name.to_owned()]);
        assert_eq!(launched.process.working_dir, path);
    }
}

#[test]
fn capabilities_are_dockers_and_can_be_changed() {
    let mut pod = pod();
    let capabilities = |pod: &PodSpec, base: Option<Capabilities>| {
        let mut known = facts(pod, &[]);
        known.apps[0].root.as_mut().unwrap().config.capabilities = base;
        plan(pod, &known).unwrap().apps[0].process.capabilities.clone()
    };
    assert_eq!(capabilities(&pod, None).len(), 14);
    let retained = capabilities(&pod, Some(Capabilities::Retain(vec!["CAP_SYS_TIME".into()])));
    assert_eq!(retained.into_iter().collect::<Vec<_>>(), ["CAP_SYS_TIME"]);
    pod.apps[0].overrides.cap_drop = vec!["all".into()];
    pod.apps[0].overrides.cap_add = vec!["chown".into()];
    assert_eq!(
        capabilities(&pod, None).into_iter().collect::<Vec<_>>(),
        ["CAP_CHOWN"]
    );
}

#[test]
fn environment_is_the_images_then_the_users() {
    let mut pod = pod();
    let var = |name: &str, value: Option<&str>| EnvVar {
        name: name.into(),
        value: value.map(Into::into),
        secret: false,
    };
    pod.apps[0].overrides.env = vec![var("A", Some("user")), var("FROM", None), var("GONE", None)];
    let mut known = facts(&pod, &[]);
    known.apps[0].caller_env.insert("FROM".into(), "caller".into());
    let env = &mut known.apps[0].root.as_mut().unwrap().config.env;
    *env = vec![
        ("A".into(), "image".into()),
        ("B".into(), "b\n\"$".into()),
        ("a.b".into(), "x".into()),
        ("c=d".into(), "x".into()),
    ];
    let made = plan(&pod, &known).unwrap();
    let env: Vec<_> = launch(&made, "web").env.into_iter().collect();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        env,
        [
            ("A", "user"),
            ("AC_APP_NAME", "web"),
            ("B", "b\n\"$"),
            ("FROM", "caller"),
            ("HOME", "/root"),
            ("HOSTNAME", &made.hostname),
            ("PATH", path),
            ("a.b", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(
        made.notices,
        ["app `web`: its image's variable `c=d` is left out: a program can have no such variable"]
    );
    // What the image or the user says wins.
    for (of_image, of_user, expected) in [
        (Some("image"), None, "image"),
        (Some("image"), Some("user"), "user"),
        (None, Some("user"), "user"),
    ] {
        let env = &mut known.apps[0].root.as_mut().unwrap().config.env;
        *env = of_image
            .map(|value| ("HOSTNAME".into(), value.into()))
            .into_iter()
            .collect();
        pod.apps[0].overrides.env = of_user
            .map(|value| var("HOSTNAME", Some(value)))
            .into_iter()
            .collect();
        let made = plan(&pod, &known).unwrap();
        assert_eq!(launch(&made, "web").env["HOSTNAME"], expected);
    }
    pod.apps[0].overrides.env = vec![var("", Some("x"))];
    assert!(refused(&pod, &known).contains("cannot set the variable ``"));
}
