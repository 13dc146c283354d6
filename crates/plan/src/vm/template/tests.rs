use super::*;
use crate::vm::board;

fn device(driver: &'static str, properties: &[(&'static str, &str)]) -> Device {
    let properties = properties.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    Device { driver, properties }
}

fn pod(disks: usize, more: &[Device]) -> Qemu {
    use crate::vm::board;
    use crate::vm::qemu::{Accelerator, Chardev, Serial};
    let disk = |i| device("virtio-blk-pci", &[("drive", &format!("disk{i}"))]);
    let mut devices = vec![
        device(
            "virtio-serial-pci",
            &[("addr", "0x2.0x0"), ("multifunction", "on")],
        ),
        device(
            "virtserialport",
            &[("chardev", "agent"), ("name", "isopod.agent.0")],
        ),
    ];
    devices.extend((0..disks).map(disk));
    devices.extend(more.iter().cloned());
    Qemu {
        architecture: Architecture::Amd64,
        program: "qemu".into(),
        machine: board::board(Architecture::Amd64, Accelerator::Kvm),
        cpu: "host".into(),
        smp: 1,
        firmware: Some(board::QBOOT),
        memory_mib: 512,
        kernel: "/guest/vmlinux".into(),
        initrd: Some("/guest/initrd".into()),
        append: "quiet".into(),
        serial: Serial::Stdout,
        chardevs: ["agent", "share"]
            .map(|id| Chardev {
                id,
                path: format!("{id}.sock").into(),
            })
            .into(),
        blockdevs: Vec::new(),
        fsdevs: Vec::new(),
        netdevs: Vec::new(),
        devices,
        origin: VmOrigin::Booted,
    }
}

fn balloon() -> Device {
    device("virtio-balloon-pci", &[("free-page-reporting", "on")])
}

fn share() -> Device {
    device("vhost-user-fs-pci", &[("chardev", "share"), ("tag", "isopod")])
}

fn added(qemu: &Qemu) -> Vec<serde_json::Value> {
    let VmOrigin::Restored { added, .. } = &qemu.origin else {
        panic!("{:?}", qemu.origin)
    };
    added.iter().map(Device::arguments).collect()
}

/// QEMU takes a state for the very devices that it was saved of, and no other: whatever the pod has.
#[test]
fn a_template_and_what_is_restored_from_it_have_the_same_switches_but_where_memory_and_state_come_from() {
    let pods = [
        pod(0, &[]),
        pod(1, &[balloon()]),
        pod(3, &[share(), balloon()]),
        pod(30, &[share()]),
    ];
    let facts = TemplateFacts::default();
    for pod in &pods {
        let (template, restored) = (template(pod), restored(pod).unwrap());
        assert_eq!(template.devices, restored.devices);
        let [template_argv, restored_argv] = [&template, &restored].map(|qemu| {
            let argv = qemu.argv();
            let pairs = argv.chunks(2).map(|pair| format!("{pair:?}"));
            pairs
                .filter(|pair| {
                    let own = [
                        "-object",
                        "-chardev",
                        "-incoming",
                        "-nodefaults",
                        "-no-reboot",
                        "none",
                    ];
                    !own.iter().any(|word| pair.contains(word))
                })
                .collect::<Vec<_>>()
        });
        assert_eq!(template_argv, restored_argv);
        assert_eq!(key(&template, &facts), key(&super::template(&pods[0]), &facts));
    }
    let argv = format!("{:?}", template(&pods[3]).argv());
    assert!(argv.contains("null,id=agent") && !argv.contains("share.sock") && !argv.contains("agent.sock"));
}

/// `vmgenid` and qboot do not go together.
#[test]
fn a_template_has_the_boards_own_firmware_and_a_pod_that_boots_the_quick_one() {
    let pod = pod(0, &[]);
    assert!(pod.argv().contains(&board::QBOOT.into()));
    for qemu in [template(&pod), restored(&pod).unwrap()] {
        assert!(qemu.devices.iter().any(|device| device.driver == "vmgenid"));
        assert!(!qemu.argv().contains(&"-bios".into()));
    }
}

#[test]
fn another_vm_processor_or_qemu_has_another_template() {
    let facts = TemplateFacts::default();
    let mut keys = vec![key(&template(&pod(0, &[])), &facts)];
    let mut moved = pod(0, &[]);
    moved.kernel = "/elsewhere/guest/vmlinux".into();
    moved.initrd = Some("/elsewhere/guest/initrd".into());
    assert_eq!(key(&template(&moved), &facts), keys[0]);
    let changed: [fn(&mut Qemu); 5] = [
        |qemu| qemu.memory_mib = 1024,
        |qemu| qemu.smp = 2,
        |qemu| qemu.kernel = "/guest/other/vmlinux".into(),
        |qemu| qemu.append.push_str(" x"),
        |qemu| qemu.cpu = "max".into(),
    ];
    keys.extend(changed.map(|change| {
        let mut qemu = pod(0, &[]);
        change(&mut qemu);
        key(&template(&qemu), &facts)
    }));
    let (qemu, cpu) = ("7.2".to_owned(), "another".to_owned());
    let facts = [
        TemplateFacts {
            qemu,
            ..facts.clone()
        },
        TemplateFacts { cpu, ..facts },
    ];
    keys.extend(facts.iter().map(|facts| key(&template(&pod(0, &[])), facts)));
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// Function 0 makes a port's device seen, and disks are named by their order.
#[test]
fn devices_come_to_the_ports_in_their_order_function_0_last() {
    let restored = restored(&pod(9, &[share(), balloon()])).unwrap();
    let places: Vec<String> = added(&restored)
        .iter()
        .map(|device| format!("{}/{}/{}", device["driver"], device["bus"], device["addr"]).replace('"', ""))
        .collect();
    assert_eq!(places.len(), 11);
    assert_eq!(places[0], "virtio-blk-pci/port0/0x0.0x7");
    assert_eq!(places[7], "virtio-blk-pci/port0/0x0.0x0");
    assert_eq!(
        places[8..],
        [
            "virtio-balloon-pci/port1/0x0.0x2",
            "vhost-user-fs-pci/port1/0x0.0x1",
            "virtio-blk-pci/port1/0x0.0x0"
        ]
    );
    assert_eq!(added(&restored)[7]["drive"], "disk0");
    assert_eq!(added(&restored)[7]["multifunction"], true);
}

#[test]
fn memory_is_shared_with_virtiofsd_or_with_other_vms_which_keep_it() {
    let with = |memory_mib, more: &[Device]| {
        let booted = Qemu {
            memory_mib,
            ..pod(1, more)
        };
        let restored = restored(&booted).unwrap();
        let has_balloon = added(&restored)
            .iter()
            .any(|device| device["driver"] == "virtio-balloon-pci");
        (restored.memory().ends_with("share=on"), has_balloon)
    };
    assert_eq!(with(512, &[share(), balloon()]), (true, true));
    assert_eq!(with(512, &[balloon()]), (false, false));
    assert_eq!(with(2048, &[balloon()]), (true, true));
}

#[test]
fn a_start_says_why_it_is_cold_or_warm() {
    let qemu = pod(1, &[]);
    let key = key(&template(&qemu), &TemplateFacts::default());
    let there = TemplateFacts {
        there: [key].into(),
        ..TemplateFacts::default()
    };
    let none = TemplateFacts::default();
    let words = |mode, facts| {
        let start = start(mode, &qemu, facts).unwrap();
        (start.kind, start.template.is_some(), start.reason)
    };
    use StartKind::{Cold, Warm};
    let text = |text: &str| text.to_owned();
    assert_eq!(
        words(StartMode::Auto, &there),
        (Warm, true, text("there is a template of 512 MiB and 1 CPU(s)"))
    );
    assert_eq!(
        words(StartMode::Auto, &none),
        (
            Cold,
            true,
            text("there is no template of 512 MiB and 1 CPU(s) yet: the first start makes one for the next")
        )
    );
    assert_eq!(
        words(StartMode::Warm, &none),
        (
            Warm,
            true,
            text("a template of 512 MiB and 1 CPU(s) is made first")
        )
    );
    assert_eq!(
        words(StartMode::Cold, &there),
        (Cold, false, text("`--start cold`"))
    );
    let otherwise = TemplateFacts {
        otherwise: StartMode::Cold,
        ..there.clone()
    };
    assert_eq!(
        words(StartMode::Auto, &otherwise),
        (Cold, false, text("`ISOPOD_START=cold`"))
    );
    assert_eq!(words(StartMode::Warm, &otherwise).0, Warm);
    let arm = Qemu {
        architecture: Architecture::Arm64,
        ..qemu.clone()
    };
    let of_arm = |mode| super::start(mode, &arm, &there);
    assert_eq!(
        of_arm(StartMode::Auto).unwrap().reason,
        "VMs for arm64 cannot be saved"
    );
    assert!(of_arm(StartMode::Warm).is_err());
    let many = pod(PLACES + 1, &[]);
    let start_many = |mode| start(mode, &many, &there);
    assert_eq!(start_many(StartMode::Auto).unwrap().kind, Cold);
    let fault = start_many(StartMode::Warm).unwrap_err().to_string();
    assert!(fault.contains("more than 32 devices"), "{fault}");
}
