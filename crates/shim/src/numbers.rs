//! The numbers that containers' tasks have on the host. Each of a pod is that of a thread of this process which does nothing: an engine names
//! the namespaces of a container by its task's number (`/proc/NUMBER/ns/pid`), and so it is known which one is meant. They all
//! are this process's. Whatever else has a task has this process's own number.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

/// What a thread that does nothing needs, in bytes.
const STACK: usize = 64 << 10;

/// A number, taken until it is dropped.
#[derive(Debug)]
struct Number {
    value: u32,
    /// Ends the thread.
    _ends: mpsc::Sender<()>,
}

impl Number {
    fn take() -> io::Result<Self> {
        let (ends, ended) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("task".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let _ = sender.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
                let _ = ended.recv();
            })?;
        let value = receiver.recv().map_err(io::Error::other)?;
        Ok(Self { value, _ends: ends })
    }
}

/// All of them, by container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Arc<Mutex<BTreeMap<String, Number>>>);

impl Numbers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Number>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a container one of its own.
    ///
    /// # Errors
    /// The system's: there is no thread more.
    pub(crate) fn give(&self, container: &str) -> io::Result<()> {
        let number = Number::take()?;
        self.all().insert(container.to_owned(), number);
        Ok(())
    }

    pub(crate) fn take_back(&self, container: &str) {
        self.all().remove(container);
    }

    /// The number of a container's task.
    pub(crate) fn of(&self, container: &str) -> u32 {
        let own = self.all().get(container).map(|number| number.value);
        own.unwrap_or_else(std::process::id)
    }

    /// The container whose task's namespace `path` is; `None`: it is the sandbox's.
    pub(crate) fn container_at(&self, path: &Path) -> Option<String> {
        let mut parts = path.strip_prefix("/proc").ok()?.iter();
        let number: u32 = parts.next()?.to_str()?.parse().ok()?;
        let all = self.all();
        let found = all.iter().find(|(_, of)| of.value == number);
        found.map(|(container, _)| container.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_has_a_number_that_leads_to_this_process() {
        let numbers = Numbers::default();
        numbers.give("a").unwrap();
        numbers.give("b").unwrap();
        let (a, b) = (numbers.of("a"), numbers.of("b"));
        assert!(a != b && a != std::process::id() && numbers.of("sandbox") == std::process::id());
        let namespace = |number: u32| std::fs::read_link(format!("/proc/{number}/ns/net")).unwrap();
        assert_eq!(namespace(a), namespace(std::process::id()));
        let at = |number: u32| numbers.container_at(Path::new(&format!("/proc/{number}/ns/pid")));
        assert_eq!((at(a).as_deref(), at(std::process::id())), (Some("a"), None));
        numbers.take_back("a");
        assert_eq!((numbers.of("a"), at(a)), (std::process::id(), None));
    }
}
