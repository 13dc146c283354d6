//! Lines that make no pod, and what is said of them.

use super::*;

#[test]
fn flags_that_are_out_of_place() {
    for (line, fault) in [
        (
            "run oci:a --- --accel tcg oci:b",
            "`--accel` belongs to the whole pod, but stands after `---` (write it before the first image)",
        ),
        (
            "run oci:a --- -p 80:80 oci:b",
            "`--publish` belongs to the whole pod, but stands after `---` (write it before the first image)",
        ),
        (
            "run oci:a --- --name b oci:b",
            "`--name` belongs to the whole pod, but stands after `---` (name the pod before the first image; an app's \
             name is `--app-name`)",
        ),
        (
            "run oci:a --- --volume d,kind=empty --mount volume=d,target=/d oci:b",
            "volume `d` belongs to the whole pod, but is declared after `---` (write it before the first image)",
        ),
        (
            "run oci:a --- --mont x oci:b",
            "unknown flag `--mont` (did you mean `--mount`?)",
        ),
        ("run oci:a --- -x oci:b", "unknown flag `-x`"),
        (
            "run --detach-keys ctrl-1 oci:a",
            "`ctrl-1` is not a detach key: a key is a character, or `ctrl-` and a letter or one of `@[\\]^_` (write \
             `ctrl-p,ctrl-q`, with commas between the keys, or nothing to have no such keys)",
        ),
        (
            "run --network host oci:a",
            "invalid value `host` of `--network`: unknown network `host` (a pod has the host user's network (`user`), networks with \
             names (`isopod network create`), that of a namespace (`ns:PATH`) or none (`none`): forward the host's ports to it with `-p`)",
        ),
        (
            "run --ip 10.90.0.7 oci:a",
            "`--ip` needs a network with a name (name it: `--network NAME`, after `isopod network create NAME`)",
        ),
        (
            "run --network a --network b --mac-address 02:00:00:00:00:01 oci:a",
            "`--mac-address` does not say which of the pod's networks it is for (write it after the network's name: \
             `--network NAME,ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS`)",
        ),
        (
            "run --network a --network none oci:a",
            "a pod in networks with names cannot have another network (leave one of them out)",
        ),
        (
            "run --no-healthcheck --health-cmd x oci:a",
            "`--no-healthcheck` cannot be used with another flag of the health check (leave one of them out)",
        ),
    ] {
        assert_eq!(faults(line), [fault], "{line}");
    }
    let text = usage("run --memry 1g oci:a");
    assert!(text.contains("--memory"), "{text}");
}

#[test]
fn missing_images() {
    for (line, place) in [
        ("run", "to run"),
        ("run --memory 1g", "to run"),
        ("run --", "to run"),
        ("run --- oci:a", "to run"),
        ("run oci:a ---", "after `---`"),
        ("run oci:a --- --env A=b", "after `---`"),
    ] {
        assert!(
            faults(line)[0].starts_with(&format!("there is no image {place}")),
            "{line}"
        );
    }
}

#[test]
fn all_faults_at_once() {
    let line = "run --vm-memory 5 --vm-cpus 1.5 --volume D,kind=empty --mount type=bind,target=/a --env =x ./alpine \
                --- --cap-add FOO -v ~/data:/d --user a:b --group c oci:b --- --mount volume=gone,target=/g oci:c --- oci:c";
    let expected = [
        "invalid value `5` of `--vm-memory`: it is less than 160 MiB, with which no guest starts (a number without a unit \
         is bytes; write `512m` for 512 MiB)",
        "invalid value `1.5` of `--vm-cpus`: it is a fraction (the guest has whole virtual CPUs: write `1` or `2`)",
        "invalid value `D,kind=empty` of `--volume`: invalid name `D`: only lower-case letters, digits and `-` are \
         allowed (`d` would be valid)",
        "invalid value `type=bind,target=/a` of `--mount`: key `source` is missing",
        "invalid value `=x` of `--env`: the variable has no name",
        "invalid image reference `./alpine`: it names no transport (`oci:./alpine` reads that directory)",
        "invalid value `FOO` of `--cap-add`: unknown capability `FOO` (capabilities(7) lists them)",
        "invalid value `~/data:/d` of `--volume`: its source begins with `~`, which no shell has replaced (write `$HOME` in its \
         place)",
        "image `oci:b` has a group both in `--user` and in `--group` (give it once)",
        "two apps are named `c` (name one of them differently: `--app-name NAME`, or `name` in a file)",
    ];
    assert_eq!(faults(line), expected);
}

#[test]
fn rules_between_the_parts() {
    for (line, fault) in [
        (
            "run --mount volume=gone,target=/g oci:a",
            "app `a` mounts volume `gone` at `/g`, but the pod has no volume of that name (declare it before the \
             first image: `--volume gone,kind=...`)",
        ),
        (
            "run --volume data,kind=empty --mount volume=dta,target=/g oci:a",
            "app `a` mounts volume `dta` at `/g`, but the pod has no volume of that name (did you mean `data`?)",
        ),
        (
            "run --volume d,kind=empty --volume d,kind=empty oci:a",
            "two volumes are named `d` (name one of them differently)",
        ),
        (
            "run oci:.",
            "no app name can be made from image `oci:.` (name the app with `--app-name NAME`)",
        ),
    ] {
        assert_eq!(faults(line), [fault], "{line}");
    }
    assert_eq!(pod("run --app-name a oci:.").apps[0].name.as_str(), "a");
}

#[test]
fn flags_that_clap_refuses() {
    assert_eq!(
        faults("run oci:a --- --app-name"),
        ["flags after `---`: a value is required for `--app-name <NAME>` but none was supplied"]
    );
    assert!(usage("run --accel hvf oci:a").contains("[possible values: auto, kvm, tcg]"));
    assert!(faults("run --stop-timeout -1 oci:a")[0].contains("--stop-timeout"));
    assert!(usage("rum oci:a").contains("run"));
}
