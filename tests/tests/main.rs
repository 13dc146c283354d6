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

/// A file that the program of its folder does not list would be no test.
#[test]
fn each_file_of_tests_is_part_of_its_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["tests/tests", "crates/plan/tests"] {
        let folder = root.join(folder);
        let listed = std::fs::read_to_string(folder.join("main.rs")).expect("the list of modules");
        for file in std::fs::read_dir(&folder).expect("the folder") {
            let name = file.expect("an entry").file_name().into_string().expect("a name");
            let module = name
                .strip_suffix(".rs")
                .filter(|name| !["main", "pages"].contains(name));
            let is_listed = |module: &str| listed.contains(&format!("\nmod {module};\n"));
            assert!(module.is_none_or(is_listed), "{}/{name}", folder.display());
        }
    }
}
