//! The commands on pods that are there: a table for reading and for help.

use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgAction, ArgMatches, Command, FromArgMatches, Subcommand, ValueEnum};
use isopod_runtime::events::EventKind;
use isopod_spec::{AppName, PortProtocol};

use super::VolumeCommand;
use super::copy_place::CopyPlace;
use crate::detach_keys::DetachKeys;

const ATTACH_NOTES: &str = "\
Input is for a pod that was started with `--interactive`; its end is not the app's, who attaches next continues. The \
terminal of an app that has one is connected with this command's, and Ctrl-P Ctrl-Q ends this command alone. Elsewhere \
`--sig-proxy=false` lets Ctrl-C do so.
";

const CP_NOTES: &str = "\
A path with a colon in it is one of this host's when it begins with / or a dot. A directory that is there takes the tree \
in, under its own name; otherwise the tree becomes the target, whose parent must be there. DIR/. is what is in a \
directory. In the app, files are root's, on the host the caller's; of an archive from standard input owners are kept.

Examples:
  isopod cp web:/etc/nginx/nginx.conf .
  isopod cp ./site/. web:nginx:/usr/share/nginx/html
  isopod cp web:/var/log - | tar tv
";

/// A command on pods that are there.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum LifeCommand {
    /// Start a pod that was prepared, or that has exited
    Start {
        /// The pods: names, UUIDs or their beginnings
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
        /// Wait for the pod and show what its apps write
        #[arg(short, long)]
        attach: bool,
    },
    /// Show the pods that run, as docker's `ps` does
    Ps {
        /// And those that do not run
        #[arg(short, long)]
        all: bool,
        /// Print UUIDs only
        #[arg(short, long, conflicts_with = "format")]
        quiet: bool,
        /// Only these: name=TEXT, id=UUID, status=STATE or label=NAME[=VALUE]; of several with one key any, of several keys all
        #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = pod_filter)]
        filters: Vec<PodFilter>,
        /// How to print them
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Print which ports of the host lead to a pod
    Port {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// Only those to this port of the pod, such as 80 or 53/udp
        #[arg(value_name = "PORT[/PROTOCOL]", value_parser = pod_port)]
        port: Option<(u16, PortProtocol)>,
    },
    /// Wait until pods have exited, and print their exit statuses
    Wait {
        /// The pods
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
    },
    /// Show all pods
    List {
        /// Print UUIDs only
        #[arg(short, long, conflicts_with = "format")]
        quiet: bool,
        /// Only these: name=TEXT, id=UUID, status=STATE or label=NAME[=VALUE]; of several with one key any, of several keys all
        #[arg(short = 'f', long = "filter", value_name = "KEY=VALUE", value_parser = pod_filter)]
        filters: Vec<PodFilter>,
        /// How to print them
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Show a pod, and each of its apps
    Status {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// Wait until it has exited
        #[arg(long)]
        wait: bool,
        /// Wait until every app has been ready; exit status 1 when it has exited before
        #[arg(long, conflicts_with = "wait")]
        wait_ready: bool,
        /// How to print it
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Print all that is known of a pod, as JSON
    Inspect {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
    },
    /// Print a pod as it was asked for, as JSON
    CatManifest {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
    },
    /// Show what happened to pods and their apps
    Events {
        /// Go on with what happens
        #[arg(short, long)]
        follow: bool,
        /// Only what happened since: seconds or 90s, 5m, 2h, 1d ago, or a time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only what happened before; with --follow, end then
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Only these: pod=POD, app=APP or type=TYPE; of several with one key any, of several keys all
        #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
        filters: Vec<Filter>,
        /// How to print them: for people, or one JSON object per line
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Show what the apps of a pod wrote
    Logs {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// Go on until the pod has ended
        #[arg(short, long)]
        follow: bool,
        /// Only what was written since: seconds or 90s, 5m, 2h, 1d ago, or a time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only the last N lines; `all` or -1 for every one
        #[arg(short = 'n', long, value_name = "N", value_parser = lines, allow_hyphen_values = true)]
        tail: Option<u64>,
        /// Only this app's; may be repeated
        #[arg(long = "app", value_name = "APP", value_parser = app_name)]
        apps: Vec<AppName>,
        /// Show when each line was written
        #[arg(short, long)]
        timestamps: bool,
    },
    /// Stop pods: each app's stop signal, and a kill to what is left
    Stop {
        /// The pods
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
        /// How long the apps have to stop [default: what the pod was started with]
        #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
        time: Option<Duration>,
        /// Kill them at once, and the VM where its supervisor does not answer
        #[arg(short, long, conflicts_with = "time")]
        force: bool,
    },
    /// Send a signal to a pod's apps
    Kill {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// Only to this app
        #[arg(value_name = "APP", value_parser = app_name)]
        app: Option<AppName>,
        /// The signal, by its name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = isopod_runtime::signals::parse)]
        signal: u8,
    },
    /// Execute a command in an app that runs
    Exec {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// The app; the pod's only one needs no name
        #[arg(long, value_name = "APP", value_parser = app_name)]
        app: Option<AppName>,
        /// Give it this command's standard input
        #[arg(short, long)]
        interactive: bool,
        /// Give it a terminal
        #[arg(short, long)]
        tty: bool,
        /// Let the command continue without this one by these keys, where it has a terminal and input
        #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = DetachKeys::parse)]
        detach_keys: DetachKeys,
        /// Set a variable; without a value, to the caller's own
        #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable)]
        env: Vec<(String, Option<String>)>,
        /// Run it as this user [default: the app's]
        #[arg(short, long, value_name = "USER[:GROUP]")]
        user: Option<String>,
        /// Start it there [default: where the app starts]
        #[arg(short, long, value_name = "PATH")]
        workdir: Option<String>,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Show what a running pod writes from now on, and give it input and signals, up to its end
    #[command(after_help = ATTACH_NOTES)]
    Attach {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// Only this app; the exit status is its own then
        #[arg(value_name = "APP", value_parser = app_name)]
        app: Option<AppName>,
        /// Give the pod no input
        #[arg(long)]
        no_stdin: bool,
        /// End this command alone by these keys, where the app has a terminal
        #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = DetachKeys::parse)]
        detach_keys: DetachKeys,
        /// Pass signals on to the apps
        #[arg(
            long,
            value_name = "BOOL",
            default_value_t = true,
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "true",
            action = ArgAction::Set
        )]
        sig_proxy: bool,
    },
    /// Copy files into or out of an app that runs
    #[command(after_help = CP_NOTES)]
    Cp {
        /// What is copied: PATH, POD:[APP:]PATH, or - for a tar archive on standard input
        #[arg(value_name = "SOURCE", value_parser = OsStringValueParser::new().try_map(|text| CopyPlace::parse(&text)))]
        source: CopyPlace,
        /// Where it goes: PATH, POD:[APP:]PATH, or - for a tar archive on standard output
        #[arg(value_name = "TARGET", value_parser = OsStringValueParser::new().try_map(|text| CopyPlace::parse(&text)))]
        target: CopyPlace,
    },
    /// Show what the apps of a pod use
    #[command(visible_alias = "top")]
    Stats {
        /// The pod
        #[arg(value_name = "POD")]
        pod: String,
        /// How to print it
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Stop pods and start them again
    Restart {
        /// The pods
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
        /// How long the apps have to stop [default: what the pod was started with]
        #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
        time: Option<Duration>,
    },
    /// Remove pods with their logs and volumes on disk
    Rm {
        /// The pods
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
        /// Also pods that run: they are killed
        #[arg(short, long)]
        force: bool,
        /// And the volumes of their own, which are always removed with a pod; named ones are kept
        #[arg(short, long)]
        volumes: bool,
    },
    /// Remove exited pods, what killed processes left, and guest images that no pod uses
    Gc {
        /// Keep pods that have exited within this time
        #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
        grace: Duration,
    },
    /// Bring volumes to a pod that runs, take them away, and show them
    Volume {
        /// What to do
        #[command(subcommand)]
        command: VolumeCommand,
    },
    /// Supervise a pod, for `--detach`
    #[command(name = "internal-supervise", hide = true)]
    Supervise {
        /// The pod's UUID
        uuid: String,
    },
}

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
}

/// Which events are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Those of a pod: its name, its UUID or the beginning of it.
    Pod(String),
    /// Those of apps of this name.
    App(AppName),
    /// Those of this type.
    Type(EventKind),
}

/// Which pods are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodFilter {
    /// Those whose names have this text in them.
    Name(String),
    /// Those whose UUIDs begin so.
    Id(String),
    /// Those in this state.
    Status(String),
    /// Those with this label, and of that value where it is given.
    Label(String, Option<String>),
}

/// `root` with these commands.
pub(super) fn augment(root: Command) -> Command {
    LifeCommand::augment_subcommands(root)
}

/// The command that `matches` holds, which is one of these.
pub(super) fn read(matches: &ArgMatches) -> Result<LifeCommand, clap::Error> {
    LifeCommand::from_arg_matches(matches)
}

fn app_name(text: &str) -> Result<AppName, String> {
    AppName::new(text).map_err(|error| error.reason.to_owned())
}

fn pod_filter(text: &str) -> Result<PodFilter, String> {
    const STATES: [&str; 6] = [
        "preparing",
        "prepared",
        "starting",
        "running",
        "stopping",
        "exited",
    ];
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "name" => Ok(PodFilter::Name(value.trim_start_matches('/').to_owned())),
        "id" => Ok(PodFilter::Id(value.to_owned())),
        "label" => Ok(match value.split_once('=') {
            Some((name, value)) => PodFilter::Label(name.to_owned(), Some(value.to_owned())),
            None => PodFilter::Label(value.to_owned(), None),
        }),
        // docker's word for it.
        "status" if value == "created" => Ok(PodFilter::Status("prepared".to_owned())),
        "status" if STATES.contains(&value) => Ok(PodFilter::Status(value.to_owned())),
        "status" => Err(format!("the states are {}", STATES.join(", "))),
        _ => Err("the keys are name, id, status and label".to_owned()),
    }
}

fn pod_port(text: &str) -> Result<(u16, PortProtocol), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Ok(PortProtocol::Tcp),
        "udp" => Ok(PortProtocol::Udp),
        _ => Err("the protocols are tcp and udp".to_owned()),
    };
    let port = port.parse().map_err(|_| "it is not a port".to_owned());
    Ok((port?, protocol?))
}

fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "pod" if !value.is_empty() => Ok(Filter::Pod(value.to_owned())),
        "app" => app_name(value).map(Filter::App),
        "type" => {
            let kinds = EventKind::ALL.into_iter();
            let kind = kinds.clone().find(|kind| kind.as_str() == value);
            kind.map(Filter::Type).ok_or_else(|| {
                let words: Vec<&str> = kinds.map(EventKind::as_str).collect();
                format!("the types are {}", words.join(", "))
            })
        }
        _ => Err("the keys are pod, app and type".to_owned()),
    }
}

fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    match name.is_empty() {
        true => Err("it has no name".to_owned()),
        false => Ok((name.to_owned(), value)),
    }
}

/// A number of lines, or one of docker's and kubectl's words for all of them.
fn lines(text: &str) -> Result<u64, String> {
    match text {
        "all" | "-1" => Ok(u64::MAX),
        _ => text
            .parse()
            .map_err(|_| "not a number of lines, or `all`".to_owned()),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u32 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Ok(Duration::from_secs(seconds.into()))
}

/// A time such as `90`, `90s`, `5m`, `2h` or `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time such as 90s, 5m, 2h or 1d".to_owned();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    count.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(
            [
                seconds("90"),
                seconds("90s"),
                seconds("5m"),
                seconds("2h"),
                seconds("1d"),
                seconds("0")
            ],
            [Ok(90), Ok(90), Ok(300), Ok(7200), Ok(86_400), Ok(0)]
        );
        for text in [
            "",
            "s",
            "5w",
            "-1",
            "1.5h",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
