//! What the supervisor of its pod reports to the sandbox.

use isopod_runtime::logs::Stream;
use isopod_runtime::run::{AppNews, Watcher};
use isopod_spec::AppName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Sandbox;
use super::container::{Container, Launch};
use crate::pod::Phase;
use crate::tasks::{Key, News};

impl Sandbox {
    /// The container whose app has that name.
    fn container_of(&self, app: &AppName) -> Option<String> {
        let inner = self.inner();
        let found = inner
            .containers
            .iter()
            .find(|(_, container)| container.name == *app);
        found.map(|(id, _)| id.clone())
    }

    fn with<T>(&self, app: &AppName, change: impl FnOnce(&mut Container) -> Option<T>) -> Option<T> {
        let mut inner = self.inner();
        change(
            inner
                .containers
                .values_mut()
                .find(|container| container.name == *app)?,
        )
    }
}

impl Watcher for Sandbox {
    fn stdin(&self, app: &AppName) -> Option<Box<dyn AsyncRead + Unpin + Send>> {
        self.with(app, |container| container.input.take())
    }

    fn output(&self, app: &AppName, stream: Stream) -> Option<Box<dyn AsyncWrite + Unpin + Send>> {
        let number = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        };
        self.with(app, |container| container.outputs[number].take())
    }

    fn app(&self, app: &AppName, news: AppNews) {
        let Some(id) = self.container_of(app) else {
            return;
        };
        let key = Key::new(&id, "");
        let launched = |launch: Launch| {
            self.with(app, |container| Some(container.launch.send_replace(launch)));
        };
        match news {
            AppNews::Started => launched(Launch::Executes),
            AppNews::OutOfMemory => self.publish([News::OutOfMemory(key)]),
            AppNews::Exited(status) => self.ended(&key, Some(status)),
            AppNews::Failed(why) => {
                launched(Launch::Failed(why));
                self.never_ran(&key);
            }
        }
    }

    fn running(&self) {
        self.phases.send_replace(Phase::Up);
    }
}
