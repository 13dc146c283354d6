//! Builds the guest image: a kernel and the part of a root file system that is the same for every pod.
//!
//! Everything comes from the packages of a distribution (kernel, modules, systemd, mount and the libraries that they need), the host's
//! own or one in a directory, of any architecture, and from the agent; nothing is downloaded, and no command is run.
//!
//! ```text
//! sources   where the host keeps what the image is made of
//!    |         kernels   which of the host's kernels is taken
//!    |         kernel    bzImage -> vmlinux, or EFI zboot -> Image: what QEMU starts directly
//!    |         modules   the modules a guest may need, and in which order they load
//!    |         more_modules   ... those that only some pods get, in an archive of their own
//!    |         elf       the shared libraries of systemd and mount
//!    v         initrd    all of it as one list of files, and the few that are written here
//! image     that list -> archive -> DIR/guest/KEY/{vmlinux,initrd.cpio,modules.cpio,guest.json}, cached by its inputs
//! ```
//!
//! What is one pod's own (units, users, the agent's configuration) is not here: it rides in a second archive, which is
//! appended to [`GuestImage::initrd`]; a file in it replaces one of the same name here.

mod archive;
mod build_error;
mod debug_tables;
mod elf;
mod image;
mod initrd;
mod inputs;
mod kernel;
mod kernels;
mod modules;
mod more_modules;
mod sources;

pub use archive::{Archive, ArchiveError, Node};
pub use build_error::BuildError;
pub use elf::ElfError;
pub use image::{DIRECTORY, Ensured, GcError, GuestImage, PassedOver, ensure, gc};
pub use inputs::ReadError;
pub use kernel::KernelError;
pub use modules::{MORE, ModulesError, WANTED, WantedModule};
pub use sources::{FindError, FindOptions, Sources, agent_name, architecture_of};
