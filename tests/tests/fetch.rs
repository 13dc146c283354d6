//! Downloads that end at random moments, that come twice at once, and that gc meets: `isopod image` as processes, on a
//! store that they share, from a registry that takes its time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isopod_tests::faults::eventually;
use isopod_tests::registry::{Front, Registry};
use isopod_tests::{Bench, Image, Output, Random, Running};
use rustix::process::Signal;
use serde_json::Value;

/// The layers of the image, in bytes.
const LAYERS: [usize; 4] = [3 << 20, 1 << 20, 2 << 20, 1 << 20];

/// How often a download is killed.
const KILLS: usize = 20;

/// A registry with one image, and a store.
struct World {
    bench: Bench,
    _registry: Registry,
    front: Front,
    /// What the image is called.
    name: String,
    /// The sizes of its layers, by their digests.
    layers: BTreeMap<String, u64>,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new();
        let dir = bench.source("registry", &[]);
        let registry = Registry::start(&dir, None);
        let mut random = Random(1);
        let layer =
            |(i, bytes): (usize, usize)| Image::scratch().file(&format!("f{i}"), 0o644, random.bytes(bytes));
        let mut layers: Vec<Image> = LAYERS.into_iter().enumerate().map(layer).collect();
        let (layout, top) = (bench.dir().join("layout"), layers.pop().expect("a layer"));
        top.write_above(&layers, &layout);
        registry.push(&format!("oci:{}:latest", layout.display()), "x:1");
        let front = Front::start(&registry);
        let layers = fs::read_dir(layout.join("blobs/sha256"))
            .expect("blobs")
            .map(|blob| {
                let blob = blob.expect("a blob");
                let name = blob.file_name().into_string().expect("a digest");
                (format!("sha256:{name}"), blob.metadata().expect("a size").len())
            });
        Self {
            name: format!("{}/x:1", front.host),
            // The manifest and the config are small.
            layers: layers.filter(|(_, bytes)| *bytes > 1 << 20).collect(),
            bench,
            _registry: registry,
            front,
        }
    }

    fn state(&self) -> PathBuf {
        self.bench.dir().join("own-state")
    }

    fn isopod(&self, words: &[&str]) -> Output {
        self.bench.isopod_on(&self.state(), words)
    }

    fn start(&self, words: &[&str]) -> Running {
        let pod = self.bench.pod().state(&self.state());
        pod.start_other(words.iter().map(Into::into).collect())
    }

    fn start_fetch(&self) -> Running {
        self.start(&["image", "fetch", &self.name])
    }

    /// All that is in the store but locks, which are empty: paths within it, and sizes.
    fn files(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        walk(&self.state(), &mut |path, bytes| {
            let name = path
                .strip_prefix(self.state())
                .expect("a path within")
                .to_string_lossy();
            all.insert(name.into_owned(), bytes);
        });
        all.retain(|name, bytes| !name.starts_with("locks/") || *bytes > 0);
        all
    }

    /// How much of each layer the store has, in bytes.
    fn kept(&self) -> BTreeMap<String, u64> {
        let files = self.files();
        let has = |digest: &String| {
            let hex = digest.trim_start_matches("sha256:");
            let names = [format!("blobs/{hex}"), format!("blobs/.part-{hex}")];
            (
                digest.clone(),
                names
                    .iter()
                    .find_map(|name| files.get(name).copied())
                    .unwrap_or(0),
            )
        };
        self.layers.keys().map(has).collect()
    }

    /// What `kept` lacks is asked for, each layer once and from where it stops, and nothing else.
    fn assert_asked_for_the_rest(&self, kept: &BTreeMap<String, u64>) {
        for (digest, bytes) in &self.layers {
            let seen: Vec<_> = self
                .front
                .requests_of(digest)
                .iter()
                .map(|r| (r.from, r.sent))
                .collect();
            let rest = bytes - kept[digest];
            let expected: &[_] = if rest > 0 { &[(kept[digest], rest)] } else { &[] };
            assert_eq!(seen, expected, "{digest}");
        }
    }

    /// The image is whole; without it nothing is left of it.
    fn assert_whole_and_remove(&self, id: &str) {
        let out = self.isopod(&["image", "verify"]).expect(0);
        assert_eq!(out.text(), format!("{id} ok\n"));
        let hex = id.trim_start_matches("sha256:");
        let files = self.files();
        let mut expected: Vec<_> = self
            .layers
            .keys()
            .map(|digest| digest.replace("sha256:", "blobs/"))
            .collect();
        for name in ["config.json", "image.json", "rootfs.erofs"] {
            expected.push(format!("images/{hex}/{name}"));
        }
        let inspected = self.isopod(&["image", "inspect", id]).expect(0);
        let inspected: serde_json::Value = serde_json::from_str(inspected.text()).expect("JSON");
        let manifest = inspected[0]["Isopod"]["manifest"].as_str().expect("a digest");
        expected.push(manifest.replace("sha256:", "manifests/"));
        expected.push("names.json".into());
        assert_eq!(files.into_keys().collect::<Vec<_>>(), expected);
        let _ = self.isopod(&["image", "rm", &self.name]).expect(0);
        self.assert_gc_leaves_nothing();
    }

    fn assert_gc_leaves_nothing(&self) {
        let _ = self.isopod(&["image", "gc"]).expect(0);
        let mut files = self.files();
        files.remove("names.json");
        assert_eq!(files, BTreeMap::new());
    }

    /// Waits until the client has something of a layer.
    fn wait_for_bytes(&self) {
        eventually("a layer comes", || self.kept().values().any(|bytes| *bytes > 0));
    }
}

fn walk(dir: &Path, found: &mut dyn FnMut(&Path, u64)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&entry.path(), found),
            Ok(metadata) => found(&entry.path(), metadata.len()),
            // It had another name when it was looked at.
            Err(_) => {}
        }
    }
}

fn id(out: Output) -> String {
    out.expect(0).text().trim().to_owned()
}

#[test]
#[expect(clippy::print_stdout, reason = "which moments were drawn, for whoever asks")]
fn a_fetch_that_is_killed_at_any_moment_is_gone_on_with_or_leaves_nothing() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed = std::env::var("ISOPOD_FETCH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(clock.as_secs());
    let world = World::new();
    world.front.slow_down(4 << 20);
    let begun = Instant::now();
    let whole = id(world.start_fetch().wait());
    let life = begun.elapsed();
    world.assert_whole_and_remove(&whole);

    let mut random = Random(seed);
    let mut ends = BTreeMap::<&str, usize>::new();
    for kill in 0..KILLS {
        world.front.forget();
        // Every third time it is the end, when the image is written.
        let part = match kill % 3 {
            0 => 0.8 + random.part() * 0.25,
            _ => random.part(),
        };
        let moment = life.mul_f64(part);
        let fetch = world.start_fetch();
        sleep(moment);
        fetch.signal(Signal::KILL);
        let killed = fetch.wait().status == 1009;
        world.front.forget();
        let context = format!(
            "seed {seed}, kill {kill} after {moment:?} of {life:?}: {:#?}",
            world.files()
        );
        let verified = world.isopod(&["image", "verify"]);
        assert_eq!((verified.status, &*verified.stderr), (0, ""), "{context}");
        let kept = world.kept();
        let complete = kept
            .iter()
            .filter(|(digest, bytes)| **bytes == world.layers[*digest])
            .count();
        let end = match complete {
            _ if !killed
                || world
                    .files()
                    .keys()
                    .any(|name| name.starts_with("images/") && !name.contains(".new")) =>
            {
                "the image was there"
            }
            0 if kept.values().all(|bytes| *bytes == 0) => "nothing was there",
            n if n == LAYERS.len() => "every layer was there",
            _ => "some of it was there",
        };
        *ends.entry(end).or_default() += 1;
        // Every other time, gc comes first: it takes what is not an image's.
        if end != "the image was there" && kill % 2 == 1 {
            world.assert_gc_leaves_nothing();
        }
        let kept = world.kept();
        assert_eq!(
            id(world.isopod(&["image", "fetch", &world.name])),
            whole,
            "{context}"
        );
        world.assert_asked_for_the_rest(&kept);
        world.assert_whole_and_remove(&whole);
    }
    println!("seed {seed}: {ends:?}");
    assert!(
        ends.get("some of it was there") > Some(&(KILLS / 4)),
        "seed {seed}: {ends:?}"
    );
}

#[test]
fn of_two_processes_that_fetch_an_image_one_downloads_it() {
    let world = World::new();
    world.front.slow_down(2 << 20);
    let (one, other) = (world.start_fetch(), world.start_fetch());
    let (one, other) = (id(one.wait()), id(other.wait()));
    assert_eq!(one, other);
    world.assert_asked_for_the_rest(&world.layers.keys().map(|digest| (digest.clone(), 0)).collect());
    world.assert_whole_and_remove(&one);
}

#[test]
fn whoever_waits_for_a_download_that_is_killed_finishes_it() {
    let world = World::new();
    world.front.slow_down(1 << 20);
    let first = world.start_fetch();
    world.wait_for_bytes();
    let before = world.front.requests().len();
    let second = world.start_fetch();
    // The second asks for the manifest, in vain by TLS at first, and for the config; then it waits.
    eventually("the second asks", || world.front.requests().len() >= before + 2);
    sleep(Duration::from_millis(300));
    let of_layers = |world: &World| {
        world
            .layers
            .keys()
            .map(|layer| world.front.requests_of(layer).len())
            .sum::<usize>()
    };
    assert_eq!(of_layers(&world), 3, "{:?}", world.front.requests());
    first.signal(Signal::KILL);
    assert_eq!(first.wait().status, 1009);
    world.front.slow_down(0);
    let whole = id(second.wait());
    let requests = world.front.requests();
    let resumed = requests.iter().filter(|request| request.from > 0).count();
    assert!(resumed > 0 && of_layers(&world) <= 7, "{requests:?}");
    world.assert_whole_and_remove(&whole);
}

#[test]
fn gc_waits_for_a_download_and_takes_nothing_of_it() {
    let world = World::new();
    // Longer than somebody may be kept waiting without a word.
    world.front.slow_down(200 << 10);
    let fetch = world.start_fetch();
    world.wait_for_bytes();
    let mut collectors = vec![
        world.start(&["image", "gc"]),
        world.start(&["image", "gc", "--all"]),
    ];
    sleep(Duration::from_secs(11));
    world.front.slow_down(0);
    let whole = id(fetch.wait());
    let all = collectors.pop().expect("the second").wait().expect(0);
    let some = collectors.pop().expect("the first").wait().expect(0);
    for out in [&some, &all] {
        assert!(
            out.stderr.contains("waiting for another process"),
            "{}",
            out.stderr
        );
    }
    assert_eq!((some.text(), all.text()), ("", &*format!("removed {whole}\n")));
    world.assert_asked_for_the_rest(&world.layers.keys().map(|digest| (digest.clone(), 0)).collect());
    world.assert_gc_leaves_nothing();
}

#[test]
fn an_image_has_every_name_that_it_was_asked_for_by() {
    let world = World::new();
    world.front.slow_down(4 << 20);
    let other = world.name.replace("127.0.0.1", "localhost");
    let (one, two) = (world.start_fetch(), world.start(&["image", "fetch", &other]));
    assert_eq!(id(one.wait()), id(two.wait()));
    let out = world.isopod(&["image", "inspect", &world.name]).expect(0);
    let document: Value = serde_json::from_str(out.text()).expect("JSON");
    assert_eq!(document[0]["RepoTags"], serde_json::json!([world.name, other]));
}
