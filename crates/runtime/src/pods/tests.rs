//! Directories of pods, with real locks.

use std::os::unix::fs::PermissionsExt;

use super::files::{Keep, VERSION};
use super::*;
use crate::events::{Event, EventKind};
use crate::json_file::Durability;

fn record(uuid: &str, name: Option<&str>, keep: Keep) -> PodRecord {
    PodRecord {
        version: VERSION,
        uuid: uuid.into(),
        name: name.map(|name| PodName::new(name).unwrap()),
        created_ms: clock::now_ms(),
        keep,
        stdin: files::Stdin::Empty,
        guest: String::new(),
        ports: Vec::new(),
        on_failure: isopod_spec::FailurePolicy::Continue,
        hostname: "pod".into(),
        network: None,
        networks: None,
        vhost_net: false,
        held: false,
        writable: true,
        slice: false,
        share: super::volumes::ShareRecord::None,
        owner: super::volumes::OwnerRecord::ByNumber,
        volumes: Vec::new(),
        images: Vec::new(),
        systemd_version: 0,
        apps: Vec::new(),
        qemu: Vec::new(),
        template: None,
        virtiofsd: None,
        opened: None,
        passt: None,
        netns: None,
        stop_timeout_ms: 0,
        deadline_ms: None,
        boot_timeout_ms: 0,
        silent_kill_ms: None,
    }
}

pub(super) fn prepared(pods: &Pods, name: Option<&str>, keep: Keep) -> String {
    let mut claim = pods.create().unwrap();
    let uuid = claim.uuid().to_owned();
    json_file::write(
        claim.path(),
        layout::RECORD,
        &record(&uuid, name, keep),
        Durability::Fleeting,
    )
    .unwrap();
    if let Some(name) = name {
        pods.name(&uuid, &PodName::new(name).unwrap()).unwrap();
    }
    claim.publish().unwrap();
    uuid
}

pub(super) fn fixture() -> (tempfile::TempDir, Pods) {
    let dir = tempfile::tempdir().unwrap();
    let pods = Pods::open(dir.path()).unwrap();
    (dir, pods)
}

#[test]
fn a_life() {
    let (_dir, pods) = fixture();
    let uuid = prepared(&pods, Some("web"), Keep::UntilRemoved);
    let state = || pods.entry(&uuid).unwrap().state;
    assert_eq!(state(), PodState::Prepared);
    let mut claim = pods.claim(&uuid, Verb::Start).unwrap();
    assert_eq!(state(), PodState::Prepared);
    claim.begin().unwrap();
    assert_eq!(state(), PodState::Starting);
    let mode = claim.path().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let error = pods.claim(&uuid, Verb::Start).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot start pod `{uuid}`: it is already running")
    );
    let error = pods.claim(&uuid, Verb::Remove).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot remove pod `{uuid}`: it runs"));
    drop(claim);
    assert_eq!(state(), PodState::Exited);
    pods.claim(&uuid, Verb::Remove).unwrap().remove().unwrap();
    assert!(pods.entry(&uuid).is_none());
    assert!(pods.list().unwrap().is_empty());
    assert!(matches!(pods.claim(&uuid, Verb::Start), Err(ClaimError::Gone(_))));
}

#[test]
fn pods_are_found_by_name_and_prefix() {
    let (_dir, pods) = fixture();
    let web = prepared(&pods, Some("web"), Keep::UntilRemoved);
    let other = prepared(&pods, None, Keep::UntilRemoved);
    assert_eq!(pods.find("web").unwrap().uuid, web);
    assert_eq!(pods.find(&other).unwrap().uuid, other);
    let common = web.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(pods.find(&web[..=common]).unwrap().uuid, web);
    if common > 0 {
        assert!(matches!(
            pods.find(&web[..common]),
            Err(FindError::Several { .. })
        ));
    }
    for query in ["", "nobody", "../started", "\n"] {
        assert!(matches!(pods.find(query), Err(FindError::None(_))), "{query:?}");
    }
    let taken = pods.name(&other, &PodName::new("web").unwrap()).unwrap_err();
    assert_eq!(
        taken.to_string(),
        format!("pod `{web}` already has the name `web`")
    );
    // A pod's name is free when the pod is gone, in whatever way it went.
    fs::remove_dir_all(pods.path(Place::Prepared, &web)).unwrap();
    pods.name(&other, &PodName::new("web").unwrap()).unwrap();
    assert_eq!(pods.find("web").unwrap().uuid, other);
}

#[test]
fn leftovers_are_swept_and_nothing_else() {
    let (_dir, pods) = fixture();
    let kept = prepared(&pods, None, Keep::UntilRemoved);
    let exited = prepared(&pods, None, Keep::UntilRemoved);
    pods.claim(&exited, Verb::Start).unwrap().begin().unwrap();
    let to_run = prepared(&pods, None, Keep::UntilRun);
    let has_run = prepared(&pods, None, Keep::UntilRun);
    let foreground = prepared(&pods, Some("fg"), Keep::UntilEnded);
    let mut ran = pods.claim(&has_run, Verb::Start).unwrap();
    ran.begin().unwrap();
    let mut running = pods.claim(&foreground, Verb::Start).unwrap();
    running.begin().unwrap();
    let half = pods.create().unwrap();
    assert!(pods.sweep().is_empty());
    drop((running, half, ran));
    assert_eq!(pods.sweep().len(), 3);
    let left: Vec<String> = pods.list().unwrap().into_iter().map(|pod| pod.uuid).collect();
    assert_eq!(left.len(), 3);
    assert!([&kept, &exited, &to_run].iter().all(|uuid| left.contains(uuid)));
    assert!(matches!(pods.find("fg"), Err(FindError::None(_))));
}

#[test]
fn a_pod_of_another_version_is_refused() {
    let (_dir, pods) = fixture();
    let claim = pods.create().unwrap();
    let mut other = record(claim.uuid(), None, Keep::UntilRemoved);
    json_file::write(claim.path(), layout::RECORD, &other, Durability::Fleeting).unwrap();
    assert_eq!(claim.record().unwrap(), other);
    other.version += 1;
    json_file::write(claim.path(), layout::RECORD, &other, Durability::Fleeting).unwrap();
    assert!(claim.record().is_err());
}

#[test]
fn one_of_many_starters_wins() {
    let (_dir, pods) = fixture();
    let uuid = prepared(&pods, None, Keep::UntilRemoved);
    let start = || {
        let mut claim = pods.claim(&uuid, Verb::Start).ok()?;
        claim.begin().ok()?;
        Some(claim)
    };
    let claims: Vec<Claim> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        let looks = scope.spawn(|| (0..200).for_each(|_| drop(pods.list())));
        looks.join().unwrap();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(claims.len(), 1);
    assert_eq!(pods.entry(&uuid).unwrap().state, PodState::Starting);
}

/// A life begins without the last word of the one before.
#[test]
fn another_start_forgets_what_was() {
    let (_dir, pods) = fixture();
    let uuid = prepared(&pods, None, Keep::UntilRemoved);
    let mut claim = pods.claim(&uuid, Verb::Start).unwrap();
    claim.begin().unwrap();
    let mut status = Status::starting(std::iter::empty());
    (status.phase, status.ready_ms) = (state::Phase::Exited, Some(1));
    json_file::write(claim.path(), layout::STATUS, &status, Durability::Fleeting).unwrap();
    drop(claim);
    assert_eq!(pods.entry(&uuid).unwrap().state, PodState::Exited);
    let mut claim = pods.claim(&uuid, Verb::Start).unwrap();
    claim.begin().unwrap();
    let seen = pods.entry(&uuid).unwrap();
    assert_eq!((seen.state, seen.status), (PodState::Starting, None));
    // Killed right here.
    drop(claim);
    let seen = pods.entry(&uuid).unwrap();
    assert_eq!((seen.state, seen.status), (PodState::Exited, None));
}

/// Killed between the removal of a pod and that of its name, where the record could not be read any more.
#[test]
fn names_of_nobody_are_swept() {
    let (dir, pods) = fixture();
    let lives = prepared(&pods, Some("lives"), Keep::UntilRemoved);
    for name in ["gone", "garbage"] {
        symlink(
            "00000000-0000-0000-0000-000000000000",
            dir.path().join("pods/names").join(name),
        )
        .unwrap();
    }
    pods.sweep();
    let names: Vec<_> = fs::read_dir(dir.path().join("pods/names")).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(pods.find("lives").unwrap().uuid, lives);
}

/// Pods that others are at are not waited for, however many there are.
#[test]
fn a_sweep_waits_for_nobody() {
    let (_dir, pods) = fixture();
    let uuids: Vec<String> = (0..10).map(|_| prepared(&pods, None, Keep::UntilEnded)).collect();
    let claims: Vec<Claim> = uuids
        .iter()
        .map(|uuid| pods.claim(uuid, Verb::Start).unwrap())
        .collect();
    let begun = Instant::now();
    assert!(pods.sweep().is_empty());
    assert!(begun.elapsed() < 5 * LOOK, "{:?}", begun.elapsed());
    drop(claims);
    assert_eq!(pods.sweep().len(), 10);
}

/// A pod whose supervisor was killed: who removes it reports its end.
#[test]
fn every_end_is_reported() {
    let (_dir, pods) = fixture();
    let uuid = prepared(&pods, Some("web"), Keep::UntilRemoved);
    let mut claim = pods.claim(&uuid, Verb::Start).unwrap();
    claim.begin().unwrap();
    let status = Status::starting(std::iter::empty());
    json_file::write(claim.path(), layout::STATUS, &status, Durability::Fleeting).unwrap();
    drop(claim);
    pods.claim(&uuid, Verb::Remove).unwrap().remove().unwrap();
    // One that was half-written is nobody's business.
    pods.create().unwrap().remove().unwrap();

    let mut reader = pods.events().read().unwrap();
    let mut next = || reader.next_event().unwrap();
    let of = |event: &Event| {
        (
            event.kind,
            event.uuid == uuid,
            event.name.as_ref().map(ToString::to_string),
        )
    };
    let web = || Some("web".to_owned());
    assert_eq!(next().as_ref().map(of), Some((EventKind::Prepared, true, web())));
    let exited = next().unwrap();
    assert_eq!(of(&exited), (EventKind::Exited, true, web()));
    assert_eq!(
        (exited.exit_status, exited.reason.as_deref()),
        (Some(125), Some("its supervisor was killed"))
    );
    assert_eq!(next().as_ref().map(of), Some((EventKind::Removed, true, web())));
    assert_eq!(next(), None);
}
