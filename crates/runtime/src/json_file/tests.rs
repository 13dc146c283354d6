use serde::Deserialize;

use super::*;

const NAME: &str = "status.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    reason: Option<String>,
}

#[test]
fn files_are_whole_or_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut status = Document { reason: None };
    for durability in [Durability::Durable, Durability::Fleeting] {
        status.reason = Some(format!("{durability:?}"));
        write(dir.path(), NAME, &status, durability).unwrap();
        assert_eq!(
            read::<Document>(dir.path(), NAME).unwrap().as_ref(),
            Some(&status)
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // A write that fails half-way leaves what was there.
    fs::create_dir(dir.path().join(format!(".{}.new", NAME))).unwrap();
    let mut other = status.clone();
    other.reason = None;
    write(dir.path(), NAME, &other, Durability::Durable).unwrap_err();
    assert_eq!(read::<Document>(dir.path(), NAME).unwrap(), Some(status));
    assert_eq!(read::<Document>(dir.path(), "none").unwrap(), None);
}

/// The room for the next status is there before it is needed, and is used.
#[test]
fn the_next_status_has_its_room() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut status = Document { reason: None };
    let reserve = temporary(dir.path(), NAME);
    for _ in 0..2 {
        write_reserved(dir.path(), NAME, &status, Durability::Durable).unwrap();
        assert_eq!(
            read::<Document>(dir.path(), NAME).unwrap().as_ref(),
            Some(&status)
        );
        let kept = fs::metadata(&reserve).unwrap();
        assert!(kept.blocks() * 512 >= RESERVE_BYTES, "{} blocks", kept.blocks());
        status.reason = Some("for a reason that is longer than before".repeat(20));
    }
    release(dir.path(), NAME);
    assert!(!reserve.exists());
}
