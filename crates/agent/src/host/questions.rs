//! What the tasks that serve the host's streams have to know of apps' units, and what they have systemd do: they ask the
//! session, which alone speaks to systemd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_contract::arrival::{ArrivalTimes, Departure};
use isopod_contract::config::{GuestApp, GuestRestart, Identity};
use isopod_contract::exec::Request;
use isopod_contract::hotplug::{HotplugMount, HotplugVolume};
use isopod_contract::in_one_line;
use isopod_contract::launch::{GuestIdentity, GuestLaunch};
use isopod_contract::message::AppIndex;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::apps::launch;
use crate::apps::paused::Paused;
use crate::arrival::Arrived;
use crate::exec::enter::{Action, Execute, Job};
use crate::exec::environment;
use crate::systemd::appstate::Activity;
use crate::systemd::{Manager, ManagerError, UnitProcess};

/// The agent's own program.
pub(super) const SELF: &str = "/proc/self/exe";

/// A bit for each capability, up to `CAP_CHECKPOINT_RESTORE` (capabilities(7)).
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// What a task asks the session.
pub(super) enum Question {
    /// How an app runs.
    Process(AppIndex, oneshot::Sender<Result<Running, String>>),
    Name(AppIndex, oneshot::Sender<Result<String, String>>),
    /// The cgroup of each app, empty where it has none.
    Cgroups(oneshot::Sender<Vec<(String, u32)>>),
    /// That what has come begins; when systemd was asked to.
    Arrived(
        Box<Arrived>,
        AppIndex,
        oneshot::Sender<Result<ArrivalTimes, String>>,
    ),
    /// That the VM is another from now on.
    Identify(Box<Identity>, oneshot::Sender<Result<(), String>>),
    /// That an app which has ended is forgotten.
    Forget(Departure, oneshot::Sender<Result<(), String>>),
    /// That systemd reloads its units.
    Reload(oneshot::Sender<Result<(), String>>),
    /// That a unit is started.
    Start(String, oneshot::Sender<Result<(), String>>),
    /// What a unit is at rest.
    Rest(String, oneshot::Sender<Result<Option<Activity>, String>>),
    /// That an app's unit has these properties.
    Set(AppIndex, Vec<(String, u64)>, oneshot::Sender<Result<(), String>>),
    /// That an app is restarted so from now on: the session's own to do.
    Restart(
        AppIndex,
        Option<GuestRestart>,
        oneshot::Sender<Result<(), String>>,
    ),
    /// That apps must have these mounts when they start from now on, or need not any more.
    Expect {
        mounts: Vec<HotplugMount>,
        expected: bool,
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// How an app runs: its unit, and what it was planned to execute.
pub(super) struct Running {
    pub(super) unit: UnitProcess,
    /// What makes a terminal of the app.
    pub(super) ptmx: PathBuf,
    launch: Result<GuestLaunch, String>,
    oom_score_adj: i16,
}

impl Running {
    fn new(app: &GuestApp, unit: UnitProcess) -> Self {
        Self {
            unit,
            ptmx: Path::new(&app.dev).join("pts/ptmx"),
            launch: launch::read(app),
            oom_score_adj: app.oom_score_adj.unwrap_or(0),
        }
    }

    /// How many processes of its unit are the agent's.
    pub(super) fn helpers(&self) -> u32 {
        self.launch
            .as_ref()
            .map_or(0, |launch| launch.processes.helpers())
    }
}

/// Whether the app has been removed, and is a number alone: systemd knows no unit of it.
fn has_gone(app: &GuestApp) -> bool {
    app.unit.is_empty()
}

/// Answers a task's question.
pub(super) async fn answer(manager: &impl Manager, apps: &mut [GuestApp], question: Question) {
    let words = |error: ManagerError| in_one_line(&error);
    match question {
        Question::Process(app, reply) => {
            let process = match apps.get(usize::from(app)) {
                Some(app) if has_gone(app) => Err("the app has been removed".to_owned()),
                Some(app) => match manager.process(&app.unit).await {
                    Ok(unit) => Ok(Running::new(app, unit)),
                    Err(error) => Err(words(error)),
                },
                None => Err(format!("there is no app {app}")),
            };
            let _ = reply.send(process);
        }
        Question::Name(app, reply) => {
            let app = apps.get(usize::from(app));
            let _ = reply.send(Ok(app.map(|app| app.name.clone()).unwrap_or_default()));
        }
        Question::Cgroups(reply) => {
            let of = async |app: &GuestApp| match has_gone(app) {
                true => (String::new(), 0),
                false => {
                    let helpers = launch::read(app).map_or(0, |launch| launch.processes.helpers());
                    (manager.cgroup(&app.unit).await.unwrap_or_default(), helpers)
                }
            };
            let _ = reply.send(futures::future::join_all(apps.iter().map(of)).await);
        }
        // The session's own to answer.
        Question::Arrived(_, _, reply) => drop(reply.send(Err("no app can be added now".to_owned()))),
        Question::Identify(_, reply) => drop(reply.send(Err("the VM cannot become another now".to_owned()))),
        Question::Set(app, properties, reply) => {
            let set = match apps.get(usize::from(app)).filter(|app| !has_gone(app)) {
                Some(app) => manager.set(&app.unit, &properties).await.map_err(words),
                None => Err(format!("there is no app {app}")),
            };
            let _ = reply.send(set);
        }
        Question::Restart(app, _, reply) => drop(reply.send(Err(format!("app {app} is not restarted")))),
        Question::Forget(_, reply) => drop(reply.send(Err("no app can be removed now".to_owned()))),
        Question::Reload(reply) => drop(reply.send(manager.reload().await.map_err(words))),
        Question::Start(unit, reply) => drop(reply.send(manager.start(&unit).await.map_err(words))),
        Question::Rest(unit, reply) => drop(reply.send(manager.rest(&unit).await.map_err(words))),
        Question::Expect {
            mounts,
            expected,
            reply,
        } => {
            for mount in mounts {
                let Some(app) = apps.get_mut(usize::from(mount.app)) else {
                    continue;
                };
                app.mounts.retain(|known| known.unit != mount.mount.unit);
                app.mounts.extend(expected.then_some(mount.mount));
            }
            let _ = reply.send(Ok(()));
        }
    }
}

/// How the unit of an app that runs does so.
pub(super) async fn process(manager: &impl Manager, app: &GuestApp) -> Result<UnitProcess, String> {
    let process = manager
        .process(&app.unit)
        .await
        .map_err(|error| in_one_line(&error))?;
    that_runs(&process)?;
    Ok(process)
}

fn that_runs(process: &UnitProcess) -> Result<(), String> {
    // One that is on its way up may be there already: what is not will be found out.
    let up = matches!(process.active, Activity::Active | Activity::Changing);
    if !up || process.main_pid == 0 {
        return Err("the app is not running".to_owned());
    }
    Ok(())
}

/// What `enter` is to do for a command of the agent's own in an app.
pub(super) fn job_for(app: &GuestApp, process: UnitProcess, argv: Vec<String>) -> Result<Job, String> {
    let request = Request {
        app: 0,
        argv,
        env: Vec::new(),
        user: None,
        working_dir: None,
        terminal: None,
        stdin: false,
        exactly: None,
        privileged: false,
    };
    command_of(Running::new(app, process), request)
}

/// What `enter` is to do for a command.
pub(super) fn command_of(running: Running, request: Request) -> Result<Job, String> {
    let (unit, launch) = (running.unit, running.launch?);
    let own_home = request.env.iter().any(|(name, _)| name == "HOME");
    let of_app = match request.exactly {
        Some(_) => BTreeMap::new(),
        None => launch.env,
    };
    let env = environment::of_command(of_app, request.env, request.terminal.is_some());
    let env = env.map_err(|name| format!("`{}` is not the name of a variable", name.escape_debug()))?;
    let mut process = launch.process;
    if let Some(dir) = request.working_dir {
        process.working_dir = dir;
    }
    if request.privileged {
        process.capabilities = ALL_CAPABILITIES;
    }
    let exactly = request.exactly.is_some();
    if let Some(given) = request.exactly {
        process.identity = GuestIdentity {
            uid: given.uid,
            gid: given.gid,
            groups: given.groups,
        };
        process.capabilities = given.capabilities;
        process.no_new_privileges = given.no_new_privileges;
    }
    let execute = Execute {
        argv: request.argv,
        env,
        process,
        user: request.user.filter(|user| !user.is_empty() && !exactly),
        exactly,
        own_home,
        terminal: request.terminal.is_some(),
    };
    Ok(Job {
        pid: unit.main_pid.cast_signed(),
        cgroup: unit.cgroup,
        oom_score_adj: running.oom_score_adj,
        root: None,
        action: Action::Execute(execute),
    })
}

/// Asks the session.
#[derive(Clone)]
pub(super) struct SessionHandle {
    ask: mpsc::Sender<Question>,
    /// Held while something comes or goes.
    pub(super) volumes: Arc<Mutex<()>>,
    /// The apps that are held.
    pub(super) paused: Paused,
}

impl SessionHandle {
    /// Of a session which answers what comes by `ask`.
    pub(super) fn new(ask: mpsc::Sender<Question>, paused: Paused) -> Self {
        Self {
            ask,
            volumes: Arc::default(),
            paused,
        }
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Question,
    ) -> Result<T, String> {
        let ended = || "the session has ended".to_owned();
        let (reply, answer) = oneshot::channel();
        self.ask.send(question(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// The numbers of the apps.
    pub(super) async fn apps(&self) -> impl Iterator<Item = AppIndex> + use<> {
        let cgroups = self.cgroups().await.unwrap_or_default();
        (0..).zip(cgroups).map(|(app, _)| app)
    }

    /// An app's name; empty where there is no such app.
    pub(super) async fn app_name(&self, app: AppIndex) -> String {
        let name = self.ask(|reply| Question::Name(app, reply)).await;
        name.unwrap_or_default()
    }

    /// Lets what has come begin.
    pub(super) async fn arrived(&self, arrived: Arrived, first: AppIndex) -> Result<ArrivalTimes, String> {
        self.ask(|reply| Question::Arrived(Box::new(arrived), first, reply))
            .await
    }

    /// Makes the VM another one.
    pub(super) async fn identify(&self, identity: Identity) -> Result<(), String> {
        self.ask(|reply| Question::Identify(Box::new(identity), reply))
            .await
    }

    /// Lets an app that has ended be forgotten.
    pub(super) async fn forget(&self, departure: Departure) -> Result<(), String> {
        self.ask(|reply| Question::Forget(departure, reply)).await
    }

    /// Lets systemd reload its units.
    pub(super) async fn reload(&self) -> Result<(), String> {
        self.ask(Question::Reload).await
    }

    /// Queues a unit's start.
    pub(super) async fn start(&self, unit: &str) -> Result<(), String> {
        self.ask(|reply| Question::Start(unit.to_owned(), reply)).await
    }

    /// What a unit is at rest; `None` while something is to be done with it.
    pub(super) async fn rest(&self, unit: &str) -> Result<Option<Activity>, String> {
        self.ask(|reply| Question::Rest(unit.to_owned(), reply)).await
    }

    /// Says whether apps must have these mounts when they start.
    pub(super) async fn expect(&self, attachment: &HotplugVolume, expected: bool) -> Result<(), String> {
        let mounts = attachment.mounts.clone();
        self.ask(|reply| Question::Expect {
            mounts,
            expected,
            reply,
        })
        .await
    }

    /// How the unit of an app stands, whether or not it runs.
    pub(super) async fn unit_process(&self, app: AppIndex) -> Result<UnitProcess, String> {
        let running = self.ask(|reply| Question::Process(app, reply)).await?;
        Ok(running.unit)
    }

    /// How the unit of an app that runs does so.
    pub(super) async fn running(&self, app: AppIndex) -> Result<Running, String> {
        let running = self.ask(|reply| Question::Process(app, reply)).await?;
        that_runs(&running.unit)?;
        Ok(running)
    }

    /// Whether an app has no process.
    pub(super) async fn is_at_rest(&self, app: AppIndex) -> Result<bool, String> {
        let unit = self.unit_process(app).await?;
        Ok(unit.main_pid == 0 && matches!(unit.active, Activity::Inactive | Activity::Failed))
    }

    /// Likewise, of one that is not held: whatever joins it would be.
    pub(super) async fn process(&self, app: AppIndex) -> Result<Running, String> {
        match self.paused.contains(app) {
            true => Err("the app is paused: `isopod unpause` lets it continue".to_owned()),
            false => self.running(app).await,
        }
    }

    /// What `enter` is to do in an app that runs.
    pub(super) async fn job(&self, app: AppIndex, action: Action) -> Result<Job, String> {
        let running = self.process(app).await?;
        Ok(Job {
            pid: running.unit.main_pid.cast_signed(),
            cgroup: running.unit.cgroup,
            oom_score_adj: running.oom_score_adj,
            root: None,
            action,
        })
    }

    /// Gives an app that runs these properties. `TasksMax` is the app's own alone.
    pub(super) async fn set(&self, app: AppIndex, properties: &[(String, u64)]) -> Result<(), String> {
        let helpers = u64::from(self.running(app).await?.helpers());
        let with_helpers = |(name, value): &(String, u64)| match name.as_str() {
            "TasksMax" => (name.clone(), value.saturating_add(helpers)),
            _ => (name.clone(), *value),
        };
        let properties = properties.iter().map(with_helpers).collect();
        self.ask(|reply| Question::Set(app, properties, reply)).await
    }

    /// Has an app restarted so from its next end on.
    pub(super) async fn restart(&self, app: AppIndex, restart: Option<GuestRestart>) -> Result<(), String> {
        self.ask(|reply| Question::Restart(app, restart, reply)).await
    }

    /// The apps' cgroups, and how many processes in them are the agent's.
    pub(super) async fn cgroups(&self) -> Option<Vec<(String, u32)>> {
        let (reply, cgroups) = oneshot::channel();
        self.ask.send(Question::Cgroups(reply)).await.ok()?;
        cgroups.await.ok()
    }
}
