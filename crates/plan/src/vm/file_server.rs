//! The file server of a pod's host volumes: how virtiofsd is run, and whose files those of the host are in the guest.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::facts::{HostFacts, HostUser, MountNames, Owner, Virtiofsd, VirtiofsdFlavour};
use crate::vm::sharing::{Sharing, Transport};

/// How users and groups of the guest and the host are one another's in host volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// By number: root's pod.
    ByNumber,
    /// Whoever writes in the guest writes as the caller, whose files belong to that user in the guest.
    AllAsCaller(Owner),
    /// By number in a user namespace, in which the caller is this user and his subordinates are the others.
    Mapped(Owner),
    /// The guest's root alone writes as the caller, since nothing here can do better, for this reason.
    RootAsCaller(&'static str),
}

/// Decides whose the caller's files are in the guest. `users` are those of the apps that mount host volumes: where those that are not
/// root are one, it is theirs, since root may do what its files' owner may; where they are several, it is root's.
#[must_use]
pub fn ownership(host: &HostFacts, sharing: &Sharing, users: &[Owner], mapped: Option<Owner>) -> Ownership {
    if host.user == HostUser::Root {
        return Ownership::ByNumber;
    }
    if let Some(owner) = mapped {
        return Ownership::Mapped(owner);
    }
    match &sharing.transport {
        _ if !sharing.is_bound() => {
            Ownership::RootAsCaller("without a user namespace a file's owner is who it is on the host")
        }
        Transport::Virtiofs(daemon) if !daemon.translates_users() => Ownership::RootAsCaller(
            "virtiofsd 1.13 or newer lets others write too, and 9p does (`--transport 9p`)",
        ),
        // In a root filesystem most is root's.
        Transport::Virtiofs(_) | Transport::NineP if !sharing.roots.is_empty() => {
            Ownership::AllAsCaller(Owner { uid: 0, gid: 0 })
        }
        Transport::Virtiofs(_) | Transport::NineP => {
            let mut others = users.iter().filter(|user| user.uid != 0);
            let first = others.next().copied();
            let one = first.filter(|first| others.all(|other| other.uid == first.uid));
            Ownership::AllAsCaller(one.unwrap_or(Owner { uid: 0, gid: 0 }))
        }
    }
}

/// The open files with which a file server of an ordinary user's, which holds a descriptor for each file that the guest knows, does
/// for most directories.
const ENOUGH_OPEN_FILES: u64 = 65_536;

/// A hint where an ordinary user's volumes over virtiofs may hold more files than their server may have open. Root's raises the limit.
#[must_use]
pub fn few_open_files(host: &HostFacts, virtiofsd: &VirtiofsdCommand) -> Option<String> {
    let most = host.open_files.filter(|most| *most < ENOUGH_OPEN_FILES)?;
    (virtiofsd.user != HostUser::Root).then(|| {
        format!(
            "virtiofsd may have {most} files open, one for each that the guest knows: where a volume holds more, raise the hard \
             limit (`ulimit -Hn`, `LimitNOFILE=`), or share over 9p: `--transport 9p`"
        )
    })
}

/// How virtiofsd is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtiofsdCommand {
    /// The program.
    pub daemon: Virtiofsd,
    /// Who runs it.
    pub user: HostUser,
    /// Whose files those of the host are.
    pub ownership: Ownership,
    /// Whether all that is mounted below the volumes has a path that the program can read.
    pub mounts: MountNames,
}

impl VirtiofsdCommand {
    /// The arguments with which it serves `shared` on the socket that its standard input is. The path must be absolute
    /// to be served: the program in C leaves its working directory first.
    #[must_use]
    pub fn argv(&self, shared: &Path) -> Vec<OsString> {
        match self.daemon.flavour {
            VirtiofsdFlavour::C => {
                let mut options = OsString::from("sandbox=chroot,cache=auto,xattr,source=");
                options.push(backslash_commas(shared.as_os_str()));
                vec!["--fd=0".into(), "-f".into(), "-o".into(), options]
            }
            VirtiofsdFlavour::Rust => {
                let sandbox = match self.user {
                    HostUser::Root => "chroot",
                    HostUser::Ordinary { .. } => "none",
                };
                let mut shared_dir = OsString::from("--shared-dir=");
                shared_dir.push(shared);
                let handles = match self.uses_file_handles() && is_plain(shared) {
                    true => ["--inode-file-handles=prefer", "--modcaps=+dac_read_search"].as_slice(),
                    false => ["--inode-file-handles=never"].as_slice(),
                };
                let options = ["--cache=auto", "--xattr", "--announce-submounts"];
                let first = ["--fd=0".into(), shared_dir, format!("--sandbox={sandbox}").into()];
                let options = handles.iter().chain(&options).map(OsString::from);
                first
                    .into_iter()
                    .chain(options)
                    .chain(self.translation())
                    .collect()
            }
        }
    }

    /// Whether it knows files by handles, not by descriptors (open_by_handle_at(2)), for which it must be root. The program (1.14)
    /// opens mount points by the text of mountinfo as it stands there, escaped: with a blank in such a path the volume would fail.
    /// With a path that is no UTF-8 anywhere in mountinfo it does not start.
    fn uses_file_handles(&self) -> bool {
        (self.daemon.flavour, self.user, self.mounts)
            == (VirtiofsdFlavour::Rust, HostUser::Root, MountNames::Plain)
    }

    /// The options that make whoever writes the caller, who is root in the program's user namespace, and show the caller's files as
    /// their owner's.
    fn translation(&self) -> Vec<OsString> {
        let Ownership::AllAsCaller(Owner { uid, gid }) = self.ownership else {
            return Vec::new();
        };
        let of = |kind: &str, id: u32| {
            let everybody = format!("--translate-{kind}=squash-guest:0:0:{}", u32::MAX);
            [everybody, format!("--translate-{kind}=host:0:{id}:1")]
        };
        [of("uid", uid), of("gid", gid)]
            .concat()
            .into_iter()
            .map(OsString::from)
            .collect()
    }
}

/// Whether mountinfo has that path as it is (proc_pid_mountinfo(5)).
fn is_plain(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| !path.contains([' ', '\t', '\n', '\\', '#']))
}

/// libfuse's escape in option lists.
fn backslash_commas(path: &OsStr) -> OsString {
    let escaped = path.as_bytes().iter().flat_map(|byte| match byte {
        b',' | b'\\' => vec![b'\\', *byte],
        byte => vec![*byte],
    });
    OsString::from_vec(escaped.collect())
}
