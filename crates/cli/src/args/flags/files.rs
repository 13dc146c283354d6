//! Flags that say which files an app sees.

use isopod_spec::RootfsAccess;
use isopod_spec::flags::{self, VolumeFlag};

use super::app::MountFlag;
use super::{Flag, push};

pub(super) const FLAGS: &[Flag] = &[
    Flag::app(
        "volume",
        "SOURCE:TARGET[:OPTIONS]",
        "Mount a host path; OPTIONS are ro, rw, nosuid, nodev, noexec, private, rslave. Or declare a volume of the pod for \
         `--mount volume=NAME`, before the first image: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL]\
         [,propagation=private|rslave] or NAME,kind=empty[,mode=OCTAL][,uid=N][,gid=N][,size=BYTES]\
         [,medium=memory|disk] or NAME,kind=image,image=IMAGE, read-only",
        |app, text| {
            match flags::read_volume_flag(text) {
                Ok(VolumeFlag::Declared(volume)) => app.declared.push(volume),
                Ok(VolumeFlag::Bind(bind)) => app.mounts.push(MountFlag::Bind(bind)),
                Err(error) => {
                    app.has_unread_volume = true;
                    return Err(error.into());
                }
            }
            Ok(())
        },
    )
    .short('v'),
    Flag::app(
        "mount",
        "volume=NAME,target=PATH",
        "Mount a volume of the pod: volume=NAME,target=PATH[,readOnly][,subPath=PATH][,nosuid][,nodev][,noexec]",
        |app, text| push(&mut app.mounts, flags::read_mount(text).map(MountFlag::Declared)),
    ),
    Flag::app_switch("read-only", "Let the app write to volumes only", |app, on| {
        app.rootfs = match on {
            true => RootfsAccess::ReadOnly,
            false => RootfsAccess::Writable,
        };
    }),
];
