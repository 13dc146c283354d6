//! Credentials, certificates, and what was tampered with.

use std::fs;
use std::sync::Arc;

use crate::make::{OciLayout, layer, named, run};
use crate::serve::{Answer, Proxy};
use crate::{World, big};

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
        message.contains("refuses access to `x`") && message.contains("do not give access to it"),
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
        assert!(message.contains("sent content with digest `sha256:"), "{message}");
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
    assert!(message.contains("sent content with digest `sha256:"), "{message}");
    world.store().collect(false, |_| false).unwrap();
    assert!(world.blobs().is_empty());
    world.fetch(&format!("{}/x:1", world.registry.host));
}
