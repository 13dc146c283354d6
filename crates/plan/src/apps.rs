//! Apps: what each executes, as whom, within which limits, and how it lives.

mod app_plan;
mod filter;
pub(crate) mod health;
pub(crate) mod last_words;
pub(crate) mod launch;
pub mod lifecycle;
pub mod limits;
pub mod pod;
pub mod process;
pub(crate) mod roots;
pub mod update;
pub mod users;

pub use app_plan::{AppPlan, ImagePlan, RootPlan, Writes};
