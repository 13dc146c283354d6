//! OCI's hooks that run in the host's namespaces (runtime-spec, config.md): engines set up the network by them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
}

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
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read it does not need it.
            let _ = stdin.write_all(state.to_string().as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(HookError::Failed {
                stage: stage.to_owned(),
                path: hook.path.clone(),
                status: output.status,
                text: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
    }
    Ok(())
}
