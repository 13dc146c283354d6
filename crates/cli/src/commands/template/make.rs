//! `isopod template make`, which a pod's first start executes in the background.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::template_maker::{Made, Other, lower_priority, make};
use isopod_spec::{Accel, GuestKernel, KernelChoice, Vm, flags};

use crate::args::invalid_flag;
use crate::failure::Failure;
use crate::output;

/// Make the template for VMs of a size, if there is none; otherwise the first start of such a VM makes it in the
/// background
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct TemplateMake {
    /// The VM's memory
    #[arg(long, value_name = "SIZE", default_value = "2g", value_parser = memory)]
    vm_memory: u32,
    /// The VM's virtual CPUs
    #[arg(long, value_name = "N", default_value = "1", value_parser = cpus)]
    vm_cpus: u32,
    /// KVM or emulation
    #[arg(long, value_name = "ACCEL", default_value = "auto", value_parser = ["auto", "kvm", "tcg"])]
    accel: String,
    /// The guest's kernel, as `isopod run` has it
    #[arg(long, value_name = "FILE|VERSION")]
    kernel: Option<OsString>,
    /// The directory with that kernel's modules
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// The directory with the distribution that the guest is made of
    #[arg(long, value_name = "DIR")]
    guest_root: Option<PathBuf>,
    /// The key that it must have
    #[arg(long, hide = true, value_name = "KEY")]
    key: Option<String>,
    /// Leave the processor to all others, and a template that another process makes to it
    #[arg(long, hide = true)]
    background: bool,
}

fn memory(text: &str) -> Result<u32, String> {
    flags::read_memory_mib(OsStr::new(text)).map_err(invalid_flag)
}

fn cpus(text: &str) -> Result<u32, String> {
    flags::read_cpus(OsStr::new(text)).map_err(invalid_flag)
}

impl TemplateMake {
    /// Makes it, and prints its key.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let other = match self.background {
            true => {
                lower_priority();
                Other::Left
            }
            false => Other::Awaited,
        };
        let vm = Vm {
            memory_mib: self.vm_memory,
            cpus: self.vm_cpus,
            accel: match self.accel.as_str() {
                "kvm" => Accel::Kvm,
                "tcg" => Accel::Tcg,
                _ => Accel::Auto,
            },
            kernel: GuestKernel {
                kernel: self.kernel.as_deref().and_then(KernelChoice::read),
                modules: self.modules.clone(),
                root: self.guest_root.clone(),
            },
            ..Vm::default()
        };
        // One thread: the processes that it starts end with it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let made = runtime.block_on(make(settings, &vm, other, self.key.as_deref()))?;
        // Nothing that reads or writes a pipe of a process that has ended is waited for.
        runtime.shutdown_background();
        match made {
            Made::New(key, time) => {
                tracing::info!("made template `{key}` in {:.1} s", time.as_secs_f32());
                output::data(&format!("{key}\n"));
            }
            Made::There(key) => output::data(&format!("{key}\n")),
            Made::Elsewhere(key) => tracing::info!("another process makes template `{key}`"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
