//! The tasks of a sandbox as containerd knows them: containers and the commands in them, each with its state. What may be done in
//! which state is decided here; nothing here does any of it.
//!
//! ```text
//!            start        started        exited         delete
//!   Created ──────> Starting ──────> Running ──────> Stopped ──────> (gone)
//!      └── killed ──────┴── failed ────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::sync::watch;

/// The exit status of a task whose VM ended under it: that of a process that was killed.
pub(crate) const KILLED: u32 = 137;

/// The exit status of a task that never ran (runc's shim).
pub(crate) const NOT_RUN: u32 = 255;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Starting,
    Running,
    Paused,
    Stopped(End),
}

/// A container, by its ID, or a command in it, by that and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) container: String,
    /// Empty: the container itself.
    pub(crate) exec: String,
}

impl Key {
    pub(crate) fn new(container: &str, exec: &str) -> Self {
        Self {
            container: container.to_owned(),
            exec: exec.to_owned(),
        }
    }

    pub(crate) fn is_exec(&self) -> bool {
        !self.exec.is_empty()
    }
}

/// The standard streams of a task, as paths of the host; an empty one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Why something cannot be done with a task. Each is a code of gRPC's, which containerd acts on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} not found")]
    NotFound(String),
    #[error("{0} already exists")]
    Exists(String),
    #[error("{0}")]
    Precondition(String),
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) state: State,
    pub(crate) stdio: Stdio,
    /// Who waits for its end.
    ended: watch::Sender<Option<End>>,
}

/// What those who follow containerd's events receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Created(Key),
    Started(Key),
    ExecAdded(Key),
    Paused(Key),
    Resumed(Key),
    OutOfMemory(Key),
    Exited(Key, End),
    Deleted(Key, End),
}

impl News {
    /// Of which task.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Created(key)
            | Self::Started(key)
            | Self::ExecAdded(key)
            | Self::Paused(key)
            | Self::Resumed(key)
            | Self::OutOfMemory(key)
            | Self::Exited(key, _)
            | Self::Deleted(key, _) => key,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tasks(BTreeMap<Key, Task>);

impl Tasks {
    fn what(key: &Key) -> String {
        match key.is_exec() {
            true => format!("exec `{}` of container `{}`", key.exec, key.container),
            false => format!("container `{}`", key.container),
        }
    }

    fn missing(key: &Key) -> Refusal {
        Refusal::NotFound(Self::what(key))
    }

    pub(crate) fn get(&self, key: &Key) -> Result<&Task, Refusal> {
        self.0.get(key).ok_or_else(|| Self::missing(key))
    }

    fn get_mut(&mut self, key: &Key) -> Result<&mut Task, Refusal> {
        self.0.get_mut(key).ok_or_else(|| Self::missing(key))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = &Key> {
        self.0.keys().filter(|key| !key.is_exec())
    }

    /// One more.
    pub(crate) fn add(&mut self, key: Key, stdio: Stdio) -> Result<News, Refusal> {
        if self.0.contains_key(&key) {
            return Err(Refusal::Exists(Self::what(&key)));
        }
        if key.is_exec() {
            let container = self.get(&Key::new(&key.container, ""))?;
            if !matches!(container.state, State::Running | State::Paused) {
                let what = format!("container `{}` does not run", key.container);
                return Err(Refusal::Precondition(what));
            }
        }
        let task = Task {
            state: State::Created,
            stdio,
            ended: watch::Sender::new(None),
        };
        self.0.insert(key.clone(), task);
        Ok(match key.is_exec() {
            true => News::ExecAdded(key),
            false => News::Created(key),
        })
    }

    /// One that could not be created after all.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// It is to be started, which nobody else may do from now on.
    pub(crate) fn starts(&mut self, key: &Key) -> Result<Stdio, Refusal> {
        let task = self.get_mut(key)?;
        match task.state {
            State::Created => {
                task.state = State::Starting;
                Ok(task.stdio.clone())
            }
            state => Err(Self::wrong(key, state, "be started")),
        }
    }

    fn wrong(key: &Key, state: State, what: &str) -> Refusal {
        let state = match state {
            State::Created => "has not been started",
            State::Starting => "is being started",
            State::Running => "runs",
            State::Paused => "is paused",
            State::Stopped(_) => "has ended",
        };
        Refusal::Precondition(format!("{} cannot {what}: it {state}", Self::what(key)))
    }

    /// It executes; nothing where it has ended meanwhile.
    pub(crate) fn started(&mut self, key: &Key) -> Option<News> {
        let task = self.0.get_mut(key)?;
        (task.state == State::Starting).then(|| {
            task.state = State::Running;
            News::Started(key.clone())
        })
    }

    /// It has ended, or will never run: what is reported of that, once. The commands of a container end with it.
    pub(crate) fn ended(&mut self, key: &Key, end: End) -> Vec<News> {
        let with = |other: &Key| other == key || (!key.is_exec() && other.container == key.container);
        let mut news = Vec::new();
        // Commands first: they end before what they run in does.
        for (key, task) in self.0.iter_mut().rev().filter(|(key, _)| with(key)) {
            if matches!(task.state, State::Stopped(_)) {
                continue;
            }
            // A command that was never started has nobody who follows it, and a start that failed is reported to whoever asked for it.
            let reported = match task.state {
                State::Created => !key.is_exec(),
                State::Starting => false,
                _ => true,
            };
            task.state = State::Stopped(end);
            task.ended.send_replace(Some(end));
            if reported {
                news.push(News::Exited(key.clone(), end));
            }
        }
        news
    }

    /// Whatever runs is killed.
    pub(crate) fn all_ended(&mut self, end: End) -> Vec<News> {
        let containers: Vec<Key> = self.containers().cloned().collect();
        containers.iter().flat_map(|key| self.ended(key, end)).collect()
    }

    /// It is held, or continues.
    pub(crate) fn pause(&mut self, key: &Key, paused: bool) -> Result<News, Refusal> {
        let task = self.get_mut(key)?;
        match (task.state, paused) {
            (State::Running, true) => {
                task.state = State::Paused;
                Ok(News::Paused(key.clone()))
            }
            (State::Paused, false) => {
                task.state = State::Running;
                Ok(News::Resumed(key.clone()))
            }
            (state, true) => Err(Self::wrong(key, state, "be paused")),
            (state, false) => Err(Self::wrong(key, state, "be resumed")),
        }
    }

    /// Whether it may be signalled: a task that has ended is not there for a signal.
    pub(crate) fn signals(&self, key: &Key) -> Result<State, Refusal> {
        match self.get(key)?.state {
            State::Stopped(_) => Err(Refusal::NotFound(format!("process of {}", Self::what(key)))),
            state => Ok(state),
        }
    }

    /// Whether it runs, for what needs that.
    pub(crate) fn runs(&self, key: &Key, what: &str) -> Result<(), Refusal> {
        match self.get(key)?.state {
            State::Running | State::Paused => Ok(()),
            state => Err(Self::wrong(key, state, what)),
        }
    }

    /// Whether it may be deleted, and how it ended.
    pub(crate) fn deletable(&self, key: &Key) -> Result<End, Refusal> {
        match self.get(key)?.state {
            State::Stopped(end) => Ok(end),
            // One that was never started leaves nothing but itself.
            State::Created if key.is_exec() => Ok(End {
                status: 0,
                at: SystemTime::UNIX_EPOCH,
            }),
            state => Err(Self::wrong(key, state, "be deleted")),
        }
    }

    /// It is gone, with its commands.
    pub(crate) fn delete(&mut self, key: &Key, end: End) -> News {
        match key.is_exec() {
            true => drop(self.0.remove(key)),
            false => self.0.retain(|other, _| other.container != key.container),
        }
        News::Deleted(key.clone(), end)
    }

    /// Receives its end.
    pub(crate) fn end_of(&self, key: &Key) -> Result<watch::Receiver<Option<End>>, Refusal> {
        Ok(self.get(key)?.ended.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(status: u32) -> End {
        End {
            status,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    fn running(container: &str) -> (Tasks, Key) {
        let (mut tasks, key) = (Tasks::default(), Key::new(container, ""));
        tasks.add(key.clone(), Stdio::default()).unwrap();
        tasks.starts(&key).unwrap();
        assert_eq!(tasks.started(&key), Some(News::Started(key.clone())));
        (tasks, key)
    }

    #[test]
    fn a_task_ends_once_and_its_commands_before_it() {
        let (mut tasks, key) = running("a");
        let (run, idle) = (Key::new("a", "run"), Key::new("a", "idle"));
        for exec in [&run, &idle] {
            tasks.add(exec.clone(), Stdio::default()).unwrap();
        }
        tasks.starts(&run).unwrap();
        tasks.started(&run).unwrap();
        let received = tasks.end_of(&run).unwrap();
        let news = tasks.ended(&key, end(3));
        assert_eq!(
            news,
            [News::Exited(run, end(3)), News::Exited(key.clone(), end(3))]
        );
        assert_eq!(*received.borrow(), Some(end(3)));
        assert_eq!(tasks.ended(&key, end(4)), []);
        assert_eq!(tasks.deletable(&key).unwrap(), end(3));
        tasks.delete(&key, end(3));
        assert!(tasks.is_empty());
    }

    #[test]
    fn what_a_state_does_not_allow_is_refused_with_a_code() {
        let (mut tasks, key) = running("a");
        assert!(matches!(tasks.starts(&key), Err(Refusal::Precondition(_))));
        assert!(matches!(tasks.deletable(&key), Err(Refusal::Precondition(_))));
        assert!(matches!(
            tasks.add(key.clone(), Stdio::default()),
            Err(Refusal::Exists(_))
        ));
        assert!(matches!(tasks.pause(&key, false), Err(Refusal::Precondition(_))));
        tasks.pause(&key, true).unwrap();
        assert!(tasks.signals(&key).is_ok());
        tasks.ended(&key, end(0));
        // kubelet's second kill of a container that has ended.
        assert!(matches!(tasks.signals(&key), Err(Refusal::NotFound(_))));
        let exec = Key::new("a", "late");
        assert!(matches!(
            tasks.add(exec, Stdio::default()),
            Err(Refusal::Precondition(_))
        ));
        assert!(matches!(tasks.get(&Key::new("b", "")), Err(Refusal::NotFound(_))));
    }

    #[test]
    fn a_start_that_failed_is_reported_to_whoever_asked_for_it() {
        let (mut tasks, key) = (Tasks::default(), Key::new("a", ""));
        tasks.add(key.clone(), Stdio::default()).unwrap();
        tasks.starts(&key).unwrap();
        let received = tasks.end_of(&key).unwrap();
        assert_eq!(tasks.ended(&key, end(1)), []);
        assert_eq!(*received.borrow(), Some(end(1)));
        assert_eq!(tasks.started(&key), None);
        assert_eq!(tasks.deletable(&key).unwrap(), end(1));
    }

    #[test]
    fn all_end_with_the_vm() {
        let (mut tasks, key) = running("a");
        tasks.add(Key::new("b", ""), Stdio::default()).unwrap();
        let news = tasks.all_ended(end(KILLED));
        assert_eq!(
            news,
            [
                News::Exited(key, end(KILLED)),
                News::Exited(Key::new("b", ""), end(KILLED))
            ]
        );
    }
}
