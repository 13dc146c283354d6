//! `isopod login`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_spec::reference::DOCKER_HUB;

use crate::failure::Failure;
use crate::output::{self, Report};
use crate::terminal::Unseen;

/// Store the credentials for a registry, if it accepts them
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Login {
    /// The registry, HOST[:PORT] [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// The user [default: asked for]
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password; every user of the host can see it while this command runs [default: asked for]
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

impl Login {
    /// Logs in.
    ///
    /// # Errors
    /// A [`Failure`] where the registry does not take the credentials, or they cannot be kept.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let user = match &self.username {
            Some(user) => user.clone(),
            None => asked("Username: ")?,
        };
        let password = match (&self.password, self.password_stdin) {
            (Some(password), _) => password.clone(),
            (None, true) => {
                let mut text = String::new();
                io::stdin().lock().read_to_string(&mut text)?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            (None, false) => {
                let _unseen = Unseen::enter()?;
                let password = asked("Password: ");
                output::notice("");
                password?
            }
        };
        let registry = self.registry.as_deref().unwrap_or(DOCKER_HUB);
        let file = settings.registries.log_in(registry, &user, &password)?;
        output::notice(&format!("the credentials are in `{}`", file.display()));
        output::data("Login Succeeded\n");
        Ok(ExitCode::SUCCESS)
    }
}

/// A line that the user types.
fn asked(what: &str) -> Result<String, Report> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(
            Report::text("standard input is not a terminal, so credentials cannot be asked for")
                .hint(Some("write `--username USER --password-stdin`".into())),
        );
    }
    let mut line = String::new();
    let read = io::stderr()
        .write_all(what.as_bytes())
        .and_then(|()| stdin.lock().read_line(&mut line));
    read.map_err(|error| Report::text("cannot read from the terminal").because(error.to_string()))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
