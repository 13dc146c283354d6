//! `isopod generate`: a table for reading and for help.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

const SUBJECTS: &str = "\
POD is a pod's name, its UUID or the beginning of it, in any state. What has a `/` in it, ends in .yaml, .yml or .json or is \
`-`, standard input, is a FILE: a Kubernetes pod file or an appc pod manifest.
";

const KUBE_NOTES: &str = "\
The values of secrets are in what is printed, as `kind: Secret`.

Examples:
  isopod generate kube web > web.yaml
  isopod generate kube --ignore-unsupported pod.json | isopod run -f -
";

const SYSTEMD_NOTES: &str = "\
Examples:
  isopod prepare --name web oci:/images/web
  isopod generate systemd web > /etc/systemd/system/web.service
  systemctl daemon-reload && systemctl enable --now web

  isopod generate systemd ./pod.yaml > ~/.config/systemd/user/pod.service
";

/// Another form of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum GenerateCommand {
    /// Print a pod as a Kubernetes Pod, with the ConfigMaps and Secrets that it needs
    #[command(after_help = format!("{SUBJECTS}\n{KUBE_NOTES}"))]
    Kube(GenerateArgs),
    /// Print a unit of systemd's that runs a pod on this host
    #[command(after_help = format!("{SUBJECTS}\n{SYSTEMD_NOTES}"))]
    Systemd(GenerateArgs),
}

/// The pod, and what is done about what cannot be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct GenerateArgs {
    /// The pod, or the file that describes it
    #[arg(value_name = "POD|FILE", value_parser = OsStringValueParser::new().try_map(subject))]
    pub(crate) subject: Subject,
    /// Leave out what the file asks for and cannot be honoured, or what cannot be said, with a warning for each
    #[arg(long)]
    pub(crate) ignore_unsupported: bool,
}

/// What is printed in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A pod of the state directory: its name, UUID or the beginning of that.
    Pod(String),
    /// A file, or `-`.
    File(PathBuf),
}

fn subject(text: OsString) -> Result<Subject, Infallible> {
    let endings = [".yaml", ".yml", ".json"];
    Ok(match text.into_string() {
        Ok(text) if text != "-" && !text.contains('/') && !endings.iter().any(|end| text.ends_with(end)) => {
            Subject::Pod(text)
        }
        Ok(text) => Subject::File(text.into()),
        Err(text) => Subject::File(text.into()),
    })
}

/// The command `generate`, with all of them.
pub(super) fn command() -> Command {
    let generate = Command::new("generate")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    GenerateCommand::augment_subcommands(generate).about("Print a pod in another form")
}

/// The command that `matches` holds, which is one of these.
pub(super) fn read(matches: &ArgMatches) -> Result<GenerateCommand, clap::Error> {
    GenerateCommand::from_arg_matches(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_pod_or_a_file() {
        let pod = |text: &str| Subject::Pod(text.into());
        let file = |text: &str| Subject::File(text.into());
        for (text, expected) in [
            ("web", pod("web")),
            ("web.1", pod("web.1")),
            ("6ba7b810", pod("6ba7b810")),
            ("web.yaml", file("web.yaml")),
            ("web.yml", file("web.yml")),
            ("pod.json", file("pod.json")),
            ("./web", file("./web")),
            ("/web", file("/web")),
            ("-", file("-")),
        ] {
            assert_eq!(subject(text.into()), Ok(expected), "{text}");
        }
    }
}
