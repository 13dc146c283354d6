//! `isopod doctor`.

use std::fmt::Write as _;
use std::process::ExitCode;

use isopod_plan::doctor::{Finding, Level, findings};
use isopod_runtime::{Settings, doctor};
use isopod_spec::words::for_terminal;
use serde_json::json;

use crate::args::Format;
use crate::failure::Failure;
use crate::output;
use crate::show::pretty;

/// Show what this host can do and what it cannot, and how to fix it: QEMU, KVM, the guest's kernel, volumes, network, namespaces
///
/// Builds the guest image where there is none yet, and tries KVM with it, as a pod's first start does. Exits with 1 where no pod can run.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Doctor {
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    format: Format,
}

impl Doctor {
    /// Prints what there is to be said.
    ///
    /// # Errors
    /// None so far.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let found = findings(&doctor::look(settings));
        match self.format {
            Format::Text => output::document(&text(&found)),
            Format::Json => output::data(&pretty(&document(&found))),
        }
        let worst = found.iter().map(|finding| finding.level).max();
        Ok(ExitCode::from(u8::from(worst == Some(Level::Fault))))
    }
}

/// A line for each, with colours, and what to do about it below.
fn text(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.topic.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let colour = match finding.level {
            Level::Ok => "32",
            Level::Lack => "33",
            Level::Fault => "1;31",
        };
        let (word, what) = (word(finding.level), for_terminal(&finding.what));
        let _ = writeln!(
            text,
            "\x1b[{colour}m{word:<5}\x1b[0m  {:<width$}  {what}",
            finding.topic
        );
        if let Some(fix) = &finding.fix {
            let _ = writeln!(
                text,
                "{:<7}{:<width$}  \x1b[36mfix\x1b[0m: {}",
                "",
                "",
                for_terminal(fix)
            );
        }
    }
    text
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Lack => "lack",
        Level::Fault => "fault",
    }
}

fn document(findings: &[Finding]) -> serde_json::Value {
    let finding = |finding: &Finding| {
        json!({
            "topic": finding.topic,
            "level": word(finding.level),
            "what": finding.what,
            "fix": finding.fix,
        })
    };
    json!({ "version": 1, "findings": findings.iter().map(finding).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_fix_another() {
        let found = [
            Finding {
                topic: "QEMU",
                level: Level::Ok,
                what: "/usr/bin/qemu 9\x1b[2J".into(),
                fix: None,
            },
            Finding {
                topic: "volumes",
                level: Level::Lack,
                what: "over 9p".into(),
                fix: Some("install it".into()),
            },
        ];
        let plain = anstream::adapter::strip_str(&text(&found)).to_string();
        assert_eq!(
            plain,
            "ok     QEMU     /usr/bin/qemu 9\\u{1b}[2J\nlack   volumes  over 9p\n                fix: install it\n"
        );
        assert_eq!(document(&found)["findings"][1]["fix"], "install it");
    }
}
