use isopod_plan::layout;

use super::*;

#[test]
fn files_are_whole_or_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut status = Status::starting(std::iter::once(AppName::new("web").unwrap()));
    for durability in [Durability::Durable, Durability::Fleeting] {
        status.exit_status = Some(u8::from(durability == Durability::Durable));
        write(dir.path(), layout::STATUS, &status, durability).unwrap();
        assert_eq!(
            read::<Status>(dir.path(), layout::STATUS).unwrap().as_ref(),
            Some(&status)
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // A write that fails half-way leaves what was there.
    fs::create_dir(dir.path().join(format!(".{}.new", layout::STATUS))).unwrap();
    let mut other = status.clone();
    other.exit_status = None;
    write(dir.path(), layout::STATUS, &other, Durability::Durable).unwrap_err();
    assert_eq!(read::<Status>(dir.path(), layout::STATUS).unwrap(), Some(status));
    assert_eq!(read::<Status>(dir.path(), "none").unwrap(), None);
}

/// The room for the next status is there before it is needed, and is used.
#[test]
fn the_next_status_has_its_room() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut status = Status::starting(std::iter::once(AppName::new("web").unwrap()));
    let reserve = temporary(dir.path(), layout::STATUS);
    for _ in 0..2 {
        write_reserved(dir.path(), layout::STATUS, &status, Durability::Durable).unwrap();
        assert_eq!(
            read::<Status>(dir.path(), layout::STATUS).unwrap().as_ref(),
            Some(&status)
        );
        let kept = fs::metadata(&reserve).unwrap();
        assert!(kept.blocks() * 512 >= RESERVE_BYTES, "{} blocks", kept.blocks());
        status.reason = Some("for a reason that is longer than before".repeat(20));
    }
    release(dir.path(), layout::STATUS);
    assert!(!reserve.exists());
}

/// Whatever the time of day does, and however long the host slept.
#[test]
fn an_age_is_of_the_clock_that_nobody_sets() {
    let mut status = Status::starting(std::iter::empty());
    status.boot_ms = 10_000;
    status.ended_ms = Some(5_000_000);
    let now = |boot_id: &str, boot_ms, wall_ms| Now {
        boot_id: boot_id.to_owned(),
        boot_ms,
        wall_ms,
    };
    let here = status.boot_id.clone();
    for wall_ms in [0, 5_000_000, u64::MAX] {
        assert_eq!(status.age(&now(&here, 13_000, wall_ms)), Duration::from_secs(3));
    }
    // After a reboot there is the time of day, and the boot's own age where that was set back.
    assert_eq!(status.age(&now("0", 2_000, 5_060_000)), Duration::from_secs(60));
    assert_eq!(status.age(&now("0", 2_000, 0)), Duration::from_secs(2));
}

#[test]
fn another_boot_is_a_reason() {
    let mut status = Status::starting(std::iter::empty());
    assert_eq!(status.exit_reason(), "its supervisor was killed");
    status.boot_id = "0".into();
    assert_eq!(status.exit_reason(), "the host was restarted while it ran");
    status.reason = Some("all apps have ended".into());
    assert_eq!(status.exit_reason(), "all apps have ended");
}
