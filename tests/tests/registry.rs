//! A pod whose image comes from a registry: Debian's `docker-registry` on the loopback interface.

use isopod_tests::registry::Registry;
use isopod_tests::{Bench, Image, Output};
use serde_json::Value;

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

/// A lock names what a tag was: it is run from the store, and from the registry by its digest, as long as one has it.
#[test]
fn a_lock_holds_when_the_tag_moves_on() {
    let bench = Bench::new();
    let registry = Registry::start(&bench.source("registry", &[]), None);
    let name = format!("{}/team/x:1", registry.host);
    let push = |data: &str| {
        let image = Image::busybox().file("srv/data", 0o644, data);
        registry.push(&bench.image(&image), "team/x:1");
    };
    let file = bench.dir().join("pod.yaml");
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{{name: a, image: 'docker://{name}', \
         imagePullPolicy: Always, command: ['true']}}]}}}}"
    );
    std::fs::write(&file, text).expect("a pod file");
    let state = |name: &str| bench.dir().join(name);
    let lock = |at: &str| {
        let words = ["pod".into(), "lock".into(), file.clone().into_os_string()];
        let _ = bench.isopod_on(&state(at), words).expect(0);
        let text = std::fs::read_to_string(bench.dir().join("pod.yaml.lock")).expect("a lock");
        let lock: Value = serde_json::from_str(&text).expect("JSON");
        let image = lock["images"]
            .as_object()
            .and_then(|images| images.values().next());
        let image = image.expect("an image").clone();
        let field = |name: &str| image[name].as_str().expect("a digest").to_owned();
        (field("id"), field("manifest"))
    };
    let plan = |at: &str, flags: &[&str]| {
        let pod = bench
            .pod()
            .state(&state(at))
            .flags(["-f".into(), file.clone().into_os_string()]);
        pod.flags(flags).plan(&["--format", "json"])
    };
    let stored = |at: &str| {
        let out = bench
            .isopod_on(&state(at), ["image", "list", "--quiet"])
            .expect(0);
        out.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };

    push("1");
    let (old, manifest) = lock("one");
    let old_alone = std::slice::from_ref(&old);
    assert_eq!(stored("one"), *old_alone);
    push("2");
    // By the tag it is the new one, by the lock the old one, though the registry is asked always.
    let _ = plan("two", &["--locked"]).expect(0);
    assert_eq!(stored("two"), *old_alone);
    let _ = plan("one", &["--locked"]).expect(0);
    assert_eq!(stored("one"), *old_alone);
    let _ = plan("two", &[]).expect(0);
    assert_eq!(stored("two").len(), 2);
    // A pod that is prepared by the lock has the old image, too.
    let pod = bench.pod().subcommand("prepare").state(&state("two"));
    let pod = pod.flags(["-f".into(), file.clone().into_os_string(), "--locked".into()]);
    let _ = pod.flags(["--name", "p"]).start().wait().expect(0);
    let out = bench.isopod_on(&state("two"), ["image", "rm", &old]);
    assert!(
        out.status == 125 && out.stderr.contains("is used by pod `p`"),
        "{}",
        out.stderr
    );

    // The registry's owner has taken it away: whoever has it runs it, nobody else gets another one.
    registry.delete(&format!("team/x@{manifest}"));
    let _ = plan("one", &["--locked"]).expect(0);
    let gone = plan("three", &["--locked"]);
    assert_eq!((gone.status, gone.text()), (125, ""), "{}", gone.stderr);
    let words = format!("registry `{}` has no `team/x@{manifest}`", registry.host);
    assert!(
        gone.stderr.contains(&words) && gone.stderr.contains("which the lock names"),
        "{}",
        gone.stderr
    );
    assert!(gone.stderr.contains("isopod pod lock"), "{}", gone.stderr);
    assert_eq!(stored("three"), [""; 0]);
    let (new, _) = lock("three");
    assert_ne!(new, old);
    let _ = plan("three", &["--locked"]).expect(0);
    let _ = bench.isopod_on(&state("two"), ["rm", "p"]).expect(0);
}
