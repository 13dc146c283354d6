//! Profiles: the differences between Isopod's way and rkt's, as data for one planner.

/// How a pod's volumes are brought into the guest and into its apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// How many shares carry the host volumes.
    pub shares: ShareLayout,
    /// Who makes a mount read-only.
    pub read_only: ReadOnlyStrategy,
    /// How a unit says that another needs it.
    pub requirements: Requirements,
    /// What an image's mount point without a volume means.
    pub unbound: Unbound,
    /// `Type=` of a bind mount unit.
    pub bind_type: &'static str,
    /// Whether units state the order of nested mounts themselves; systemd derives it from the paths besides.
    pub nesting: Nesting,
    /// Whether what is mounted below one app's mount appears in others' mounts of the same volume.
    pub propagation: Propagation,
    /// Whether an app's `/dev`, `/proc` and `/sys` are the guest's, with places at which nothing can be mounted; its root
    /// is one, too. rkt mounted anywhere.
    pub has_kernel_places: bool,
}

/// How many shares carry the host volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareLayout {
    /// One, below which the host binds every volume; one for each volume where the host has no mount namespace.
    OnePerPod,
    /// One for each volume.
    OnePerVolume,
}

/// Who makes a mount read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnlyStrategy {
    /// The host, where all mounts of a volume are read-only, and the mount unit in one step (`bind,ro`).
    HostAndMount,
    /// A service that remounts after the mount (rkt's way: the app may run before it).
    RemountService,
}

/// How a unit says that another needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirements {
    /// `UNIT.requires/` links, which hold without `systemctl preset`.
    Links,
    /// `RequiredBy=` in an `[Install]` section (rkt's way).
    InstallSection,
}

/// What an image's mount point without a volume means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// An empty volume of its own, unless the pod refuses them.
    Implicit,
    /// A fault.
    Refused,
}

/// Whether what is mounted below one mount appears in others of the same file system (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It does not: an app's nested volume is that app's alone.
    Private,
    /// It does: systemd makes the guest's root shared, and mounts inherit that (rkt's way).
    Inherited,
}

/// Whether units state the order of nested mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// They do.
    Stated,
    /// It is left to systemd.
    Derived,
}

impl Profile {
    /// Isopod's own.
    pub const DEFAULT: Profile = Profile {
        name: "default",
        shares: ShareLayout::OnePerPod,
        read_only: ReadOnlyStrategy::HostAndMount,
        requirements: Requirements::Links,
        unbound: Unbound::Implicit,
        bind_type: "none",
        nesting: Nesting::Stated,
        propagation: Propagation::Private,
        has_kernel_places: true,
    };

    /// What rkt's KVM flavour wrote (stage1/init/kvm/mount.go, November 2015).
    pub const RKT: Profile = Profile {
        name: "rkt",
        shares: ShareLayout::OnePerVolume,
        read_only: ReadOnlyStrategy::RemountService,
        requirements: Requirements::InstallSection,
        unbound: Unbound::Refused,
        bind_type: "bind",
        nesting: Nesting::Derived,
        propagation: Propagation::Inherited,
        has_kernel_places: false,
    };
}
