//! Several scenarios over one pod, since a boot takes seconds: one that fails is named, and the others run all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The scenarios of a test. When it goes, the test fails if one of them has.
///
/// ```should_panic
/// # use isopod_tests::Scenarios;
/// let mut scenarios = Scenarios::default();
/// scenarios.run("the first one", || assert_eq!(1, 2));
/// scenarios.run("the second one", || {});
/// ```
#[derive(Debug, Default)]
pub struct Scenarios {
    failed: Vec<&'static str>,
}

impl Scenarios {
    /// Runs a scenario, which may fail.
    pub fn run(&mut self, name: &'static str, scenario: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(scenario)).is_err() {
            self.failed.push(name);
        }
    }
}

impl Drop for Scenarios {
    fn drop(&mut self) {
        assert!(
            self.failed.is_empty() || std::thread::panicking(),
            "scenarios failed: {}",
            self.failed.join("; ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_fail_are_named_and_all_run() {
        let mut ran = 0;
        let all = catch_unwind(AssertUnwindSafe(|| {
            let mut scenarios = Scenarios::default();
            for (name, fails) in [("a", true), ("b", false), ("c", true)] {
                scenarios.run(name, || {
                    ran += 1;
                    assert!(!fails);
                });
            }
        }));
        let message = all.unwrap_err();
        assert_eq!(
            message.downcast_ref::<String>().unwrap(),
            "scenarios failed: a; c"
        );
        assert_eq!(ran, 3);
    }
}
