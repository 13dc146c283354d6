//! What the agent asks of systemd ([`Manager`]), and how it asks: over systemd's private socket, where there is no
//! bus daemon and signals come unasked (org.freedesktop.systemd1(5)).

pub(crate) mod appstate;
pub(crate) mod dbus;
pub(crate) mod diagnosis;
pub(crate) mod kmsg;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isopod_contract::message::ExitStatus;
use tokio::sync::mpsc;

use crate::systemd::appstate::{Activity, CLD_KILLED, ServiceState, exit_status};
use crate::systemd::dbus::{Args, CommandEnd, Connection, DbusError, Decoder, FromWire, Signal, SystemdJob};

/// systemd's private socket.
const PRIVATE_SOCKET: &str = "/run/systemd/private";

const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why systemd could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagerError {
    #[error("cannot use systemd's socket `{PRIVATE_SOCKET}`")]
    Connect(#[source] DbusError),
    #[error("systemd does not report `{property}` of `{unit}`")]
    Property {
        unit: String,
        property: &'static str,
        #[source]
        source: DbusError,
    },
    #[error("systemd cannot reload its units")]
    Reload(#[source] DbusError),
    #[error("systemd cannot {action} `{unit}`")]
    Action {
        unit: String,
        action: &'static str,
        #[source]
        source: DbusError,
    },
}

/// Which processes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The main process.
    Main,
    /// All of them.
    All,
}

/// What systemd says of a unit that an app needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitState {
    pub(crate) active: Activity,
    /// `LoadState`: `loaded`, or why not.
    pub(crate) load: String,
    /// `Result`, in the type's own words; empty where the type has none.
    pub(crate) result: String,
    /// Whether one of its `Assert...=` did not hold when it was to start.
    pub(crate) assert_failed: bool,
    /// `Requires` and `BindsTo`.
    pub(crate) requires: Vec<String>,
    /// When it last began to change and when it last came to rest, in microseconds of monotonic time.
    pub(crate) window_us: (u64, u64),
}

/// Where the processes of an app's unit are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitProcess {
    pub(crate) active: Activity,
    /// `MainPID`; 0 where there is none.
    pub(crate) main_pid: u32,
    /// `ControlGroup`; empty where there is none.
    pub(crate) cgroup: String,
}

/// What the agent asks of systemd.
pub(crate) trait Manager {
    /// Watches a unit from now on.
    fn watch(&self, unit: &str);
    /// Watches a unit no longer.
    fn forget(&self, unit: &str);
    /// The state of an app's unit.
    async fn service(&self, unit: &str) -> Result<ServiceState, ManagerError>;
    /// The state of any unit, for a diagnosis.
    async fn unit(&self, unit: &str) -> Result<UnitState, ManagerError>;
    /// Reloads all units.
    async fn reload(&self) -> Result<(), ManagerError>;
    /// What a unit is at rest; `None` while something is to be done with it.
    async fn rest(&self, unit: &str) -> Result<Option<Activity>, ManagerError>;
    /// Queues the unit's start.
    async fn start(&self, unit: &str) -> Result<(), ManagerError>;
    /// How an app's unit runs its processes.
    async fn process(&self, unit: &str) -> Result<UnitProcess, ManagerError>;
    /// The cgroup of a unit; empty where it has none.
    async fn cgroup(&self, unit: &str) -> Result<String, ManagerError>;
    /// How what the unit runs after its program has ended; `None` where nothing of that kind has ended yet.
    async fn post_stop(&self, unit: &str) -> Result<Option<ExitStatus>, ManagerError>;
    /// Gives the unit these properties, until the guest ends.
    async fn set(&self, unit: &str, properties: &[(String, u64)]) -> Result<(), ManagerError>;
    /// Queues the unit's stop.
    async fn stop(&self, unit: &str) -> Result<(), ManagerError>;
    /// Forgets that the unit has failed, where it has.
    async fn reset_failed(&self, unit: &str) -> Result<(), ManagerError>;
    /// Sends a signal.
    async fn kill(&self, unit: &str, whom: Whom, signal: u8) -> Result<(), ManagerError>;
}

/// The one systemd of this guest.
pub(crate) struct Systemd {
    connection: Connection,
    watched: Watched,
}

/// The units that are watched, by their object paths.
type Watched = Arc<Mutex<HashMap<String, String>>>;

impl Systemd {
    /// Connects; the names of units that are [watched](Manager::watch) arrive whenever something about them has changed.
    pub(crate) async fn connect() -> Result<(Self, mpsc::UnboundedReceiver<String>), ManagerError> {
        let connected = Connection::connect(Path::new(PRIVATE_SOCKET)).await;
        let (connection, signals) = connected.map_err(ManagerError::Connect)?;
        let (changed, changes) = mpsc::unbounded_channel();
        let watched = Watched::default();
        tokio::spawn(watch(signals, Arc::clone(&watched), changed));
        Ok((Self { connection, watched }, changes))
    }

    async fn get<T: FromWire>(
        &self,
        unit: &str,
        interface: &str,
        property: &'static str,
    ) -> Result<T, ManagerError> {
        let args = Args::default().string(interface).string(property);
        let answer = self
            .connection
            .call(&object_path(unit), PROPERTIES, "Get", args)
            .await;
        let value = answer.and_then(|body| dbus::variant(&body));
        value.map_err(|source| ManagerError::Property {
            unit: unit.to_owned(),
            property,
            source,
        })
    }

    async fn act(
        &self,
        unit: &str,
        action: &'static str,
        method: &str,
        args: Args,
    ) -> Result<(), ManagerError> {
        let answer = self.connection.call(MANAGER_PATH, MANAGER, method, args).await;
        answer.map(drop).map_err(|source| ManagerError::Action {
            unit: unit.to_owned(),
            action,
            source,
        })
    }
}

impl Manager for Systemd {
    fn watch(&self, unit: &str) {
        of(&self.watched).insert(object_path(unit), unit.to_owned());
    }

    fn forget(&self, unit: &str) {
        of(&self.watched).remove(&object_path(unit));
    }

    async fn service(&self, unit: &str) -> Result<ServiceState, ManagerError> {
        // All questions go out before the first answer is awaited: under emulation each wake-up counts.
        let (active, job, active_enter_us, exec_main_start_us, exec_main_code, exec_main_status) = futures::try_join!(
            self.get::<String>(unit, UNIT, "ActiveState"),
            self.get::<SystemdJob>(unit, UNIT, "Job"),
            self.get::<u64>(unit, UNIT, "ActiveEnterTimestampMonotonic"),
            self.get::<u64>(unit, SERVICE, "ExecMainStartTimestampMonotonic"),
            self.get::<i32>(unit, SERVICE, "ExecMainCode"),
            self.get::<i32>(unit, SERVICE, "ExecMainStatus"),
        )?;
        // Asked only when it is wanted.
        let killed_pid = match exec_main_code {
            CLD_KILLED => self.get::<u32>(unit, SERVICE, "ExecMainPID").await?,
            _ => 0,
        };
        Ok(ServiceState {
            active: Activity::parse(&active),
            job: job.0 != 0,
            active_enter_us,
            exec_main_start_us,
            exec_main_code,
            exec_main_status,
            killed_pid,
        })
    }

    async fn unit(&self, unit: &str) -> Result<UnitState, ManagerError> {
        let (active, load, mut requires, binds_to, began, rested, asserted, asserted_us) = futures::try_join!(
            self.get::<String>(unit, UNIT, "ActiveState"),
            self.get::<String>(unit, UNIT, "LoadState"),
            self.get::<Vec<String>>(unit, UNIT, "Requires"),
            self.get::<Vec<String>>(unit, UNIT, "BindsTo"),
            self.get::<u64>(unit, UNIT, "InactiveExitTimestampMonotonic"),
            self.get::<u64>(unit, UNIT, "InactiveEnterTimestampMonotonic"),
            self.get::<bool>(unit, UNIT, "AssertResult"),
            self.get::<u64>(unit, UNIT, "AssertTimestampMonotonic"),
        )?;
        requires.extend(binds_to);
        // Not every type of unit has a result.
        let result = self
            .get::<String>(unit, &type_interface(unit), "Result")
            .await
            .unwrap_or_default();
        Ok(UnitState {
            active: Activity::parse(&active),
            load,
            result,
            assert_failed: asserted_us > 0 && !asserted,
            requires,
            window_us: (began, rested),
        })
    }

    async fn reload(&self) -> Result<(), ManagerError> {
        let answer = self
            .connection
            .call(MANAGER_PATH, MANAGER, "Reload", Args::default());
        answer.await.map(drop).map_err(ManagerError::Reload)
    }

    async fn rest(&self, unit: &str) -> Result<Option<Activity>, ManagerError> {
        let (active, job) = futures::try_join!(
            self.get::<String>(unit, UNIT, "ActiveState"),
            self.get::<SystemdJob>(unit, UNIT, "Job"),
        )?;
        let active = Activity::parse(&active);
        Ok(Some(active).filter(|active| job.0 == 0 && *active != Activity::Changing))
    }

    async fn start(&self, unit: &str) -> Result<(), ManagerError> {
        self.act(
            unit,
            "start",
            "StartUnit",
            Args::default().string(unit).string("replace"),
        )
        .await
    }

    async fn process(&self, unit: &str) -> Result<UnitProcess, ManagerError> {
        let (active, main_pid, cgroup) = futures::try_join!(
            self.get::<String>(unit, UNIT, "ActiveState"),
            self.get::<u32>(unit, SERVICE, "MainPID"),
            self.cgroup(unit),
        )?;
        Ok(UnitProcess {
            active: Activity::parse(&active),
            main_pid,
            cgroup,
        })
    }

    async fn cgroup(&self, unit: &str) -> Result<String, ManagerError> {
        self.get(unit, SERVICE, "ControlGroup").await
    }

    async fn post_stop(&self, unit: &str) -> Result<Option<ExitStatus>, ManagerError> {
        let ran: CommandEnd = self.get(unit, SERVICE, "ExecStopPost").await?;
        Ok(exit_status(ran.code, ran.status))
    }

    async fn set(&self, unit: &str, properties: &[(String, u64)]) -> Result<(), ManagerError> {
        // The second: in `/run`, which is all that the guest has.
        let args = Args::default().string(unit).boolean(true).properties(properties);
        self.act(unit, "change", "SetUnitProperties", args).await
    }

    async fn stop(&self, unit: &str) -> Result<(), ManagerError> {
        self.act(
            unit,
            "stop",
            "StopUnit",
            Args::default().string(unit).string("replace"),
        )
        .await
    }

    async fn reset_failed(&self, unit: &str) -> Result<(), ManagerError> {
        self.act(unit, "reset", "ResetFailedUnit", Args::default().string(unit))
            .await
    }

    async fn kill(&self, unit: &str, whom: Whom, signal: u8) -> Result<(), ManagerError> {
        let whom = match whom {
            Whom::Main => "main",
            Whom::All => "all",
        };
        let args = Args::default().string(unit).string(whom).int32(signal.into());
        self.act(unit, "signal", "KillUnit", args).await
    }
}

fn of(watched: &Watched) -> MutexGuard<'_, HashMap<String, String>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names each unit of `watched` that a signal is about, until the connection or the listener ends.
async fn watch(
    mut signals: mpsc::UnboundedReceiver<Signal>,
    watched: Watched,
    changed: mpsc::UnboundedSender<String>,
) {
    while let Some(signal) = signals.recv().await {
        let unit = match signal.member.as_str() {
            "PropertiesChanged" => of(&watched).get(&signal.path).cloned(),
            "JobRemoved" => {
                removed_job(&signal.body).filter(|unit| of(&watched).contains_key(&object_path(unit)))
            }
            _ => None,
        };
        if let Some(unit) = unit
            && changed.send(unit).is_err()
        {
            return;
        }
    }
}

/// The unit of a `JobRemoved(u id, o job, s unit, s result)`.
fn removed_job(body: &[u8]) -> Option<String> {
    let mut body = Decoder::new(body);
    body.u32()?;
    body.string()?;
    body.string()
}

/// The interface of a unit's type: `org.freedesktop.systemd1.Mount`.
fn type_interface(unit: &str) -> String {
    let suffix = unit.rsplit('.').next().unwrap_or_default();
    let (first, rest) = suffix.split_at_checked(1).unwrap_or_default();
    format!("org.freedesktop.systemd1.{}{rest}", first.to_ascii_uppercase())
}

/// The object path of a unit: every byte but letters and digits, and a digit in front, as `_xx` (`bus_label_escape`,
/// src/basic/bus-label.c). systemd loads the unit when it is first asked about.
fn object_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    // A path that ends with `/` is none: systemd would end the conversation over it.
    if unit.is_empty() {
        path.push('_');
    }
    for (i, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        let path = |unit| object_path(unit).rsplit('/').next().map(str::to_owned).unwrap();
        assert_eq!(path("web.service"), "web_2eservice");
        assert_eq!(path(""), "_");
        assert_eq!(path("0a-b.service"), "_30a_2db_2eservice");
        assert_eq!(path("mnt-a\\x20b.mount"), "mnt_2da_5cx20b_2emount");
        assert_eq!(type_interface("a.b.mount"), "org.freedesktop.systemd1.Mount");
    }
}
