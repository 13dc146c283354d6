//! KVM or emulation.

use isopod_spec::{Accel, Vm};

use crate::facts::Kvm;
use crate::fault::Fault;
use crate::vm::qemu::Accelerator;

/// Decides between KVM and emulation. A notice says why not KVM, where it was tried.
///
/// # Errors
/// [`Fault::Host`] where KVM was demanded and does not work.
pub fn accelerator(vm: &Vm, kvm: &Kvm, notices: &mut Vec<String>) -> Result<Accelerator, Fault> {
    match (vm.accel, kvm) {
        (Accel::Tcg, _) => Ok(emulation(vm.memory_mib)),
        (Accel::Auto | Accel::Kvm, Kvm::Works) => Ok(Accelerator::Kvm),
        (Accel::Auto, Kvm::Unusable(reason)) => {
            notices.push(format!("the VM is emulated, which is slow: {reason}"));
            Ok(emulation(vm.memory_mib))
        }
        (Accel::Auto, Kvm::NotAsked) => Ok(emulation(vm.memory_mib)),
        (Accel::Kvm, Kvm::Unusable(reason)) => Err(no_kvm(reason)),
        (Accel::Kvm, Kvm::NotAsked) => Err(no_kvm("it was not tried")),
    }
}

/// Emulation, with room for translated code that fits the guest: QEMU's own measure is 1 GiB whatever the guest is, of which
/// a boot alone fills 80 MiB. What does not fit is translated again.
fn emulation(memory_mib: u32) -> Accelerator {
    let tb_size_mib = (memory_mib / 8).clamp(LEAST_TB_SIZE_MIB, MOST_TB_SIZE_MIB);
    Accelerator::Tcg { tb_size_mib }
}

/// As little room for translated code as does not lengthen a boot: with 32 MiB it takes 12 % longer.
const LEAST_TB_SIZE_MIB: u32 = 48;

/// QEMU's own measure.
const MOST_TB_SIZE_MIB: u32 = 1024;

fn no_kvm(reason: &str) -> Fault {
    Fault::Host {
        what: "cannot run with KVM".into(),
        reason: reason.to_owned(),
        hint: "leave `--accel` out, or write `--accel tcg`: the VM is emulated then".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulated_vm_keeps_translated_code_by_the_measure_of_its_memory() {
        let accel = |memory_mib, kvm| {
            let vm = Vm {
                memory_mib,
                ..Vm::default()
            };
            let accel = accelerator(&vm, &kvm, &mut Vec::new());
            accel.map(|accel| accel.to_string())
        };
        for (memory_mib, tb_size) in [
            (64, 48),
            (128, 48),
            (512, 64),
            (2048, 256),
            (4096, 512),
            (65536, 1024),
        ] {
            assert_eq!(
                accel(memory_mib, Kvm::NotAsked),
                Ok(format!("tcg,tb-size={tb_size}"))
            );
        }
        assert_eq!(accel(512, Kvm::Works), Ok("kvm".into()));
    }
}
