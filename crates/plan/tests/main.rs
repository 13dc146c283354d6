//! What is decided, and how it is written: one program of all files, since each would be linked anew whenever a crate changes.

mod fixture;

mod arriving;
mod attach;
mod containment;
mod file_server;
mod given;
mod golden;
mod lifecycle;
mod limits;
mod network;
mod networks;
mod rkt_conformance;
mod roots;
mod schema;
mod semantics;
mod systemd;
mod writable;

/// A file that is not listed above would be no test.
#[test]
fn each_file_is_part_of_this_program() {
    let listed = include_str!("main.rs");
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|name| *name != "main") {
            assert!(listed.contains(&format!("\nmod {module};\n")), "{module}");
        }
    }
}
