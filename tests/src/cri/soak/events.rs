//! containerd's events of a life.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cri::Containerd;

/// `ctr events`, which writes them to a file.
pub(super) struct Events {
    child: Child,
    file: PathBuf,
}

impl Events {
    pub(super) fn follow(containerd: &Containerd, life: &str) -> Self {
        let file = containerd.dir().join(format!("{life}.events"));
        let output = fs::File::create(&file).expect("a file of events");
        let mut command = containerd.ctr("k8s.io");
        command
            .arg("events")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null());
        let child = command.spawn().expect("ctr");
        Self { child, file }
    }

    /// Topics, each with its event. A line is a time, the namespace, the topic, the event as JSON.
    fn read(&self) -> Vec<(String, Value)> {
        let text = fs::read_to_string(&self.file).expect("a file of events");
        let lines = text.lines().filter_map(|line| {
            let at = line.find('{')?;
            let topic = line[..at].split_whitespace().last()?.to_owned();
            Some((topic, serde_json::from_str(&line[at..]).ok()?))
        });
        lines.collect()
    }

    /// Every task that was started is reported to have ended: a container, and a command in one unless the shim was killed,
    /// because containerd reports the containers of such a shim only.
    pub(super) fn are_complete(&self, shim_was_killed: bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let missing = missing(&self.read(), shim_was_killed);
            if missing.is_empty() {
                return;
            }
            let all = fs::read_to_string(&self.file).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "not reported to have ended: {missing:?}\n{all}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn missing(events: &[(String, Value)], shim_was_killed: bool) -> Vec<String> {
    let of = |topic: &'static str, name: &'static str| {
        let events = events.iter().filter(move |(found, _)| found == topic);
        events.filter_map(move |(_, event)| event[name].as_str().map(str::to_owned))
    };
    let mut begun: Vec<String> = of("/tasks/start", "container_id").collect();
    if !shim_was_killed {
        begun.extend(of("/tasks/exec-started", "exec_id"));
    }
    let ended: Vec<String> = of("/tasks/exit", "id").collect();
    begun.retain(|id| !ended.contains(id));
    begun
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
