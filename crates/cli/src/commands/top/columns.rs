//! The columns of a list of processes, in ps(1)'s words. What the guest says is escaped.

use std::time::{Duration, SystemTime};

use isopod_contract::processes::AppProcess;
use isopod_runtime::logs::stamp;
use isopod_spec::words::shown;

/// A column: what ps(1) calls it, its head, and what is in it.
#[derive(Clone, Copy)]
struct Column {
    names: &'static [&'static str],
    head: &'static str,
    cell: fn(&AppProcess, &[&str]) -> String,
}

const COLUMNS: [Column; 17] = [
    column(&["app"], "APP", |process, apps| {
        apps.get(usize::from(process.app))
            .copied()
            .unwrap_or_default()
            .to_owned()
    }),
    column(&["user", "euser", "uname"], "USER", |process, _| user(process)),
    // As docker's: the head is UID, and the name is there.
    column(&["-uid"], "UID", |process, _| user(process)),
    column(&["uid", "euid"], "UID", |process, _| process.uid.to_string()),
    column(&["pid"], "PID", |process, _| process.pid.to_string()),
    column(&["ppid"], "PPID", |process, _| process.parent.to_string()),
    column(&["c"], "C", |process, _| format!("{:.0}", share(process))),
    column(&["pcpu", "%cpu"], "%CPU", |process, _| {
        format!("{:.1}", share(process))
    }),
    column(&["vsz", "vsize"], "VSZ", |process, _| {
        (process.virtual_bytes / 1024).to_string()
    }),
    column(&["rss", "rssize"], "RSS", |process, _| {
        (process.resident_bytes / 1024).to_string()
    }),
    column(&["stime", "start", "start_time"], "STIME", |process, _| {
        started(process)
    }),
    column(&["etime"], "ELAPSED", |process, _| elapsed(process.age_ms / 1000)),
    column(&["tty", "tt", "tname"], "TTY", |process, _| {
        match process.tty.is_empty() {
            true => "?".to_owned(),
            false => shown(&process.tty),
        }
    }),
    column(&["stat", "s", "state"], "STAT", |process, _| {
        shown(process.state.to_string())
    }),
    column(&["nlwp", "thcount"], "NLWP", |process, _| {
        process.threads.to_string()
    }),
    column(&["time", "cputime"], "TIME", |process, _| {
        time(process.cpu_ms / 1000)
    }),
    column(&["args", "cmd", "command"], "CMD", |process, _| {
        match process.command.is_empty() {
            true => format!("[{}]", shown(&process.name)),
            false => shown(&process.command),
        }
    }),
];

/// The one that ps(1) names like the last but means the program's name by.
const COMM: Column = column(&["comm", "ucmd", "ucomm"], "COMMAND", |process, _| {
    shown(&process.name)
});

const fn column(
    names: &'static [&'static str],
    head: &'static str,
    cell: fn(&AppProcess, &[&str]) -> String,
) -> Column {
    Column { names, head, cell }
}

/// Which columns are shown.
pub(super) struct Columns {
    columns: Vec<Column>,
    /// Whether that of the app comes first where the pod has several.
    with_app: bool,
}

impl Columns {
    /// Reads options of ps(1).
    ///
    /// # Errors
    /// What is none that is known here.
    pub(super) fn parse(options: &[String]) -> Result<Self, String> {
        const FULL: [&str; 8] = ["-uid", "pid", "ppid", "c", "stime", "tty", "time", "args"];
        const AUX: [&str; 9] = [
            "user", "pid", "%cpu", "vsz", "rss", "tty", "stat", "start", "time",
        ];
        let words: Vec<&str> = options.iter().map(String::as_str).collect();
        let named = |names: &[&str]| names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>();
        let (columns, with_app) = match words[..] {
            [] | ["-ef" | "-fe" | "-f" | "ef" | "-e" | "-eF"] => (named(&FULL)?, true),
            ["aux" | "-aux" | "u" | "au" | "ax" | "axu"] => {
                let mut columns = named(&AUX)?;
                columns.push(Column {
                    head: "COMMAND",
                    ..find("args")?
                });
                (columns, true)
            }
            ["-o" | "-eo" | "o" | "axo" | "-Ao", list] => (named(&names(list))?, false),
            ["-e" | "-A" | "ax", "-o" | "o", list] => (named(&names(list))?, false),
            [one] if let Some(list) = ["-eo", "-o"].iter().find_map(|flag| one.strip_prefix(flag)) => {
                (named(&names(list))?, false)
            }
            _ => return Err("these options of ps(1) are not supported".to_owned()),
        };
        Ok(Self { columns, with_app })
    }

    /// The processes in their columns, the last of which is not filled up.
    pub(super) fn text(&self, processes: &[AppProcess], apps: &[&str]) -> String {
        let app = (self.with_app && apps.len() > 1).then_some(COLUMNS[0]);
        let columns: Vec<Column> = app.into_iter().chain(self.columns.iter().copied()).collect();
        let heads: Vec<String> = columns.iter().map(|column| column.head.to_owned()).collect();
        let cells = |process: &AppProcess| {
            columns
                .iter()
                .map(|column| (column.cell)(process, apps))
                .collect()
        };
        let rows: Vec<Vec<String>> = std::iter::once(heads)
            .chain(processes.iter().map(cells))
            .collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}  "));
            cells.collect::<String>().trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }
}

fn names(list: &str) -> Vec<&str> {
    list.split([',', ' ']).filter(|name| !name.is_empty()).collect()
}

fn find(name: &str) -> Result<Column, String> {
    // ps(1) lets a head follow: `pid=NUMBER`.
    let name = name.split('=').next().unwrap_or(name).to_lowercase();
    let all = COLUMNS.iter().chain([&COMM]);
    let mut found = all.filter(|column| column.names.contains(&name.as_str()));
    found
        .next()
        .copied()
        .ok_or_else(|| format!("there is no column `{}`", name.escape_debug()))
}

fn user(process: &AppProcess) -> String {
    match process.user.is_empty() {
        true => process.uid.to_string(),
        false => shown(&process.user),
    }
}

/// The share of one processor that it used in its life, in percent.
fn share(process: &AppProcess) -> f64 {
    match process.age_ms {
        0 => 0.0,
        age => process.cpu_ms as f64 * 100.0 / age as f64,
    }
}

/// When it was started: the time of a day that has not passed, or the day.
fn started(process: &AppProcess) -> String {
    let now = SystemTime::now();
    let age = Duration::from_millis(process.age_ms);
    let stamp = stamp(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
    match process.age_ms < 86_400_000 {
        true => stamp.get(11..16).unwrap_or_default().to_owned(),
        false => stamp.get(..10).unwrap_or_default().to_owned(),
    }
}

/// `[DD-]HH:MM:SS`.
fn time(seconds: u64) -> String {
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}-"),
    };
    format!(
        "{days}{:02}:{:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `[[DD-]HH:]MM:SS`.
fn elapsed(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        _ => time(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: &str, apps: &[&str]) -> Result<String, String> {
        let options: Vec<String> = options
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        let process = AppProcess {
            pid: 2,
            uid: 33,
            state: 'S',
            threads: 3,
            cpu_ms: 3_723_000,
            age_ms: 7_446_000,
            resident_bytes: 4096,
            name: "nginx".to_owned(),
            command: "nginx: \x1b[31m".to_owned(),
            ..AppProcess::default()
        };
        let other = AppProcess {
            app: 1,
            pid: 40,
            parent: 2,
            user: "root".to_owned(),
            tty: "pts/0".to_owned(),
            name: "kid".to_owned(),
            ..AppProcess::default()
        };
        Columns::parse(&options).map(|columns| columns.text(&[process, other], apps))
    }

    #[test]
    fn columns_are_those_of_ps() {
        let full = text("", &["a", "b"]).unwrap();
        let lines: Vec<Vec<&str>> = full
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0],
            ["APP", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert_eq!(lines[1][..5], ["a", "33", "2", "0", "50"]);
        assert_eq!(lines[1][6..], ["?", "01:02:03", "nginx:", "\\u{1b}[31m"]);
        assert_eq!(
            (lines[2][1], lines[2][6], lines[2][8]),
            ("root", "pts/0", "[kid]")
        );
        assert_eq!(text("-ef", &["a"]).unwrap(), text("", &["a"]).unwrap());
        assert!(!text("-ef", &["a"]).unwrap().contains("APP"));
        assert_eq!(
            text("-o pid,comm,etime", &[]).unwrap(),
            "PID  COMMAND  ELAPSED\n2    nginx    02:04:06\n40   kid      00:00\n"
        );
        assert_eq!(text("-eo pid", &[]).unwrap(), "PID\n2\n40\n");
        assert_eq!(text("-opid,rss", &[]).unwrap(), "PID  RSS\n2    4\n40   0\n");
        assert!(text("aux", &["a"]).unwrap().starts_with("USER  PID  %CPU"));
        assert!(text("-o nope", &[]).unwrap_err().contains("no column `nope`"));
        assert!(text("-x", &[]).is_err());
    }
}
