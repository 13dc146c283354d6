//! OCI's hooks that run in the host's namespaces (runtime-spec, config.md): engines set up the network by them.

use std::io::{self, Read, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::oci::spec::Spec;

#[derive(Deserialize)]
struct Hook {
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    /// How many seconds it may take.
    timeout: Option<NonZeroU32>,
}

/// How often a hook that may take a limited time is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The most that is read of what a hook says of its failure, in bytes.
const MOST_WORDS: u64 = 4096;

/// How long its words are waited for when it has ended: what it left running may hold them open.
const WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Why a hook was not run to a good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("a hook of stage `{stage}` cannot be read")]
    Read {
        stage: String,
        source: serde_json::Error,
    },
    #[error("cannot run hook `{}` of stage `{stage}`", path.display())]
    Run {
        stage: String,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("hook `{}` of stage `{stage}` took longer than its {seconds} s, and was killed", path.display())]
    Late {
        stage: String,
        path: PathBuf,
        seconds: u32,
    },
    #[error("hook `{}` of stage `{stage}` failed: {status}: {text}", path.display())]
    Failed {
        stage: String,
        path: PathBuf,
        status: std::process::ExitStatus,
        text: String,
    },
}

/// Runs the hooks of a stage, each with the container's state as its input. Waits for them.
///
/// # Errors
/// [`HookError`] of the first that failed; the others are not run then.
pub(crate) fn run(spec: &Spec, stage: &str, id: &str, bundle: &Path, status: &str) -> Result<(), HookError> {
    let hooks = spec.hooks.get(stage).and_then(Value::as_array);
    let state = json!({
        "ociVersion": "1.0.2",
        "id": id,
        "status": status,
        "pid": std::process::id(),
        "bundle": bundle,
        "annotations": spec.annotations,
    });
    for hook in hooks.into_iter().flatten() {
        let hook: Hook = serde_json::from_value(hook.clone()).map_err(|source| HookError::Read {
            stage: stage.to_owned(),
            source,
        })?;
        let failed = |source| HookError::Run {
            stage: stage.to_owned(),
            path: hook.path.clone(),
            source,
        };
        let mut command = Command::new(&hook.path);
        if let Some((name, args)) = hook.args.split_first() {
            use std::os::unix::process::CommandExt as _;
            command.arg0(name).args(args);
        }
        let env = hook.env.iter().filter_map(|line| line.split_once('='));
        command.env_clear().envs(env).current_dir(bundle);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let words = child.stderr.take().map(read);
        if let Some(mut stdin) = child.stdin.take() {
            // It fits into a pipe where its annotations are not many; one that does not read it does not need it.
            let state = state.to_string();
            std::thread::spawn(move || stdin.write_all(state.as_bytes()));
        }
        let Some(status) = wait(&mut child, hook.timeout).map_err(failed)? else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(HookError::Late {
                stage: stage.to_owned(),
                path: hook.path.clone(),
                seconds: hook.timeout.map_or(0, NonZeroU32::get),
            });
        };
        if !status.success() {
            let words = words.and_then(|words| words.recv_timeout(WORDS_WITHIN).ok());
            return Err(HookError::Failed {
                stage: stage.to_owned(),
                path: hook.path.clone(),
                status,
                text: String::from_utf8_lossy(&words.unwrap_or_default())
                    .trim()
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// Waits for a hook; `None` when its time is over.
fn wait(child: &mut Child, timeout: Option<NonZeroU32>) -> io::Result<Option<ExitStatus>> {
    let Some(seconds) = timeout else {
        return child.wait().map(Some);
    };
    let until = Instant::now() + Duration::from_secs(seconds.get().into());
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            ended => return Ok(ended),
        }
    }
}

/// Reads what a hook says, to the end of whatever it may have left running.
fn read(from: ChildStderr) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut from = from;
        let mut words = Vec::new();
        let _ = Read::take(&mut from, MOST_WORDS).read_to_end(&mut words);
        let _ = sender.send(words);
        let _ = io::copy(&mut from, &mut io::sink());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(script: &str, timeout: u32) -> Result<(), HookError> {
        let hook =
            json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"], "timeout": timeout});
        let spec = json!({"hooks": {"prestart": [hook]}, "annotations": {"long": "x".repeat(200_000)}});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        run(&spec, "prestart", "c1", Path::new("/"), "created")
    }

    #[test]
    fn hooks_get_the_state_and_fail_the_container_with_their_words() {
        hooks(r#"[ "$A" = b ] && grep -q '"id":"c1"'"#, 20).unwrap();
        // It reads nothing of the state.
        hooks("true", 20).unwrap();
        let failed = hooks("echo why >&2; exit 3", 20).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3: why"), "{failed}");
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed() {
        let begun = Instant::now();
        let late = hooks("sleep 60", 1).unwrap_err();
        assert!(matches!(late, HookError::Late { seconds: 1, .. }), "{late}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
