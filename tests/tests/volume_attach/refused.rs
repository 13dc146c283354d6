//! What cannot come, and why.

use isopod_tests::{Bench, Scenarios};

use super::comes_and_goes::served;
use super::{IDLE, attach, attached, isopod, refused, sh, text, volumes};

/// What cannot be is refused, with the reason, and changes nothing.
#[test]
fn what_cannot_come_is_refused() {
    let bench = Bench::new();
    let data = bench.source("data", &[("f", "data\n")]);
    let start = bench.source("start", &[]);
    let pod = bench
        .pod()
        .flags(["-d", "--name", "p"])
        .host("start", &start, "")
        .empty("tmp", "")
        .flags(["--volume", &format!("img,kind=image,image={}", bench.busybox())]);
    let pod = pod.app(&bench.busybox()).with(["--app-name", "a"]);
    let pod = pod
        .mount("start", "/s/start", "")
        .mount("tmp", "/tmp/t", "")
        .mount("img", "/img", "")
        .sh(IDLE);
    let pod = pod
        .app(&bench.busybox())
        .with(["--app-name", "fixed", "--read-only"])
        .sh(IDLE);
    let _ = pod.start().wait().expect(0);
    sh(&bench, "a", "mkdir /made; ln -s /made /app-link");
    let no = |mount: &str, words: &str| {
        let out = attach(&bench, "data", &data, &[mount]);
        refused(&out, words);
        assert_eq!(volumes(&bench), ["start", "img", "tmp"], "{mount}");
    };
    let mut scenarios = Scenarios::default();
    scenarios.run("a target that cannot be", || {
        no(
            "target=/x,app=nobody",
            "error: app `nobody`: the pod has no such app\n",
        );
        no(
            "target=/s/start,app=a",
            "error: app `a` mounts both volume `start` and volume `data` at `/s/start`\n",
        );
        no(
            "target=/s,app=a",
            "error: app `a`, volume `data`: cannot mount at `/s`: it would hide volume `start` at `/s/start`\n",
        );
        no(
            "target=/proc/x,app=a",
            "error: app `a`, volume `data`: cannot mount at `/proc/x`: it is a directory that the guest itself mounts",
        );
        no(
            "target=/etc/passwd,app=a",
            "error: app `a`, volume `data`: cannot mount at `/etc/passwd`: it is a file, and a directory cannot be mounted",
        );
        no(
            "target=/new,app=fixed",
            "error: app `fixed`, volume `data`: cannot mount at `/new`: it does not exist, and the app's root filesystem is",
        );
        no(
            "target=/img/new,app=a",
            "error: app `a`, volume `data`: cannot mount at `/img/new`: it does not exist, and the app may not write to volume `img`",
        );
    });
    scenarios.run("a link that the app made", || {
        // The app made it after its image was looked at.
        no(
            "target=/app-link/x,app=a",
            "error: cannot attach volume `data` to pod `p`\n  caused by: cannot reach `/app-link/x`, on which the volume is to \
             be mounted: a link was made there\n",
        );
    });
    scenarios.run("a source that is not there", || {
        let missing = attach(&bench, "data", &bench.dir().join("nothere"), &["target=/x"]);
        refused(&missing, "error: volume `data`: cannot share `");
    });
    scenarios.run("a name that the pod has", || {
        let again = attach(&bench, "start", &data, &["target=/x,app=a"]);
        refused(&again, "error: volume `start`: the pod has a volume of this name");
    });
    scenarios.run("flags that are wrong", || {
        refused(
            &isopod(
                &bench,
                "volume attach p --volume e,kind=empty --mount volume=e,target=/x,app=a",
            ),
            "error: cannot attach volume `e`: only a volume of kind `host` can be attached to a running pod\nhint: ",
        );
        refused(
            &isopod(
                &bench,
                "volume attach p --volume e,kind=hos --mount volume=e,targe=/x",
            ),
            "error: invalid value `e,kind=hos` of `--volume`\n  caused by: `hos` is not a valid value of `kind`: it \
             must be `host`, \
             `empty` or `image`\nerror: invalid value `volume=e,targe=/x` of `--mount`\n",
        );
    });
    scenarios.run("a volume of the start", || {
        refused(
            &isopod(&bench, "volume detach p start"),
            "error: cannot detach volume `start` from pod `p`\n  caused by: volume `start`: the pod was started with it",
        );
    });
    scenarios.run("a part that fails takes the others along", || {
        // A part that fails takes the others with it.
        let mounts = ["target=/good,app=a", "target=/app-link/x,app=a"];
        refused(
            &attach(&bench, "data", &data, &mounts),
            "error: cannot attach volume `data`",
        );
        assert_eq!(
            sh(&bench, "a", "ls /good 2>&1; grep good /proc/mounts || echo none"),
            "none\n"
        );
        assert_eq!(served(&bench, "virtiofsd"), ["start"]);
    });
    scenarios.run("what can come does, in volumes too", || {
        // And after all that, what can come does, in the volumes too.
        attached(
            &bench,
            "data",
            &data,
            &[
                "target=/s/start/in,app=a",
                "target=/tmp/t/in,app=a",
                "target=/img/tmp,app=a",
                "target=/tmp,app=fixed",
            ],
        );
        assert_eq!(
            sh(&bench, "a", "cat /s/start/in/f /tmp/t/in/f /img/tmp/f"),
            "data\ndata\ndata\n"
        );
        assert_eq!(sh(&bench, "fixed", "cat /tmp/f"), "data\n");
    });
    scenarios.run("a pod that has stopped", || {
        text(&bench, "stop p");
        assert_eq!(
            volumes(&bench),
            ["start", "img", "tmp"],
            "it lasted until the stop"
        );
        refused(
            &attach(&bench, "late", &data, &["target=/x"]),
            "error: pod `p`: it is no longer running",
        );
        text(&bench, "start p");
        assert_eq!(sh(&bench, "a", "ls /s/start/in"), "");
    });
    text(&bench, "rm -f p");
    bench.assert_nothing_left();
}

/// A pod that was started without a share says so, and how it is started.
#[test]
fn a_pod_without_a_share_is_distinguished() {
    let bench = Bench::new();
    let data = bench.source("data", &[]);
    let pod = bench.pod().flags(["-d", "--name", "p"]).app(&bench.busybox());
    let _ = pod.with(["--app-name", "a"]).sh(IDLE).start().wait().expect(0);
    assert_eq!(
        attach(&bench, "data", &data, &["target=/x"]).stderr,
        "error: cannot attach volume `data`: the pod was started without a device for volumes of the host\n\
         hint: start it with a host volume, or with `--transport virtiofs` or `--transport 9p`, which gives it the device\n"
    );
    assert_eq!(
        text(&bench, "volume list p"),
        "VOLUME  SOURCE  ACCESS  SINCE  MOUNTS\n"
    );
    text(&bench, "rm -f p");
    bench.assert_nothing_left();
}
