//! What users see: the command, and pods in VMs. One program of all, since each would be linked anew whenever a crate changes.
//!
//! `cargo nextest run -p isopod-tests apps::` runs those of one file.

mod apps;
mod apps_come;
mod architecture;
mod attach;
mod completion;
mod compose;
mod confinement;
mod containers;
mod copy;
mod cri;
mod devices;
mod docker;
mod doctor;
mod errors;
mod exec;
mod faults;
mod fetch;
mod generate;
mod given;
mod health;
mod held;
mod identity;
mod kernels;
mod kube;
mod lifecycle;
mod limits;
mod manifest;
mod network;
mod network_namespace;
mod networks;
mod networks_change;
mod networks_rootless;
mod nonroot;
mod owners;
mod plan;
mod podman;
mod pods;
mod probes;
mod process;
mod proxies;
mod readmes;
mod registry;
mod roots;
mod supervision;
mod templates;
mod terminal;
mod trees;
mod verification;
mod volume_attach;
mod volumes;
mod writable;

/// A file that is not listed above would be no test.
#[test]
fn each_file_is_part_of_this_program() {
    let listed = include_str!("main.rs");
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let files = std::fs::read_dir(dir).expect("the folder").flatten();
    let names = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned));
    let apart = ["main", "pages"];
    let missing: Vec<_> = names
        .filter(|name| !apart.contains(&&**name) && !listed.contains(&format!("\nmod {name};\n")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
