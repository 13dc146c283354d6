//! Mounts: made for systemd ([`mount`]), of the kernel's own file systems for apps ([`kernel_fs`]), recreated for an app's next life ([`fresh_root`]), of files ([`loop_device`]),
//! looked at ([`mountinfo`], [`mount_check`]), their mount points and their users.

pub(crate) mod early;
pub(crate) mod fresh_root;
pub(crate) mod kernel_fs;
pub(crate) mod laid;
pub(crate) mod loop_device;
pub(crate) mod mount;
pub(crate) mod mount_check;
pub(crate) mod mount_point;
pub(crate) mod mountinfo;
pub(crate) mod users;
