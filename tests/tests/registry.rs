//! A pod whose image comes from a registry: Debian's `docker-registry` on the loopback interface.

use isopod_tests::registry::Registry;
use isopod_tests::{Bench, Image, Output};

#[test]
fn a_pod_runs_from_a_registry_and_then_without_it() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(dir.path(), None);
    let name = format!("{}/team/busybox:1", registry.host);
    registry.push(&bench.busybox(), "team/busybox:1");

    let state = bench.dir().join("own-state");
    let pod = |reference: &str, pull: &str| {
        let pod = bench.pod().state(&state).flags(["--pull", pull]);
        pod.app(reference).sh("echo hi").run()
    };
    let out = pod(&name, "never");
    assert_eq!((out.status, out.text()), (125, ""), "{}", out.stderr);
    assert_eq!(
        pod(&format!("docker://{name}"), "missing").expect(0).text(),
        "hi\n"
    );
    drop(registry);
    assert_eq!(pod(&name, "never").expect(0).text(), "hi\n");
    let out = pod(&name, "newer").expect(0);
    assert_eq!(out.text(), "hi\n");
    assert!(out.stderr.contains("no registry answers"), "{}", out.stderr);
    let out = pod(&name, "always");
    assert_eq!((out.status, out.text()), (125, ""), "{}", out.stderr);
    assert!(out.stderr.contains("127.0.0.1"), "{}", out.stderr);
}

/// What a pod has links to is used, be it an app's image or a volume's.
#[test]
fn images_that_a_pod_uses_stay() {
    let bench = Bench::new();
    let state = bench.dir().join("own-state");
    let model = bench.image(&Image::scratch().file("weights", 0o644, "42"));
    let isopod = |words: &str| bench.isopod_on(&state, words.split(' '));
    let id = |out: Output| out.expect(0).text().trim().to_owned();
    let app = id(isopod(&format!("image import {}", bench.busybox())));
    let volume = id(isopod(&format!("image import {model}")));
    let pod = bench.pod().subcommand("prepare").state(&state);
    let pod = pod.flags([
        "--name".to_owned(),
        "p".to_owned(),
        "--volume".to_owned(),
        format!("m,kind=image,image={model}"),
    ]);
    let pod = pod.app(&bench.busybox()).mount("m", "/model", "").sh("true");
    let _ = pod.start().wait().expect(0);
    for image in [&app, &volume] {
        let out = isopod(&format!("image rm {image}"));
        assert_eq!(out.status, 125);
        assert!(out.stderr.contains("is used by pod `p`"), "{}", out.stderr);
    }
    assert_eq!(isopod("image gc --all").expect(0).text(), "");
    let _ = isopod("rm p").expect(0);
    let out = isopod("image gc --all").expect(0);
    assert_eq!(out.text().lines().count(), 2, "{}", out.text());
}
