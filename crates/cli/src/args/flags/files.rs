//! Flags that say which files an app sees.

use isopod_spec::RootfsAccess;
use isopod_spec::flags::{self, InvalidFlag, VolumeFlag};

use super::{AppDraft, Done, Flag, push};

pub(super) const FLAGS: &[Flag] = &[
    Flag::app(
        "volume",
        "[SOURCE:]TARGET[:OPTIONS]",
        "Mount a path of the host (/srv/data:/data, ./src:/src), a named volume (data:/data), which is kept, or a volume for \
         this app alone (/data); OPTIONS are ro, rw, U (gives the files to the app's user), nocopy, nosuid, nodev, noexec, private, rslave. Or declare a volume of \
         the pod for `--mount volume=NAME`, before the first image: \
         NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL][,propagation=private|rslave] or \
         NAME,kind=empty[,mode=OCTAL][,uid=N][,gid=N][,size=BYTES][,medium=memory|disk] or \
         NAME,kind=image,image=IMAGE, read-only",
        |app, text| mounted(app, flags::read_volume_flag(text)),
    )
    .short('v'),
    Flag::app(
        "mount",
        "type=TYPE,...",
        "Mount a volume: type=bind,source=PATH,target=PATH or type=volume,source=NAME,target=PATH or \
         type=image,source=IMAGE,target=PATH or type=tmpfs,target=PATH[,tmpfs-size=SIZE][,tmpfs-mode=OCTAL], or one that \
         the pod declares: volume=NAME,target=PATH[,subPath=PATH]; each with [,readonly][,nosuid][,nodev][,noexec], those of the host with [,U]",
        |app, text| mounted(app, flags::read_mount(text)),
    ),
    Flag::app(
        "tmpfs",
        "TARGET[:OPTIONS]",
        "Mount an empty volume in memory; OPTIONS are size, mode, uid, gid, ro, exec, suid, dev",
        |app, text| mounted(app, flags::read_tmpfs(text).map(VolumeFlag::Brought)),
    ),
    Flag::app(
        "volumes-from",
        "POD[:ro]",
        "Mount the host volumes and named volumes of another pod, or of an earlier app of this one",
        |app, text| push(&mut app.volumes_from, flags::read_volumes_from(text)),
    ),
    Flag::app_switch("read-only", "Let the app write to volumes only", |app, on| {
        app.rootfs = match on {
            true => RootfsAccess::ReadOnly,
            false => RootfsAccess::Writable,
        };
    }),
];

fn mounted(app: &mut AppDraft, read: Result<VolumeFlag, InvalidFlag>) -> Done {
    app.has_unread_volume |= read.is_err();
    app.mounts.push(read?);
    Ok(())
}
