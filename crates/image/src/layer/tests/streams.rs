//! Layers as they come: compressed, with another digest, and random ones.

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Reads a whole layer; its size when all digests are right.
fn stream(bytes: &[u8], digest: Option<Digest>, diff_id: Digest, max: u64) -> Result<u64, LayerError> {
    let dir = tempfile::tempdir().unwrap();
    let layer = LayerBlob {
        blob: blob(dir.path(), bytes),
        digest,
        diff_id,
        entries: Entries::All,
    };
    with_stream(
        layer,
        Budget {
            left: max,
            limit: max,
        },
        |_, _| Ok(()),
    )
    .map(|((), bytes)| bytes)
}

#[test]
fn every_compression_is_known_by_its_first_bytes() {
    let tar: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let (first, second) = tar.split_at(400_000);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skippable = [0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    for bytes in [
        tar.clone(),
        gzip(&tar),
        [gzip(first), gzip(second)].concat(),
        zstd(&tar),
        [&skippable[..], &zstd(first), &skippable, &zstd(second)].concat(),
    ] {
        let digest = Digest::of(&bytes);
        assert_eq!(
            stream(&bytes, Some(digest), Digest::of(&tar), 1_000_000).unwrap(),
            1_000_000
        );
        let (max, diff_id) = (999_999, Digest::of(&tar));
        assert!(matches!(
            stream(&bytes, Some(digest), diff_id, max),
            Err(LayerError::Decompress(_))
        ));
        let wrong = Digest::of(b"");
        let error = stream(&bytes, Some(wrong), diff_id, 1_000_000);
        assert!(
            matches!(error, Err(LayerError::Digest { expected, actual }) if (expected, actual) == (wrong, digest))
        );
        assert!(matches!(
            stream(&bytes, None, wrong, 1_000_000),
            Err(LayerError::DiffId { .. })
        ));
    }
    let error = stream(b"BZh91AY", None, Digest::of(b""), 10).unwrap_err();
    assert!(chain(&error).contains("bzip2"), "{}", chain(&error));
    assert!(stream(b"\xfd7zXZ\0nonsense", None, Digest::of(b""), 10).is_err());
}

#[test]
fn a_wrong_digest_is_the_error_whatever_it_led_to() {
    let tar = Tar::new().file("f", &[1; 100_000]).finish();
    let good = gzip(&tar);
    let mut bad = good.clone();
    bad[40] ^= 0xff;
    for bytes in [bad, good[..good.len() - 9].to_vec()] {
        let dir = tempfile::tempdir().unwrap();
        let layer = LayerBlob {
            blob: blob(dir.path(), &bytes),
            digest: Some(Digest::of(&good)),
            diff_id: Digest::of(&tar),
            entries: Entries::All,
        };
        let result = with_stream(
            layer,
            Budget {
                left: u64::MAX,
                limit: u64::MAX,
            },
            |_, stream| {
                let mut reader = TarReader::new(stream);
                while reader.next_entry()?.is_some() {}
                Ok(())
            },
        );
        assert!(matches!(result, Err(LayerError::Digest { .. })));
    }
}

/// One entry of a random layer over few names, so that they meet.
fn random_entry() -> impl Strategy<Value = (u8, String, String)> {
    let path = || {
        proptest::collection::vec(
            prop_oneof![6 => "[abc]", 1 => Just(".".to_owned()), 1 => "\\.wh\\.[abc]", 1 => Just(".wh..wh..opq".to_owned()), 1 => Just("..".to_owned())],
            0..4,
        )
        .prop_map(|parts| parts.join("/"))
    };
    (
        prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5'), Just(b'6')],
        path(),
        path(),
    )
}

proptest! {
    /// No layer breaks the tree: it is merged into an image that reads and checks, or refused.
    #[test]
    fn any_layers_make_an_image_or_are_refused(
        layers in proptest::collection::vec(proptest::collection::vec(random_entry(), 0..12), 1..4)
    ) {
        let layers: Vec<_> = layers
            .iter()
            .map(|entries| {
                let tar = entries.iter().fold(Tar::new(), |tar, (type_flag, name, link)| {
                    let (name, link) = (name.as_bytes(), link.as_bytes());
                    tar.entry(&Head { name, link, type_flag: *type_flag, mode: 0o755, ..Head::default() }, b"")
                });
                tar.finish()
            })
            .collect();
        if let Ok(merged) = merge_with(&layers, &Limits::default()) {
            for path in merged.paths() {
                let name = path.split(" -> ").next().unwrap();
                prop_assert!(!name.contains(".wh."), "{}", path);
            }
        }
    }
}
