//! Images by way of proxies, as the environment names them. The registry's name has no address: who asks for it must have been
//! passed on. `0.0.0.0` is the loopback interface by a name for which a proxy is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_tests::registry::{Forward, Registry};
use isopod_tests::{Bench, Image, Output};

/// No resolver knows it (RFC 6761, 6.4).
const NAME: &str = "registry.invalid:5000";

/// `user:p@ss`, as the header has it.
const CREDENTIALS: &str = "Basic dXNlcjpwQHNz";

struct World {
    bench: Bench,
    registry: Registry,
    conf: PathBuf,
}

impl World {
    /// A registry with one image: with TLS by an authority that is trusted for it, or with plain HTTP that is allowed.
    fn new(tls: bool) -> Self {
        let bench = Bench::new();
        let dir = bench.source("registry", &[]);
        let conf = bench.dir().join("registries.conf");
        let registry = match tls {
            false => Registry::start(&dir, None),
            true => {
                certify(&dir);
                Registry::start(&dir, Some((&dir.join("cert.pem"), &dir.join("key.pem"))))
            }
        };
        let own = registry.host.replace("127.0.0.1", "0.0.0.0");
        let mut text = String::new();
        for name in [NAME, &own] {
            if tls {
                let certs = bench.dir().join("home/.config/containers/certs.d").join(name);
                fs::create_dir_all(&certs).expect("a directory");
                fs::copy(dir.join("ca.crt"), certs.join("ca.crt")).expect("a certificate");
            } else {
                text.push_str(&format!("[[registry]]\nlocation = '{name}'\ninsecure = true\n"));
            }
        }
        fs::write(&conf, text).expect("a configuration");
        let layout = bench.dir().join("layout");
        Image::scratch().file("f", 0o644, "data").write(&layout);
        registry.push(&format!("oci:{}:latest", layout.display()), "x:1");
        Self {
            bench,
            registry,
            conf,
        }
    }

    /// Fetches the image of the registry `host` with these variables, into an empty store.
    fn fetch(&self, host: &str, variables: &[(&str, &str)]) -> Output {
        let state = tempfile::tempdir_in(self.bench.dir()).expect("a directory");
        let pod = self.bench.pod().state(state.path());
        let pod = pod.env("CONTAINERS_REGISTRIES_CONF", &self.conf);
        let pod = variables
            .iter()
            .fold(pod, |pod, (name, value)| pod.env(*name, *value));
        pod.other(["image", "fetch", &format!("{host}/x:1")].map(Into::into).into())
    }

    fn own(&self) -> String {
        self.registry.host.replace("127.0.0.1", "0.0.0.0")
    }
}

/// A certificate for the registry's names of an authority of our own.
fn certify(dir: &Path) {
    let script = r#"
        new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        openssl req -x509 $new -keyout ca.key -out ca.crt -subj "/CN=test ca"
        openssl req $new -keyout key.pem -out request -subj /CN=registry
        echo subjectAltName=DNS:registry.invalid,IP:0.0.0.0 >extensions
        openssl x509 -req -in request -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out cert.pem
    "#;
    let out = Command::new("sh").args(["-ec", script]).current_dir(dir).output();
    let out = out.expect("a shell");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn plain_http_goes_by_the_proxy_for_it() {
    let world = World::new(false);
    let http = Forward::start(&world.registry.host, Some(CREDENTIALS));
    let https = Forward::start(&world.registry.host, None);
    let (http_url, https_url) = (
        format!("http://user:p%40ss@{}", http.host),
        format!("http://{}", https.host),
    );
    for [http_name, https_name] in [["http_proxy", "https_proxy"], ["HTTP_PROXY", "HTTPS_PROXY"]] {
        let _ = world
            .fetch(NAME, &[(http_name, &http_url), (https_name, &https_url)])
            .expect(0);
        // An insecure registry is tried with TLS first.
        assert_eq!(https.asked(), [NAME]);
        let asked = http.asked();
        assert!(
            !asked.is_empty() && asked.iter().all(|place| place == NAME),
            "{asked:?}"
        );
    }
}

#[test]
fn tls_goes_through_the_proxy_for_it() {
    let world = World::new(true);
    let proxy = Forward::start(&world.registry.host, Some(CREDENTIALS));
    let url = format!("http://user:p%40ss@{}", proxy.host);
    let bare = format!("user:p%40ss@{}", proxy.host);
    let dead = "http://127.0.0.1:1";
    for variables in [
        &[("https_proxy", &*url), ("http_proxy", dead)][..],
        &[("HTTPS_PROXY", &url)],
        // The lower case counts, and what is empty says nothing.
        &[("https_proxy", &url), ("HTTPS_PROXY", dead)],
        &[("https_proxy", ""), ("HTTPS_PROXY", &url)],
        &[("https_proxy", &bare)],
        &[
            ("https_proxy", &url),
            ("no_proxy", "other.invalid, registry.invalid:5001,10.0.0.0/8"),
        ],
    ] {
        let _ = world.fetch(NAME, variables).expect(0);
        let asked = proxy.asked();
        assert!(
            !asked.is_empty() && asked.iter().all(|place| place == NAME),
            "{variables:?}: {asked:?}"
        );
    }
    let socks = Forward::start(&world.registry.host, None);
    let _ = world
        .fetch(NAME, &[("https_proxy", &format!("socks5h://{}", socks.host))])
        .expect(0);
    assert!(socks.asked().contains(&NAME.to_owned()));
}

#[test]
fn no_proxy_names_what_is_reached_without_one() {
    let world = World::new(true);
    let proxy = Forward::start(&world.registry.host, None);
    let url = format!("http://{}", proxy.host);
    let own = world.own();
    let _ = world.fetch(&own, &[("https_proxy", &url)]).expect(0);
    assert!(proxy.asked().contains(&own));
    for (name, value) in [
        ("no_proxy", "other, 0.0.0.0"),
        ("NO_PROXY", &*own),
        ("no_proxy", "0.0.0.0/32"),
        ("no_proxy", "*"),
    ] {
        let _ = world
            .fetch(&own, &[("https_proxy", &url), (name, value)])
            .expect(0);
        assert_eq!(proxy.asked(), [""; 0], "{name}={value}");
    }
    // The loopback interface needs no such word: plain HTTP, and whatever speaks it here.
    let world = World::new(false);
    let host = &world.registry.host;
    let _ = world
        .fetch(host, &[("https_proxy", &url), ("http_proxy", &url)])
        .expect(0);
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_proxy_that_does_not_help_is_named() {
    let world = World::new(true);
    let refuse = |variables: &[(&str, &str)]| {
        let out = world.fetch(NAME, variables);
        assert_eq!((out.status, out.text()), (125, ""), "{}", out.stderr);
        assert!(
            !out.stderr.contains("p%40ss") && !out.stderr.contains("p@ss"),
            "{}",
            out.stderr
        );
        out.stderr
    };
    let url = "https://registry.invalid:5000/v2/x/manifests/1";
    // Nobody listens at a port that nobody may have.
    let said = refuse(&[("https_proxy", "http://user:p%40ss@127.0.0.1:1")]);
    let words = format!("no answer from `{url}` through the proxy `http://127.0.0.1:1`");
    assert!(
        said.contains(&words) && said.contains("Connection refused"),
        "{said}"
    );
    assert!(
        said.contains("hint: `http_proxy` and `https_proxy` name the proxy"),
        "{said}"
    );

    let said = refuse(&[("https_proxy", "http://proxy.invalid:3128")]);
    assert!(
        said.contains("through the proxy `http://proxy.invalid:3128`"),
        "{said}"
    );

    let proxy = Forward::start(&world.registry.host, Some(CREDENTIALS));
    for user in ["", "user:wrong@"] {
        let said = refuse(&[("https_proxy", &format!("http://{user}{}", proxy.host))]);
        let words = format!("through the proxy `http://{}`", proxy.host);
        assert!(said.contains(&words) && said.contains("407"), "{said}");
        assert!(
            said.contains("hint: the proxy needs a user name and a password"),
            "{said}"
        );
    }

    let said = refuse(&[("https_proxy", "nonsense://:p@ss@")]);
    assert!(said.contains("invalid URL of the proxy for `https:`"), "{said}");
}
