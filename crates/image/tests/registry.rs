//! Pulling from a real registry, and from one that goes wrong on the way.

#![allow(clippy::unwrap_used)]

mod make;
mod serve;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use isopod_image::registry::{Patience, Registries, Settings};
use isopod_image::{Image, ImportError, Store};
use isopod_spec::{ImageReference, PullPolicy};
use make::{OciLayout, Tar, chain, layer, named, run, with};
use serde_json::json;
use serve::{Answer, Proxy, Registry};
use tempfile::TempDir;

/// A registry with nothing in it, and a store that knows of it what `settings` say.
struct World {
    dir: TempDir,
    registry: Registry,
    settings: Settings,
}

fn patience() -> Patience {
    Patience {
        attempts: 4,
        pause: Duration::from_millis(10),
        silence: Duration::from_secs(5),
        floor: 1 << 10,
    }
}

impl World {
    fn new() -> Self {
        Self::with("", "")
    }

    fn with(http: &str, sections: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(&dir.path().join("registry"), http, sections);
        let settings = Settings {
            patience: patience(),
            ..Settings::default()
        };
        Self {
            dir,
            registry,
            settings,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    /// Makes an image of these layers and pushes it as `name`.
    fn push(&self, layers: &[Vec<u8>], name: &str) {
        let layout = OciLayout::new(&self.path("oci"));
        layout.index(&[named(layout.image(layers, |_| {}), "x")]);
        self.registry
            .push(&format!("oci:{}:x", layout.dir.display()), name, &[]);
    }

    fn pull(&self, name: &str, pull: PullPolicy) -> Result<Image, ImportError> {
        let reference = ImageReference::parse(name.as_ref()).unwrap();
        let registries = Registries::new(self.settings.clone());
        self.store()
            .obtain(&reference, pull, &registries)
            .map(|(image, _)| image)
    }

    fn fetch(&self, name: &str) -> Image {
        self.pull(name, PullPolicy::Always)
            .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)))
    }

    /// The message, with its causes and its hint.
    fn refused(&self, name: &str) -> String {
        let error = self.pull(name, PullPolicy::Always).unwrap_err();
        format!("{} ({})", chain(&error), error.hint().unwrap_or_default())
    }

    fn conf(&mut self, text: &str) {
        let path = self.path("registries.conf");
        fs::write(&path, text).unwrap();
        self.settings.conf_files = vec![path];
    }

    fn auth(&mut self, host: &str, user: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(user);
        let path = self.path("auth.json");
        fs::write(&path, json!({"auths": {host: {"auth": auth}}}).to_string()).unwrap();
        self.settings.auth_files = vec![path];
    }

    /// The blobs of the store, finished and not.
    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("store/blobs")).into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A layer that does not compress and takes many reads.
fn big(name: &str, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let bytes: Vec<u8> = (0..600_000).map(|_| next()).collect();
    Tar::new().file(name, &bytes).finish()
}

#[test]
fn an_image_comes_over_plain_http_from_loopback_and_layers_come_once() {
    let world = World::new();
    world.push(&[layer("a", "1"), layer("b", "2")], "team/one:1");
    world.push(&[layer("a", "1"), layer("b", "2"), layer("c", "3")], "team/two");
    let proxy = Proxy::start(&world.registry.host, |_, _| Answer::Pass);
    let one = world.fetch(&format!("{}/team/one:1", proxy.host));
    assert_eq!(one.names, [format!("{}/team/one:1", proxy.host)]);
    assert_eq!((one.layers.len(), world.blobs().len()), (2, 2));
    // The config and two layers; then the config alone, which says that all is there; then the config and a layer.
    assert_eq!(proxy.blobs(), 3);
    assert_eq!(world.fetch(&format!("docker://{}/team/one:1", proxy.host)), one);
    assert_eq!(proxy.blobs(), 4);
    world.fetch(&format!("{}/team/two", proxy.host));
    assert_eq!(proxy.blobs(), 6);
    // By its digest it is the same image, with another name.
    let digest = format!("{}/team/one@{}", proxy.host, one.manifest.unwrap());
    assert_eq!(world.fetch(&digest).id, one.id);
    assert_eq!(world.pull(&digest, PullPolicy::Never).unwrap().names.len(), 2);
}

#[test]
fn a_tag_that_moved_leaves_the_old_image_without_a_name() {
    let world = World::new();
    let name = format!("{}/x:1", world.registry.host);
    world.push(&[layer("a", "1")], "x:1");
    let old = world.fetch(&name);
    world.push(&[layer("a", "2")], "x:1");
    assert_eq!(world.pull(&name, PullPolicy::Missing).unwrap().id, old.id);
    let new = world.pull(&name, PullPolicy::Newer).unwrap();
    assert_ne!(new.id, old.id);
    let collected = world.store().collect(false, |_| false).unwrap();
    assert_eq!((collected.images, collected.blobs), (vec![old.id], 1));
    assert_eq!(world.blobs(), [new.layers[0].hex()]);
    assert!(world.store().verify(&new).is_empty());
}

#[test]
fn policies() {
    let mut world = World::new();
    world.push(&[layer("a", "1")], "x:1");
    let name = format!("{}/x:1", world.registry.host);
    let error = world.pull(&name, PullPolicy::Never).unwrap_err();
    assert!(matches!(error, ImportError::NotStored(_)), "{error}");
    let image = world.pull(&name, PullPolicy::Missing).unwrap();
    world.settings.patience.attempts = 1;
    world.registry = Registry::start(&world.path("other"), "", "");
    for pull in [PullPolicy::Never, PullPolicy::Missing, PullPolicy::Newer] {
        assert_eq!(world.pull(&name, pull).unwrap(), image, "{pull:?}");
    }
    assert!(
        world.refused(&name).contains("Connection refused"),
        "{}",
        world.refused(&name)
    );
    // An ID, or its beginning, finds the image too.
    for id in [
        image.id.to_string(),
        image.id.hex(),
        image.id.hex()[..12].to_owned(),
    ] {
        assert_eq!(world.pull(&id, PullPolicy::Never).unwrap(), image, "{id}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let world = World::new();
    let host = &world.registry.host;
    world.push(&[layer("a", "1")], "x:1");
    let message = world.refused(&format!("{host}/x:2"));
    assert!(
        message.starts_with(&format!("registry `{host}` has no `x:2`: MANIFEST_UNKNOWN")),
        "{message}"
    );
    let message = world.refused(&format!("{host}/y@sha256:{}", "0".repeat(64)));
    assert!(message.contains("has no `y@sha256:000"), "{message}");
    assert!(world.store().list().unwrap().is_empty());
}

#[test]
fn user_names_and_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let htpasswd = dir.path().join("htpasswd");
    let line = run("htpasswd", &["-Bbn", "user", "pass:word"]).stdout;
    fs::write(&htpasswd, line).unwrap();
    let auth = format!(
        "auth: {{htpasswd: {{realm: r, path: '{}'}}}}\n",
        htpasswd.display()
    );
    let mut world = World::with("", &auth);
    let layout = OciLayout::new(&world.path("oci"));
    layout.index(&[named(layout.image(&[layer("a", "1")], |_| {}), "x")]);
    let source = format!("oci:{}:x", layout.dir.display());
    world
        .registry
        .push(&source, "x:1", &["--dest-creds=user:pass:word"]);
    let name = format!("{}/x:1", world.registry.host);
    let message = world.refused(&name);
    assert!(
        message.contains("refuses access to `x`") && message.contains("isopod login"),
        "{message}"
    );
    world.auth(&world.registry.host.clone(), "user:wrong");
    let message = world.refused(&name);
    assert!(
        message.contains("refuses access to `x`") && message.contains("do not open it"),
        "{message}"
    );
    world.auth(&format!("{}/x", world.registry.host), "user:pass:word");
    world.fetch(&name);

    // Logged in, which keeps what others wrote; logged out again.
    world.auth("other.example.org", "a:b");
    let file = world.settings.auth_files[0].clone();
    let registries = isopod_image::registry::Registries::new(world.settings.clone());
    let host = world.registry.host.clone();
    let wrong = registries.log_in(&host, "user", "wrong").unwrap_err();
    assert_eq!(wrong.to_string(), format!("cannot log in to `{host}`"));
    assert!(!fs::read_to_string(&file).unwrap().contains(&host));
    assert_eq!(registries.log_in(&host, "user", "pass:word").unwrap(), file);
    assert!(fs::read_to_string(&file).unwrap().contains("other.example.org"));
    world.fetch(&name);
    assert_eq!(registries.log_out(&host).unwrap(), std::slice::from_ref(&file));
    assert!(registries.log_out(&host).unwrap().is_empty());
    assert!(fs::read_to_string(&file).unwrap().contains("other.example.org"));
    assert!(registries.log_in("no registry", "a", "b").is_err());
    // What is not understood is not replaced.
    for text in ["[]", r#"{"auths": []}"#] {
        fs::write(&file, text).unwrap();
        let error = format!("{:?}", registries.log_in(&host, "user", "pass:word").unwrap_err());
        assert!(error.contains(&*file.to_string_lossy()), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn tokens_are_got_where_the_registry_says() {
    let mut world = World::new();
    world.push(&[layer("a", "1")], "x:1");
    let place = Arc::new(std::sync::OnceLock::<String>::new());
    let own = Arc::clone(&place);
    let proxy = Proxy::start(&world.registry.host, move |request, _| {
        let json = || "Content-Type: application/json\r\n".to_owned();
        if let Some(query) = request.path.strip_prefix("/token?") {
            assert!(
                query.contains("service=here") && query.contains("scope=repository%3Ax%3Apull"),
                "{query}"
            );
            return match request.authorization.as_deref() {
                Some("Basic dXNlcjpwYXNz") => {
                    Answer::Say("200 OK", json(), r#"{"access_token":"good"}"#.into())
                }
                _ => Answer::Say(
                    "401 Unauthorized",
                    json(),
                    "{\"errors\":[{\"code\":\"DENIED\"}]}".into(),
                ),
            };
        }
        match request.authorization.as_deref() {
            Some("Bearer good") => Answer::Pass,
            _ => {
                let realm = own.get().unwrap();
                let header = format!(
                    "WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"here\",scope=\"repository:x:pull\"\r\n"
                );
                Answer::Say("401 Unauthorized", header, String::new())
            }
        }
    });
    place.set(proxy.host.clone()).unwrap();
    let name = format!("{}/x:1", proxy.host);
    let message = world.refused(&name);
    assert!(message.contains("refuses access to `x`: DENIED"), "{message}");
    world.auth(&proxy.host, "user:pass");
    world.fetch(&name);
    let tokens = proxy
        .seen()
        .iter()
        .filter(|request| request.path.starts_with("/token"))
        .count();
    // One was refused, one serves the whole image.
    assert_eq!(tokens, 2);
}

/// A certificate for 127.0.0.1 of an authority of our own.
fn certificates(dir: &std::path::Path) {
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (ca_key, ca, key, request, cert) = (
        file("ca.key"),
        file("ca.crt"),
        file("key.pem"),
        file("request"),
        file("cert.pem"),
    );
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca_args = [
        &["req", "-x509"][..],
        &new,
        &["-keyout", &ca_key, "-out", &ca, "-subj", "/CN=test ca"],
    ]
    .concat();
    run("openssl", &ca_args);
    let args = [
        &["req"][..],
        &new,
        &["-keyout", &key, "-out", &request, "-subj", "/CN=registry"],
    ]
    .concat();
    run("openssl", &args);
    let extensions = file("extensions");
    fs::write(&extensions, "subjectAltName=IP:127.0.0.1\n").unwrap();
    run(
        "openssl",
        &[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &extensions,
            "-out",
            &cert,
        ],
    );
}

#[test]
fn a_private_authority_is_trusted_where_its_certificate_says_so() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let tls = format!(
        "  tls: {{certificate: '{}', key: '{}'}}\n",
        cert.display(),
        key.display()
    );
    let mut world = World::with(&tls, "");
    world.push(&[layer("a", "1")], "x:1");
    let name = format!("{}/x:1", world.registry.host);
    let message = world.refused(&name);
    assert!(message.contains("certs.d"), "{message}");
    let certs = world.path("certs.d");
    let own = certs.join(&world.registry.host);
    fs::create_dir_all(&own).unwrap();
    fs::copy(dir.path().join("ca.crt"), own.join("ca.crt")).unwrap();
    world.settings.cert_dirs = vec![world.path("none"), certs];
    world.fetch(&name);
    // Without it, whoever calls the registry insecure trusts anybody.
    world.settings.cert_dirs.clear();
    world.conf(&format!(
        "[[registry]]\nlocation = '{}'\ninsecure = true\n",
        world.registry.host
    ));
    world.fetch(&name);
}

#[test]
fn what_was_tampered_with_is_refused() {
    for what in ["/blobs/", "/manifests/"] {
        let world = World::new();
        world.push(&[layer("a", "1")], "x:1");
        let proxy = Proxy::start(&world.registry.host, move |request, _| {
            // The config is a blob too.
            match request.path.contains(what) {
                true => Answer::Tamper,
                false => Answer::Pass,
            }
        });
        let message = world.refused(&format!("{}/x:1", proxy.host));
        assert!(
            message.contains("gives content with digest `sha256:"),
            "{message}"
        );
        assert!(world.store().list().unwrap().is_empty());
    }
}

#[test]
fn a_layer_that_was_tampered_with_is_refused() {
    let world = World::new();
    world.push(&[big("a", 1)], "x:1");
    let proxy = Proxy::start(&world.registry.host, |_, before| match before {
        // The manifest, once in vain by TLS, and the config.
        0..2 => Answer::Pass,
        _ => Answer::Tamper,
    });
    let message = world.refused(&format!("{}/x:1", proxy.host));
    assert!(
        message.contains("gives content with digest `sha256:"),
        "{message}"
    );
    world.store().collect(false, |_| false).unwrap();
    assert!(world.blobs().is_empty());
    world.fetch(&format!("{}/x:1", world.registry.host));
}

#[test]
fn a_download_that_is_cut_off_goes_on_where_it_was() {
    let world = World::new();
    world.push(&[big("a", 1), big("b", 2)], "x:1");
    let cuts = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::start(&world.registry.host, move |request, _| {
        // More often than a failure that leads to nothing is met with patience.
        match request.is_blob() && cuts.fetch_add(1, Ordering::Relaxed) < 12 {
            true => Answer::Cut(100_000),
            false => Answer::Pass,
        }
    });
    world.fetch(&format!("{}/x:1", proxy.host));
    let rest = |request: &&serve::Request| request.range.is_some();
    assert!(
        proxy.seen().iter().filter(rest).count() >= 5,
        "{:?}",
        proxy.seen()
    );
}

/// A minute of patience, in little.
fn impatient() -> Patience {
    Patience {
        attempts: 2,
        silence: Duration::from_millis(400),
        ..patience()
    }
}

#[test]
fn what_drips_is_given_up_wherever_it_drips() {
    let mut world = World::new();
    world.push(&[big("a", 1)], "x:1");
    world.settings.patience = impatient();
    let long = || "x".repeat(100_000);
    let place = Arc::new(std::sync::OnceLock::<String>::new());
    type Script = Box<dyn Fn(&serve::Request, &str) -> Answer + Send + Sync>;
    let scripts: [(&str, Script); 6] = [
        ("a manifest", Box::new(|_, _| Answer::Drip(10))),
        (
            "a blob",
            Box::new(|request, _| match request.is_blob() {
                true => Answer::Drip(10),
                false => Answer::Pass,
            }),
        ),
        (
            "headers",
            Box::new(move |_, _| Answer::SayDripping("HTTP/1.1 200 OK\r\nX: ".into(), long())),
        ),
        (
            "a redirection",
            Box::new(move |_, host| {
                let head = format!(
                    "HTTP/1.1 307 Moved\r\nLocation: http://{host}/\r\nContent-Length: 100000\r\n\r\n"
                );
                Answer::SayDripping(head, long())
            }),
        ),
        (
            "the frame of a chunk",
            Box::new(move |_, _| {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;".to_owned();
                Answer::SayDripping(head, long())
            }),
        ),
        (
            "a token",
            Box::new(move |request, host| match request.path.starts_with("/token") {
                true => {
                    Answer::SayDripping("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".into(), long())
                }
                false => {
                    let header = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
                    Answer::Say("401 Unauthorized", header, String::new())
                }
            }),
        ),
    ];
    let script = Arc::new(AtomicUsize::new(0));
    let names: Vec<_> = scripts.iter().map(|(name, _)| *name).collect();
    let (own, current) = (Arc::clone(&place), Arc::clone(&script));
    let proxy = Proxy::start(&world.registry.host, move |request, _| {
        scripts[current.load(Ordering::Relaxed)].1(request, own.get().unwrap())
    });
    place.set(proxy.host.clone()).unwrap();
    for (i, name) in names.into_iter().enumerate() {
        script.store(i, Ordering::Relaxed);
        let begin = std::time::Instant::now();
        let message = world.refused(&format!("{}/x:1", proxy.host));
        let told = message.contains("less than 1024 bytes a second") || name == "headers";
        assert!(told && message.contains("mirror"), "{name}: {message}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{name}");
        // Nobody holds the store any more.
        world.store().collect(false, |_| false).unwrap();
    }
}

#[test]
fn a_download_that_begins_to_drip_goes_on_with_another_request() {
    let mut world = World::new();
    world.push(&[big("a", 1)], "x:1");
    world.settings.patience = impatient();
    let blobs = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::start(&world.registry.host, move |request, _| {
        // More often than a failure that leads to nothing is met with patience.
        match request.is_blob() && matches!(blobs.fetch_add(1, Ordering::Relaxed), 1..4) {
            true => Answer::Drip(60_000),
            false => Answer::Pass,
        }
    });
    world.fetch(&format!("{}/x:1", proxy.host));
    let rests = proxy
        .seen()
        .iter()
        .filter(|request| request.range.is_some())
        .count();
    assert_eq!(rests, 3, "{:?}", proxy.seen());
}

#[test]
fn a_later_process_goes_on_with_what_an_earlier_one_has() {
    let mut world = World::new();
    world.push(&[big("a", 1)], "x:1");
    world.settings.patience.attempts = 2;
    let gone = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&gone);
    let proxy = Proxy::start(&world.registry.host, move |request, before| {
        match request.is_blob() && before > 1 {
            true if seen.fetch_add(1, Ordering::Relaxed) == 0 => Answer::Cut(200_000),
            true if seen.load(Ordering::Relaxed) < 5 => Answer::Cut(0),
            _ => Answer::Pass,
        }
    });
    let name = format!("{}/x:1", proxy.host);
    let message = world.refused(&name);
    assert!(message.contains("broke off"), "{message}");
    let part = world.blobs();
    assert!(part.len() == 1 && part[0].starts_with(".part-"), "{part:?}");
    gone.store(5, Ordering::Relaxed);
    world.fetch(&name);
    assert!(
        proxy
            .seen()
            .iter()
            .any(|request| request.range.as_deref() == Some("bytes=200000-"))
    );
    // What a crash turned into something else is noticed, and thrown away.
    let image = world.fetch(&name);
    let blob = world.path("store/blobs").join(image.layers[0].hex());
    let bytes = fs::read(&blob).unwrap();
    world.store().remove(image.id).unwrap();
    fs::remove_file(&blob).unwrap();
    let part = blob.with_file_name(format!(".part-{}", image.layers[0].hex()));
    fs::write(&part, vec![0; bytes.len() / 2]).unwrap();
    world.fetch(&name);
    // So is a damaged layer that was kept.
    world.store().remove(image.id).unwrap();
    fs::write(&blob, vec![0; bytes.len()]).unwrap();
    let image = world.fetch(&name);
    assert!(world.store().verify(&image).is_empty());
}

#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let world = World::new();
    world.push(&[layer("a", "1")], "x:1");
    let proxy = Proxy::start(&world.registry.host, |_, before| match before % 3 {
        0 => Answer::Say(
            "429 Too Many Requests",
            "Retry-After: 0\r\n".into(),
            String::new(),
        ),
        1 => Answer::Say("503 Service Unavailable", String::new(), String::new()),
        _ => Answer::Pass,
    });
    world.fetch(&format!("{}/x:1", proxy.host));
    let busy = Proxy::start(&world.registry.host, |_, _| {
        Answer::Say("503 Service Unavailable", String::new(), "sorry".into())
    });
    let message = world.refused(&format!("{}/x:1", busy.host));
    assert!(message.contains("answers 503: sorry"), "{message}");
    assert!(busy.seen().len() <= 8, "{:?}", busy.seen());
}

#[test]
fn of_several_that_want_an_image_one_downloads_it() {
    let world = World::new();
    world.push(&[big("a", 1), big("b", 2)], "x:1");
    let proxy = Proxy::start(&world.registry.host, |request, _| match request.is_blob() {
        true => Answer::Slow(Duration::from_millis(300)),
        false => Answer::Pass,
    });
    let name = format!("{}/x:1", proxy.host);
    let images: Vec<Image> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| world.fetch(&name))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(images.iter().all(|image| image.id == images[0].id));
    for layer in &images[0].layers {
        let path = format!("/v2/x/blobs/{layer}");
        assert_eq!(
            proxy.seen().iter().filter(|request| request.path == path).count(),
            1
        );
    }
}

#[test]
fn mirrors_come_first_and_the_registry_after_them() {
    let mut world = World::new();
    world.push(&[layer("a", "1")], "cache/x:1");
    let (host, layers) = (world.registry.host.clone(), [layer("a", "2")]);
    let mirror = Proxy::start(&host, |_, _| Answer::Pass);
    world.conf(&format!(
        "[[registry]]\nprefix = 'example.test'\nlocation = '{host}'\n\
         [[registry.mirror]]\nlocation = '127.0.0.1:1'\n[[registry.mirror]]\nlocation = '{}/cache'\n",
        mirror.host
    ));
    let image = world.fetch("example.test/x:1");
    assert_eq!(image.names, ["example.test/x:1"]);
    assert!(mirror.blobs() > 0);
    // What no mirror has, the registry has.
    world.push(&layers, "y:1");
    world.fetch("example.test/y:1");
    world.conf("[[registry]]\nprefix = 'example.test'\nblocked = true\n");
    assert!(world.refused("example.test/x:1").contains("is blocked"));
}

#[test]
fn short_names_are_looked_for_where_registries_conf_says() {
    let mut world = World::new();
    let empty = Registry::start(&world.path("empty"), "", "");
    world.push(&[layer("a", "1")], "web:1");
    world.push(&[layer("a", "2")], "team/tool:latest");
    let host = world.registry.host.clone();
    world.conf(&format!(
        "unqualified-search-registries = ['{}', '{host}']\n[aliases]\n'tool' = '{host}/team/tool'\n",
        empty.host
    ));
    let image = world.fetch("web:1");
    assert_eq!(image.names, [format!("{host}/web:1")]);
    assert_eq!(world.pull("web:1", PullPolicy::Never).unwrap(), image);
    assert_eq!(world.fetch("tool").names, [format!("{host}/team/tool:latest")]);
    let message = world.refused("none:1");
    assert!(
        message.contains("none of") && message.contains(&host) && message.contains(&empty.host),
        "{message}"
    );
}

#[test]
fn of_several_platforms_this_hosts_is_taken() {
    let world = World::new();
    let layout = OciLayout::new(&world.path("oci"));
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let own = isopod_spec::Architecture::HOST.name();
    let other = layout.image(&[layer("other", "1")], |config| {
        config["architecture"] = "s390x".into()
    });
    let mine = layout.image(&[layer("mine", "1")], |_| {});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": make::INDEX,
        "manifests": [with(other, "platform", platform("s390x")), with(mine, "platform", platform(own))],
    });
    let index = layout.blob(make::INDEX, &serde_json::to_vec(&index).unwrap());
    layout.index(&[named(index.clone(), "x")]);
    let source = format!("oci:{}:x", layout.dir.display());
    world.registry.push(&source, "x:1", &["--all"]);
    let image = world.fetch(&format!("{}/x:1", world.registry.host));
    let reader = isopod_image::erofs::Reader::open(&image.rootfs).unwrap();
    assert!(reader.lookup("mine".as_ref()).unwrap().is_some());
    // The index's own digest is a name for it as well.
    let digest = index["digest"].as_str().unwrap();
    assert_eq!(
        world.fetch(&format!("{}/x@{digest}", world.registry.host)).id,
        image.id
    );
    // `dir:` has the whole index too.
    let dir = world.path("dir");
    run(
        "skopeo",
        &[
            "copy",
            "--quiet",
            "--all",
            &source,
            &format!("dir:{}", dir.display()),
        ],
    );
    let reference = ImageReference::parse(format!("dir:{}", dir.display()).as_ref()).unwrap();
    let (other, _) = world
        .store()
        .obtain(&reference, PullPolicy::Missing, &Registries::default())
        .unwrap();
    assert_eq!(other.id, image.id);
}

/// Pushes one image by three manifests: `g` and `h` have its layer as gzip makes it, `z` as zstd does. Gives their digests.
fn push_thrice(world: &World) -> [String; 3] {
    use std::io::Write as _;
    let layout = OciLayout::new(&world.path("oci"));
    let plain = big("f", 7);
    let config = serde_json::to_vec(&make::config(std::slice::from_ref(&plain))).unwrap();
    let config = layout.blob("application/vnd.oci.image.config.v1+json", &config);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = layout.blob(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        &gzip.finish().unwrap(),
    );
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let zstd = layout.blob("application/vnd.oci.image.layer.v1.tar+zstd", &zstd);
    let pushed = [("g", &gzip), ("h", &gzip), ("z", &zstd)].map(|(name, layer)| {
        let manifest = json!({"schemaVersion": 2, "mediaType": make::MANIFEST, "config": config,
            "layers": [layer], "annotations": {"name": name}});
        let manifest = layout.blob(make::MANIFEST, &serde_json::to_vec(&manifest).unwrap());
        (
            named(manifest.clone(), name),
            manifest["digest"].as_str().unwrap().to_owned(),
        )
    });
    layout.index(&pushed.clone().map(|(entry, _)| entry));
    for name in ["g", "h", "z"] {
        let source = format!("oci:{}:{name}", layout.dir.display());
        world.registry.push(&source, &format!("{name}:1"), &[]);
    }
    pushed.map(|(_, digest)| digest)
}

#[test]
fn a_name_has_the_manifest_that_it_came_by() {
    let world = World::new();
    let digests = push_thrice(&world);
    let names = ["g", "h", "z"].map(|name| format!("{}/{name}:1", world.registry.host));
    let store = world.store();
    let fetched = names.each_ref().map(|name| world.fetch(name));
    for ((image, name), digest) in fetched.iter().zip(&names).zip(&digests) {
        assert_eq!(image.id, fetched[0].id);
        assert_eq!(image.manifest.unwrap().to_string(), *digest, "{name}");
        assert_eq!(store.find(None, Some(name)).unwrap().manifest, image.manifest);
        let again = world.pull(name, PullPolicy::Missing).unwrap();
        assert_eq!(again.manifest, image.manifest);
        let document = store.manifest(image).unwrap().unwrap();
        assert_eq!(isopod_image::Digest::of(&document).to_string(), *digest);
    }
    // Of the last the layer was not downloaded, since the image was there.
    assert_eq!(world.blobs().len(), 1);
    // What is written of it is one layer of its root filesystem: another image.
    assert_ne!(store.export(&fetched[2], std::io::sink()).unwrap(), fetched[2].id);
    let archive = world.path("h.tar");
    store
        .export(&fetched[1], fs::File::create(&archive).unwrap())
        .unwrap();
    let place = format!("oci-archive:{}", archive.display());
    let seen = run("skopeo", &["inspect", "--format", "{{.Digest}}", &place]).stdout;
    assert_eq!(String::from_utf8(seen).unwrap().trim(), digests[1]);
    let tagged = run("tar", &["-xOf", archive.to_str().unwrap(), "index.json"]).stdout;
    let tagged = String::from_utf8(tagged).unwrap();
    assert!(
        tagged.contains(&names[1]) && !tagged.contains(&names[0]),
        "{tagged}"
    );

    // What a name needs stays as long as it is one.
    let kept = || fs::read_dir(world.path("store/manifests")).unwrap().count();
    store.collect(false, |_| false).unwrap();
    assert_eq!((kept(), store.verify(&fetched[1])), (3, Vec::new()));
    store.remove_name(&names[2]).unwrap();
    store.collect(false, |_| false).unwrap();
    assert_eq!((kept(), world.blobs().len()), (2, 1));
}

#[test]
fn an_image_from_a_file_gets_the_layers_that_are_there_when_it_is_fetched() {
    let world = World::new();
    push_thrice(&world);
    let store = world.store();
    let source = format!("oci:{}:g", world.path("oci").display());
    let import = || {
        let reference = ImageReference::parse(source.as_ref()).unwrap();
        let obtained = store.obtain(&reference, PullPolicy::Missing, &Registries::default());
        obtained.unwrap().0
    };
    let name = format!("{}/g:1", world.registry.host);
    import();
    let image = world.fetch(&name);
    assert_ne!(store.export(&image, std::io::sink()).unwrap(), image.id);
    let layer = world.path("oci/blobs/sha256");
    let manifest = store.manifest(&import()).unwrap().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let hex = manifest["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    fs::create_dir_all(world.path("store/blobs")).unwrap();
    fs::copy(layer.join(&hex), world.path("store/blobs").join(&hex)).unwrap();
    let image = world.fetch(&name);
    assert_eq!(store.export(&image, std::io::sink()).unwrap(), image.id);
    store.collect(false, |_| false).unwrap();
    let by_id = store.find(Some(&import().id.hex()), None).unwrap();
    store.export(&by_id, std::io::sink()).unwrap();
}

#[test]
fn an_image_is_exported_as_it_came() {
    let world = World::new();
    world.push(&[layer("a", "1"), layer("b", "2")], "x:1");
    let image = world.fetch(&format!("{}/x:1", world.registry.host));
    let archive = world.path("x.tar");
    world
        .store()
        .export(&image, fs::File::create(&archive).unwrap())
        .unwrap();
    let place = format!("oci-archive:{}", archive.display());
    let seen = run("skopeo", &["inspect", "--format", "{{.Digest}}", &place]).stdout;
    assert_eq!(
        String::from_utf8(seen).unwrap().trim(),
        image.manifest.unwrap().to_string()
    );
    let copy = world.path("copy");
    run(
        "skopeo",
        &["copy", "--quiet", &place, &format!("dir:{}", copy.display())],
    );
    let other = Store::open(&world.path("other")).unwrap();
    for source in [place, format!("dir:{}", copy.display())] {
        let reference = ImageReference::parse(source.as_ref()).unwrap();
        let (imported, _) = other
            .obtain(&reference, PullPolicy::Missing, &Registries::default())
            .unwrap();
        assert_eq!((imported.id, imported.manifest), (image.id, image.manifest));
        assert_eq!(imported.rootfs_digest, image.rootfs_digest);
        assert_eq!(imported.names, image.names);
    }
    let mut bytes = fs::read(&image.rootfs).unwrap();
    bytes[1030] ^= 1;
    fs::write(&image.rootfs, bytes).unwrap();
    // The root filesystem is made anew of its layers, unless one of them is damaged as well.
    assert_eq!(world.store().verify(&image).len(), 1);
    let layer = world.path("store/blobs").join(image.layers[1].hex());
    let kept = fs::read(&layer).unwrap();
    fs::write(&layer, "x").unwrap();
    assert!(!world.store().repair(&image).unwrap());
    let damage = world.store().verify(&image);
    assert_eq!(damage.len(), 2, "{damage:?}");
    fs::write(&layer, kept).unwrap();
    assert!(world.store().repair(&image).unwrap());
    let repaired = world.store().find(Some(&image.id.to_string()), None).unwrap();
    assert_eq!((world.store().verify(&repaired), &repaired), (vec![], &image));
}
