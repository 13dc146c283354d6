//! The commands, a file for each: its arguments with their help, and what it does. Those of `run`, `prepare` and `plan` are
//! read by [`args`](crate::args).

pub(crate) mod app;
pub(crate) mod attach;
pub(crate) mod boot_report;
pub(crate) mod cat_manifest;
pub(crate) mod commit;
pub(crate) mod completion;
pub(crate) mod compose;
pub(crate) mod cp;
pub(crate) mod diff;
pub(crate) mod docs;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod exists;
pub(crate) mod export;
pub(crate) mod gc;
pub(crate) mod generate;
pub(crate) mod image;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod kube;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod pod;
pub(crate) mod port;
pub(crate) mod prepare;
pub(crate) mod ps;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod run;
mod selection;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod supervise;
pub(crate) mod system;
pub(crate) mod template;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod wait;

use clap::Subcommand;

/// A command that makes no pod. Their order is that of the help.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum OtherCommand {
    Start(start::Start),
    Ps(ps::Ps),
    Port(port::Port),
    Wait(wait::Wait),
    List(list::List),
    Status(status::Status),
    Inspect(inspect::Inspect),
    CatManifest(cat_manifest::CatManifest),
    Events(events::Events),
    Logs(logs::Logs),
    Stop(stop::Stop),
    Kill(kill::Kill),
    Pause(pause::Pause),
    Unpause(pause::Unpause),
    Exec(exec::Exec),
    Attach(attach::Attach),
    Cp(cp::Cp),
    Diff(diff::Diff),
    Export(export::Export),
    Commit(commit::Commit),
    Exists(exists::Exists),
    Top(top::Top),
    Stats(stats::Stats),
    Restart(restart::Restart),
    Update(update::Update),
    Rename(rename::Rename),
    Rm(rm::Rm),
    Gc(gc::Gc),
    #[command(subcommand)]
    App(app::AppCommand),
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    #[command(subcommand)]
    Network(network::NetworkCommand),
    #[command(name = "internal-supervise", hide = true)]
    Supervise(supervise::Supervise),
    Login(login::Login),
    Logout(logout::Logout),
    #[command(subcommand)]
    System(system::SystemCommand),
    #[command(subcommand)]
    Template(template::TemplateCommand),
    Version(version::Version),
    Info(info::Info),
    Doctor(doctor::Doctor),
    BootReport(boot_report::BootReport),
    Completion(completion::Completion),
    #[command(name = "internal-docs", hide = true)]
    Docs(docs::Docs),
    #[command(subcommand)]
    Pod(pod::PodCommand),
    #[command(subcommand)]
    Generate(generate::GenerateCommand),
    Compose(compose::Compose),
    #[command(subcommand)]
    Kube(kube::KubeCommand),
    #[command(subcommand)]
    Image(image::ImageCommand),
}
