//! What the agent says where no message can: on the console and in the kernel's log.

use std::io::Write as _;
use std::process::ExitCode;

use isopod_contract::in_one_line;

/// Writes an error with its causes to standard error.
pub(crate) fn fail(error: &dyn std::error::Error) -> ExitCode {
    print(&format!("isopod-agent: {}", in_one_line(error)));
    ExitCode::FAILURE
}

/// Writes an error with its causes to the kernel's log.
pub(crate) fn fail_in_service(error: &dyn std::error::Error) -> ExitCode {
    log(&in_one_line(error));
    ExitCode::FAILURE
}

/// Writes a line to the kernel's log, which goes to the console and is where a diagnosis looks. What systemd calls
/// `StandardError=kmsg` needs a journal, which the guest has not.
pub(crate) fn log(line: &str) {
    let line = format!("isopod-agent: {line}");
    if std::fs::write("/dev/kmsg", format!("<3>{line}\n")).is_err() {
        print(&line);
    }
}

/// Writes a line to standard error, which is the console for process 1 and the log for a service. There is nobody to
/// report when that fails.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
