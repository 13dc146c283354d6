//! Apps on their way into a pod that runs: each is sent to the guest as a task, for the guest may be slow.

use std::time::Duration;

use isopod_contract::in_one_line;
use isopod_spec::words::shown;
use isopod_vm::agent::Agent;
use tokio::task::JoinSet;

use crate::control::{AddApp, Done};

/// How long the agent may take for an app's files and mounts.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// An app that was sent.
pub(super) struct Came {
    pub(super) add: Box<AddApp>,
    pub(super) done: Done,
    pub(super) result: Result<(), String>,
}

/// The apps on their way. They end with this.
#[derive(Default)]
pub(super) struct Arrivals(JoinSet<Came>);

impl Arrivals {
    /// Sends one. The guest knows it by its number as soon as this is polled.
    pub(super) fn send(&mut self, agent: &Agent, add: Box<AddApp>, files: Vec<u8>, done: Done) {
        let agent = agent.clone();
        self.0.spawn(async move {
            let arriving = agent.arrive(vec![add.arrived.app.restart], &*files);
            let result = match tokio::time::timeout(ANSWER_DEADLINE, arriving).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(shown(in_one_line(&error))),
                Err(_) => Err(format!(
                    "the agent in the guest did not answer within {} s",
                    ANSWER_DEADLINE.as_secs()
                )),
            };
            Came { add, done, result }
        });
    }

    /// Whether one is on its way.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The next that was sent; waits for ever where there is none. May be cancelled.
    pub(super) async fn came(&mut self) -> Came {
        loop {
            match self.0.join_next().await {
                Some(Ok(came)) => return came,
                // Its client learns that the pod is ending.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}
