//! Changes of how apps run: asked of the agent, each as a task, for the guest may be slow.

use std::path::Path;
use std::time::Duration;

use isopod_contract::change::{AppChange, ChangeAnswer};
use isopod_contract::message::HostStream;
use isopod_plan::apps::update::Update;
use isopod_protocol::codec::read_message;
use isopod_spec::words::shown;
use isopod_vm::agent::Agent;
use tokio::task::JoinSet;

use crate::control::{Done, Refusal};
use crate::pods::files::PodRecord;
use crate::pods::updates::Updates;

/// How long the agent may take: some longer than it waits itself for an app's processes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// A change that was tried.
pub(super) struct ChangedApps {
    pub(super) app: usize,
    pub(super) what: What,
    /// `None` where nobody asked for it: it is what was changed in an earlier life of the pod.
    pub(super) done: Option<Done>,
    pub(super) result: Result<(), Refusal>,
}

/// What is changed of an app.
#[derive(Clone, Debug)]
pub(super) enum What {
    Change(AppChange),
    Update(Update),
}

impl What {
    fn changes(&self) -> Vec<AppChange> {
        match self {
            What::Change(change) => vec![change.clone()],
            What::Update(update) => update.changes(),
        }
    }
}

/// The changes on their way. They end with this.
#[derive(Default)]
pub(super) struct AppChanges(JoinSet<ChangedApps>);

impl AppChanges {
    /// Begins with what was changed of the pod at `dir` in its earlier lives.
    pub(super) fn again(record: &PodRecord, dir: &Path, agent: &Agent) -> Self {
        let (mut changes, updates) = (Self::default(), Updates::read(dir));
        for (app, of_app) in (0..).zip(&record.apps) {
            if let Some(update) = updates.apps.get(&of_app.name) {
                changes.want(agent, app, What::Update(*update), None);
            }
        }
        changes
    }

    /// Begins one.
    pub(super) fn want(&mut self, agent: &Agent, app: u16, what: What, done: Option<Done>) {
        let agent = agent.clone();
        if let What::Update(Update {
            restart: Some(policy),
            ..
        }) = &what
        {
            agent.allow_restarts(app.into(), *policy);
        }
        self.0.spawn(async move {
            let mut result = Ok(());
            for change in what.changes() {
                let header = HostStream::ChangeApp { app, change };
                result = send(&agent, &header).await.map_err(Refusal::from);
                if result.is_err() {
                    break;
                }
            }
            ChangedApps {
                app: app.into(),
                what,
                done,
                result,
            }
        });
    }

    /// The next that was tried; waits for ever where there is none. May be cancelled.
    pub(super) async fn changed(&mut self) -> ChangedApps {
        loop {
            match self.0.join_next().await {
                Some(Ok(changed)) => return changed,
                // Its client learns that the pod is ending.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Sends it to the agent, and receives how it went. The text is the guest's: they are escaped.
async fn send(agent: &Agent, header: &HostStream) -> Result<(), String> {
    let stream = agent.open(header).await;
    let mut stream = stream.map_err(|error| format!("cannot ask the agent in the guest: {error}"))?;
    let answer = tokio::time::timeout(ANSWER_DEADLINE, read_message(&mut stream)).await;
    let within = ANSWER_DEADLINE.as_secs();
    let answer = answer.map_err(|_| format!("the agent in the guest did not answer within {within} s"))?;
    match answer {
        Ok(Some(ChangeAnswer::Done)) => Ok(()),
        Ok(Some(ChangeAnswer::Failed { text })) => Err(shown(text)),
        Ok(None) => Err("the agent in the guest did not answer".to_owned()),
        Err(error) => Err(format!(
            "cannot read the answer of the agent in the guest: {error}"
        )),
    }
}
