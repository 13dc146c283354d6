//! Downloads that are cut off, drip, or meet others.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use isopod_image::Image;
use isopod_image::registry::Patience;

use crate::make::layer;
use crate::serve::{Answer, Proxy};
use crate::{World, big, patience};

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
    let rest = |request: &&crate::serve::Request| request.range.is_some();
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
    type Script = Box<dyn Fn(&crate::serve::Request, &str) -> Answer + Send + Sync>;
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
        let reported = message.contains("slower than 1024 bytes a second") || name == "headers";
        assert!(reported && message.contains("mirror"), "{name}: {message}");
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
    assert!(message.contains("was cut off"), "{message}");
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
