//! References: what is read, what is refused and how.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<ImageReference, InvalidReference> {
    ImageReference::parse(OsStr::new(text))
}

#[test]
fn reads_the_three_transports() {
    for (text, transport, path, name) in [
        ("oci:dir", Transport::Oci, "dir", None),
        ("oci:/a/b c:3.20", Transport::Oci, "/a/b c", Some("3.20")),
        (
            "oci:dir:docker.io/library/alpine:3.20",
            Transport::Oci,
            "dir",
            Some("docker.io/library/alpine:3.20"),
        ),
        (
            "oci-archive:./x.tar:a--b",
            Transport::OciArchive,
            "./x.tar",
            Some("a--b"),
        ),
        ("docker-archive:x.tar", Transport::DockerArchive, "x.tar", None),
        ("dir:/a", Transport::Dir, "/a", None),
        (
            "docker-archive:x.tar:busybox",
            Transport::DockerArchive,
            "x.tar",
            Some("busybox:latest"),
        ),
        (
            "docker-archive:x.tar:host:5000/a/b:1",
            Transport::DockerArchive,
            "x.tar",
            Some("host:5000/a/b:1"),
        ),
        (
            "docker-archive:x.tar:host:5000/a/b",
            Transport::DockerArchive,
            "x.tar",
            Some("host:5000/a/b:latest"),
        ),
    ] {
        let expected = LocalReference {
            transport,
            path: path.into(),
            name: name.map(str::to_owned),
        };
        assert_eq!(parse(text), Ok(ImageReference::Local(expected)), "{text}");
    }
}

/// The parts of a name: registry, repository, tag, digest.
fn parts(text: &str) -> (Option<String>, String, Option<String>, Option<String>) {
    match parse(text).unwrap_or_else(|error| panic!("{error}")) {
        ImageReference::Registry(image) => (image.registry, image.repository, image.tag, image.digest),
        other => panic!("{other:?}"),
    }
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The cases are those of docker's `reference` package.
#[test]
fn reads_names_as_docker_and_podman_do() {
    let with_digest = format!("quay.io/a/b@{DIGEST}");
    let with_both = format!("alpine:3@{DIGEST}");
    for (text, registry, repository, tag, digest) in [
        ("alpine", None, "alpine", None, None),
        ("alpine:3.20", None, "alpine", Some("3.20"), None),
        ("team/web", None, "team/web", None, None),
        ("docker", None, "docker", None, None),
        ("docker:24-dind", None, "docker", Some("24-dind"), None),
        ("oci", None, "oci", None, None),
        ("localhost/web", Some("localhost"), "web", None, None),
        (
            "localhost:5000/web:1",
            Some("localhost:5000"),
            "web",
            Some("1"),
            None,
        ),
        (
            "127.0.0.1:5000/a/b/c",
            Some("127.0.0.1:5000"),
            "a/b/c",
            None,
            None,
        ),
        ("[::1]:5000/web", Some("[::1]:5000"), "web", None, None),
        ("Host/web", Some("Host"), "web", None, None),
        (
            "my_registry:5000/web",
            Some("my_registry:5000"),
            "web",
            None,
            None,
        ),
        ("a_b.example.com/web", Some("a_b.example.com"), "web", None, None),
        (
            "example.com/a--b/c__d.e",
            Some("example.com"),
            "a--b/c__d.e",
            None,
            None,
        ),
        (
            "docker.io/alpine",
            Some("docker.io"),
            "library/alpine",
            None,
            None,
        ),
        ("index.docker.io/team/x", Some("docker.io"), "team/x", None, None),
        (
            "docker://alpine:3",
            Some("docker.io"),
            "library/alpine",
            Some("3"),
            None,
        ),
        ("docker://team/web", Some("docker.io"), "team/web", None, None),
        ("docker://quay.io/web", Some("quay.io"), "web", None, None),
        (&with_digest, Some("quay.io"), "a/b", None, Some(DIGEST)),
        (&with_both, None, "alpine", Some("3"), Some(DIGEST)),
        ("host:5000", None, "host", Some("5000"), None),
    ] {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let expected = (owned(registry), repository.to_owned(), owned(tag), owned(digest));
        assert_eq!(parts(text), expected, "{text}");
    }
}

#[test]
fn names_have_one_full_form() {
    let read = |text: &str| match parse(text).unwrap() {
        ImageReference::Registry(image) => image,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        read("docker://alpine").stored_name(),
        "docker.io/library/alpine:latest"
    );
    assert_eq!(
        read("alpine").in_registry("quay.io").stored_name(),
        "quay.io/alpine:latest"
    );
    assert_eq!(read("alpine").in_registry(DOCKER_HUB), read("docker://alpine"));
    let both = read(&format!("quay.io/a:1@{DIGEST}"));
    assert_eq!(both.stored_name(), format!("quay.io/a@{DIGEST}"));
    assert_eq!(both.version(), DIGEST);
    assert_eq!(both.to_string(), format!("quay.io/a:1@{DIGEST}"));
}

#[test]
fn refuses_with_the_reason_and_what_would_be_right() {
    for (text, reason, hint) in [
        (
            "containers-storage:alpine",
            "`containers-storage:` cannot be read",
            "oci:DIR",
        ),
        (
            "docker-daemon:alpine:3",
            "`docker-daemon:` cannot be read",
            "oci:DIR",
        ),
        ("./image", "no transport", "`oci:./image`"),
        ("/a/image.tar", "no transport", "`oci-archive:/a/image.tar`"),
        ("image.tar", "no transport", "`docker://image.tar`"),
        ("Alpine:3", "lower-case letters only", "`alpine:3` would be valid"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.reason.contains(reason), "{text}: {error}");
        assert!(error.hint().unwrap().contains(hint), "{text}: {:?}", error.hint());
    }
    for (text, reason) in [
        ("", "empty"),
        ("docker://", "no repository"),
        ("docker://a//b", "lower-case letters and digits"),
        ("a_", "lower-case letters and digits"),
        ("a___b", "lower-case letters and digits"),
        ("a..b", "lower-case letters and digits"),
        ("a:", "the tag must be"),
        ("a:-x", "the tag must be"),
        ("a@sha256:00", "64 lower-case hexadecimal"),
        ("a@sha512:00", "must be a `sha256:` digest"),
        ("host:99999/a", "`host:99999` is not a registry"),
        ("-x.com/a", "`-x.com` is not a registry"),
        ("[zz]:1/a", "`[zz]:1` is not a registry"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
    let long = format!("a.b/{}", "x".repeat(252));
    assert!(parse(&long).unwrap_err().reason.contains("longer than 255 bytes"));
    assert!(parse(&format!("a:{}", "x".repeat(129))).is_err());
}

#[test]
fn refuses_names_outside_of_their_grammar() {
    for text in [
        "oci:",
        "oci::tag",
        "oci:dir:",
        "oci:dir:-a",
        "oci:dir:a b",
        "oci:dir:a//b",
        "oci:dir:@1",
        "dir:",
        "dir:a:b",
        "docker-archive:x:@0",
        "docker-archive:x:a@sha256:00",
        "docker-archive:x:a:",
        "docker-archive:x:a/:b",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn default_app_names() {
    for (text, name) in [
        ("oci:/images/alpine", Some("alpine")),
        ("oci:/images/alpine:3.20", Some("alpine")),
        ("oci:store:ghcr.io/org/My_App:1.0", Some("my-app")),
        ("oci:store:redis:7", Some("redis")),
        ("oci-archive:web.oci.tar.gz", Some("web")),
        ("oci-archive:nginx-1.27.tar:latest", Some("nginx-1-27")),
        ("docker-archive:saved.tar", Some("saved")),
        ("docker-archive:saved.tar:localhost:5000/team/db:16", Some("db")),
        ("oci:.tar", Some("tar")),
        ("oci:.", None),
        ("oci:/", None),
        ("oci:日本", None),
        ("alpine:3.20", Some("alpine")),
        ("docker://quay.io/org/my_app", Some("my-app")),
    ] {
        let found = parse(text).unwrap().default_app_name();
        assert_eq!(found.as_ref().map(AppName::as_str), name, "{text}");
    }
}

#[test]
fn knows_a_transport_from_a_name() {
    for text in [
        "oci:x",
        "oci-archive:x",
        "docker-archive:x",
        "docker://x",
        "dir:x",
    ] {
        assert!(ImageReference::names_transport(text), "{text}");
    }
    for text in ["example.com/web", "alpine:3.20", "oci", "docker", "docker:24"] {
        assert!(!ImageReference::names_transport(text), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(text in "(oci|oci-archive):[^:\u{0}0-9][^:\u{0}]{0,19}(:[a-z0-9]{1,9}([-._:@+/][a-z0-9]{1,5}){0,3})?") {
        prop_assert_eq!(parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn full_names_are_written_the_same(
        text in "(localhost|[a-z0-9]{1,5}\\.[a-z]{2}|[a-z]{1,4}:[1-9][0-9]{1,3})(/[a-z0-9]{1,5}([-._][a-z0-9]{1,3})?){1,3}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,9})?",
    ) {
        // `localhost/x.tar` is taken for a file.
        prop_assume!(!ARCHIVE_ENDINGS.iter().any(|ending| text.ends_with(ending)));
        prop_assert_eq!(parse(&text).unwrap().to_string(), text.clone());
        prop_assert_eq!(parse(&format!("docker://{text}")).unwrap().to_string(), text);
    }

    #[test]
    fn short_names_are_written_the_same(text in "[a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,2}(:[a-z0-9]{1,9})?") {
        let transport = ImageReference::names_transport(&text);
        prop_assume!(!transport);
        prop_assert_eq!(parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = ImageReference::parse(OsStr::from_bytes(&bytes));
    }
}

/// As with docker, what has a port and a name behind it is a registry's host, also where a transport is called so.
#[test]
fn a_host_named_like_a_transport_is_one() {
    for text in [
        "aci:10/x",
        "oci:5000/team/web:1",
        "dir:443/a",
        "docker-archive:80/x",
    ] {
        let Ok(ImageReference::Registry(image)) = ImageReference::parse(text.as_ref()) else {
            panic!("{text}")
        };
        assert_eq!(image.to_string(), text);
        assert!(!ImageReference::names_transport(text), "{text}");
    }
    for (text, written) in [
        ("oci:./10/x", "oci:./10/x"),
        ("oci:10", "oci:10"),
        ("oci:10/", "oci:./10/"),
        ("dir:100000/x", "dir:./100000/x"),
        ("oci:1a/x", "oci:1a/x"),
    ] {
        let read = ImageReference::parse(text.as_ref());
        let Ok(ImageReference::Local(local)) = read else {
            panic!("{text}: {read:?}")
        };
        assert_eq!(local.to_string(), written);
    }
}
