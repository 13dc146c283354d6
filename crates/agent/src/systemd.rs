//! What the agent asks of systemd ([`Manager`]), and how it asks: over systemd's private socket, where there is no
//! bus daemon and signals come unasked (org.freedesktop.systemd1(5)).

use std::collections::HashMap;
use std::os::unix::net::UnixStream;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use zbus::message::Type;
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant};

use crate::appstate::{Active, ServiceState};

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
    #[error("cannot connect to systemd at `{PRIVATE_SOCKET}`")]
    Connect(#[source] std::io::Error),
    #[error("cannot speak to systemd")]
    Greet(#[source] zbus::Error),
    #[error("systemd does not tell `{property}` of `{unit}`")]
    Property {
        unit: String,
        property: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("systemd cannot {action} `{unit}`")]
    Action {
        unit: String,
        action: &'static str,
        #[source]
        source: zbus::Error,
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
    pub(crate) active: Active,
    /// `LoadState`: `loaded`, or why not.
    pub(crate) load: String,
    /// `Result`, in the type's own words; empty where the type has none.
    pub(crate) result: String,
    /// `Requires` and `BindsTo`.
    pub(crate) requires: Vec<String>,
    /// When it last began to change and when it last came to rest, in microseconds of monotonic time.
    pub(crate) window_us: (u64, u64),
}

/// What the agent asks of systemd.
pub(crate) trait Manager {
    /// The state of an app's unit.
    async fn service(&self, unit: &str) -> Result<ServiceState, ManagerError>;
    /// The state of any unit, for a diagnosis.
    async fn unit(&self, unit: &str) -> Result<UnitState, ManagerError>;
    /// Queues the unit's stop.
    async fn stop(&self, unit: &str) -> Result<(), ManagerError>;
    /// Sends a signal.
    async fn kill(&self, unit: &str, whom: Whom, signal: u8) -> Result<(), ManagerError>;
}

/// The one systemd of this guest.
pub(crate) struct Systemd {
    connection: Connection,
}

impl Systemd {
    /// Connects, and watches the units: their names arrive whenever something about them has changed.
    pub(crate) async fn connect(
        units: &[String],
    ) -> Result<(Self, mpsc::UnboundedReceiver<String>), ManagerError> {
        let socket = UnixStream::connect(PRIVATE_SOCKET).map_err(ManagerError::Connect)?;
        let builder = zbus::connection::Builder::unix_stream(socket).p2p();
        let connection = builder.build().await.map_err(ManagerError::Greet)?;
        let signals = MessageStream::from(&connection);
        let (changed, changes) = mpsc::unbounded_channel();
        let units = units.iter().map(|unit| (object_path(unit), unit.clone())).collect();
        tokio::spawn(watch(signals, units, changed));
        Ok((Self { connection }, changes))
    }

    async fn get<T>(&self, unit: &str, interface: &str, property: &'static str) -> Result<T, ManagerError>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        let fail = |source| ManagerError::Property { unit: unit.to_owned(), property, source };
        let (path, body) = (object_path(unit), (interface, property));
        let call = self.connection.call_method(None::<&str>, path, Some(PROPERTIES), "Get", &body);
        let reply = call.await.map_err(fail)?;
        let value: OwnedVariant = reply.body().deserialize().map_err(fail)?;
        T::try_from(value).map_err(|error| fail(error.into()))
    }
}

impl Manager for Systemd {
    async fn service(&self, unit: &str) -> Result<ServiceState, ManagerError> {
        // All questions go out before the first answer is awaited: under emulation each wake-up counts.
        let (active, job, active_enter_us, exec_main_start_us, exec_main_code, exec_main_status) = futures::try_join!(
            self.get::<String>(unit, UNIT, "ActiveState"),
            self.get::<(u32, OwnedObjectPath)>(unit, UNIT, "Job"),
            self.get::<u64>(unit, UNIT, "ActiveEnterTimestampMonotonic"),
            self.get::<u64>(unit, SERVICE, "ExecMainStartTimestampMonotonic"),
            self.get::<i32>(unit, SERVICE, "ExecMainCode"),
            self.get::<i32>(unit, SERVICE, "ExecMainStatus"),
        )?;
        Ok(ServiceState {
            active: Active::parse(&active),
            job: job.0 != 0,
            active_enter_us,
            exec_main_start_us,
            exec_main_code,
            exec_main_status,
        })
    }

    async fn unit(&self, unit: &str) -> Result<UnitState, ManagerError> {
        let (active, load, mut requires, binds_to, began, rested) = futures::try_join!(
            self.get::<String>(unit, UNIT, "ActiveState"),
            self.get::<String>(unit, UNIT, "LoadState"),
            self.get::<Vec<String>>(unit, UNIT, "Requires"),
            self.get::<Vec<String>>(unit, UNIT, "BindsTo"),
            self.get::<u64>(unit, UNIT, "InactiveExitTimestampMonotonic"),
            self.get::<u64>(unit, UNIT, "InactiveEnterTimestampMonotonic"),
        )?;
        requires.extend(binds_to);
        // Not every type of unit has a result.
        let result = self.get::<String>(unit, &type_interface(unit), "Result").await.unwrap_or_default();
        Ok(UnitState { active: Active::parse(&active), load, result, requires, window_us: (began, rested) })
    }

    async fn stop(&self, unit: &str) -> Result<(), ManagerError> {
        let body = (unit, "replace");
        let call = self.connection.call_method(None::<&str>, MANAGER_PATH, Some(MANAGER), "StopUnit", &body);
        let fail = |source| ManagerError::Action { unit: unit.to_owned(), action: "stop", source };
        call.await.map(drop).map_err(fail)
    }

    async fn kill(&self, unit: &str, whom: Whom, signal: u8) -> Result<(), ManagerError> {
        let whom = match whom {
            Whom::Main => "main",
            Whom::All => "all",
        };
        let body = (unit, whom, i32::from(signal));
        let call = self.connection.call_method(None::<&str>, MANAGER_PATH, Some(MANAGER), "KillUnit", &body);
        let fail = |source| ManagerError::Action { unit: unit.to_owned(), action: "signal", source };
        call.await.map(drop).map_err(fail)
    }
}

/// Names each unit of `units` (by object path) that a signal is about, until the connection or the listener ends.
async fn watch(
    mut signals: MessageStream,
    units: HashMap<String, String>,
    changed: mpsc::UnboundedSender<String>,
) {
    while let Some(Ok(message)) = signals.next().await {
        let header = message.header();
        if header.message_type() != Type::Signal {
            continue;
        }
        let unit = match header.member().map(|member| member.as_str()) {
            Some("PropertiesChanged") => header.path().and_then(|path| units.get(path.as_str())).cloned(),
            Some("JobRemoved") => removed_job(&message).filter(|unit| units.values().any(|known| known == unit)),
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
fn removed_job(message: &zbus::Message) -> Option<String> {
    let body = message.body();
    let job: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
    job.ok().map(|(_, _, unit, _)| unit)
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
        assert_eq!(path("0a-b.service"), "_30a_2db_2eservice");
        assert_eq!(path("mnt-a\\x20b.mount"), "mnt_2da_5cx20b_2emount");
        assert_eq!(type_interface("a.b.mount"), "org.freedesktop.systemd1.Mount");
    }
}
