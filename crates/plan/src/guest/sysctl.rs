//! The parameters of the guest's kernel: our own, and on top those that the pod sets.

use isopod_contract::config::Sysctl;
use isopod_spec::PodSpec;
use isopod_spec::words::shown;

use crate::fault::Fault;
use crate::vm::network;

/// What the guest's kernel is set to. Whether it knows a name and takes a value, only it can say: no app starts where it
/// does not.
///
/// # Errors
/// Every name that can be none, and every value.
pub(crate) fn sysctls(spec: &PodSpec) -> Result<Vec<Sysctl>, Vec<Fault>> {
    let mut sysctls = network::sysctls();
    let mut faults = Vec::new();
    for sysctl in &spec.sysctls {
        let (name, value) = (&sysctl.name, &sysctl.value);
        let fault = if !is_name(name) {
            "it is not a name of one, such as `net.core.somaxconn`"
        } else if value.is_empty() || value.contains(['\0', '\n']) {
            "its value must be a line of text"
        } else {
            sysctls.retain(|other| other.name != *name);
            sysctls.push(Sysctl {
                name: name.clone(),
                value: value.clone(),
                required: true,
            });
            continue;
        };
        faults.push(Fault::Host {
            what: format!("cannot set the kernel's parameter `{}`", shown(name)),
            reason: fault.to_owned(),
            hint: "`sysctl -a` lists them; names have dots between their parts".to_owned(),
        });
    }
    if faults.is_empty() {
        Ok(sysctls)
    } else {
        Err(faults)
    }
}

/// Names become paths below `/proc/sys`: parts of letters, digits, `_` and `-`.
fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.contains('.')
        && name
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(known))
}

#[cfg(test)]
mod tests {
    use isopod_spec::Sysctl as Asked;

    use super::*;

    #[test]
    fn the_pods_own_win_and_cannot_leave_their_directory() {
        let mut spec = PodSpec::new(Vec::new());
        let ask = |name: &str, value: &str| Asked {
            name: name.into(),
            value: value.into(),
        };
        let ours = network::sysctls();
        spec.sysctls = vec![ask(&ours[0].name, "7"), ask("kernel.shm_rmid_forced", "1")];
        let set = sysctls(&spec).unwrap();
        assert_eq!(set.len(), ours.len() + 1);
        assert!(
            set.iter()
                .any(|s| s.name == ours[0].name && s.value == "7" && s.required)
        );
        spec.sysctls = vec![
            ask("../../etc/x", "1"),
            ask("kernel..x", "1"),
            ask("net/core/x", "1"),
            ask("kernel.x", "a\nb"),
        ];
        assert_eq!(sysctls(&spec).unwrap_err().len(), 4);
    }
}
