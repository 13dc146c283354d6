//! `isopod boot-report`.

use std::fmt::Write as _;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::start_times::StartTimes;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{find, pods};
use crate::show::{JSON_VERSION, pretty};

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// A page for a browser
    Html,
    /// One JSON document
    Json,
}

/// Show where the time of a pod's last start went, by phase and by app, as a page for a browser
///
/// The page is one file without scripts. Times are in milliseconds since the first of the pod's processes was started.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = "Example:\n  isopod boot-report web > web.html\n")]
pub(crate) struct BootReport {
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "html")]
    format: ReportFormat,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
}

impl BootReport {
    /// Prints the report.
    ///
    /// # Errors
    /// A [`Failure`] with the reason, also where the pod has not been started.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = find(&pods(settings)?, &self.pod)?;
        let Some(times) = pod.status.as_ref().and_then(|status| status.start.as_ref()) else {
            let what = format!(
                "pod `{}` has not been started, or its guest has not answered",
                pod.label()
            );
            return Err(Report::text(what)
                .hint(Some(format!(
                    "`isopod status {}` shows how far it is",
                    pod.label()
                )))
                .into());
        };
        match self.format {
            ReportFormat::Html => output::data(&page(&pod.label(), times)),
            ReportFormat::Json => output::data(&pretty(&document(&pod.label(), times))),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn document(name: &str, times: &StartTimes) -> Value {
    let spans: Vec<Value> = times
        .spans()
        .iter()
        .map(|span| json!({"what": span.what, "side": span.side.as_str(), "fromMs": span.from_ms, "toMs": span.to_ms}))
        .collect();
    json!({
        "version": JSON_VERSION,
        "pod": name,
        "restored": times.restored,
        "totalMs": times.total_ms(),
        "spans": spans,
    })
}

fn how(times: &StartTimes) -> &'static str {
    match times.restored {
        true => "Its VM was restored from a template.",
        false => "Its VM was booted.",
    }
}

/// Colours for paper and for the dark, at 4.5:1 and more; no script, no font and no picture.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--paper:#fff;--line:#d0d7de;--host:#8250df;--guest:#0969da;--app:#1a7f37}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9da7b3;--paper:#0d1117;--line:#30363d;--host:#bc8cff;--guest:#58a6ff;--app:#3fb950}}\
body{font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:64rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0}p{color:var(--dim)}\
table{border-collapse:collapse;width:100%}caption{text-align:left;color:var(--dim);padding:.5rem 0}\
th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid var(--line);vertical-align:middle}\
th[scope=row]{font-weight:400}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
td.t{width:45%}.track{position:relative;height:1rem}\
.bar{position:absolute;height:100%;min-width:2px;border-radius:2px}\
.host{background:var(--host)}.guest{background:var(--guest)}.app{background:var(--app)}\
@media(max-width:40rem){td.t,th.t{display:none}}";

/// The page of the pod that `name` names: one file, which refers to no other.
fn page(name: &str, times: &StartTimes) -> String {
    let total = times.total_ms().max(1);
    let title = format!("Start of pod {}", escaped(name));
    let how = how(times);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n\
         <p>{how} It took <strong>{total} ms</strong> from the first of the pod's processes to the last app's program.</p>\n<table>\n\
         <caption>By phase, and by the unit of each app; times in milliseconds</caption>\n<thead><tr><th scope=\"col\">Phase</th>\
         <th scope=\"col\">Where</th><th scope=\"col\">From</th><th scope=\"col\">Took</th><th scope=\"col\" class=\"t\">Time line</th>\
         </tr></thead>\n<tbody>\n"
    );
    for span in times.spans() {
        let took = span.to_ms - span.from_ms;
        let percent = |ms: u64| ms as f64 * 100.0 / total as f64;
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{side}</td><td class=\"n\">{}</td><td class=\"n\">{took}</td><td class=\"t\">\
             <div class=\"track\" aria-hidden=\"true\"><div class=\"bar {side}\" style=\"left:{:.2}%;width:{:.2}%\"></div></div></td></tr>",
            escaped(&span.what),
            span.from_ms,
            percent(span.from_ms),
            percent(took),
            side = span.side.as_str(),
        );
    }
    page.push_str("</tbody>\n</table>\n</main>\n</body>\n</html>\n");
    page
}

/// A text in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            sign => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use isopod_runtime::pods::start_times::AppTime;
    use isopod_vm::agent::{ArrivalTimes, BootTimes};

    use super::*;

    #[test]
    fn the_page_refers_to_nothing_and_escapes_names() {
        let times = StartTimes {
            restored: false,
            arrived_ms: 1500,
            boot: BootTimes {
                init_ms: 400,
                systemd_begun_ms: 500,
                agent_started_ms: 900,
                systemd_ms: 950,
                connected_ms: 1000,
            },
            arrival: ArrivalTimes {
                begun_ms: 1000,
                unpacked_ms: 1020,
                mounted_ms: 1100,
                asked_ms: 1200,
            },
            apps: vec![AppTime {
                name: "web".parse().unwrap(),
                executed_ms: 1400,
            }],
        };
        let page = page("a & <b>", &times);
        assert!(
            page.contains("<h1>Start of pod a &amp; &lt;b&gt;</h1>") && page.contains("unit of app `web`")
        );
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<tr>").count(), 10);
        let document = document("web", &times);
        assert_eq!(document["totalMs"], 1700);
        assert_eq!(document["spans"][0]["toMs"], 300);
    }
}
