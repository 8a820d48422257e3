//! What `demo` and `dev` tell.

use serde::Serialize;

/// A cluster that runs until interrupted.
#[derive(Serialize)]
pub(crate) struct Dev {
    pub(crate) socket: String,
    pub(crate) folder: String,
    pub(crate) managers: Vec<String>,
}

/// What the demonstration saw.
#[derive(Serialize)]
pub(crate) struct Demo {
    /// `root`, `user_namespace` or `folder`.
    pub(crate) mode: &'static str,
    /// What is weaker than in earnest, a sentence each.
    pub(crate) weaker: Vec<String>,
    pub(crate) managers: usize,
    pub(crate) secret: DemoSecret,
    pub(crate) task: DemoTask,
    pub(crate) disk: DemoSearch,
    pub(crate) memory: DemoSearch,
}

/// Its secret; never the value.
#[derive(Serialize)]
pub(crate) struct DemoSecret {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) bytes: usize,
    pub(crate) is_made: bool,
}

/// What its task sees.
#[derive(Serialize)]
pub(crate) struct DemoTask {
    /// The lines of `ls -ln`.
    pub(crate) files: Vec<String>,
    pub(crate) filesystem: Option<String>,
    pub(crate) options: Vec<String>,
    pub(crate) value_is_the_one_stored: bool,
}

/// A search for the value in clear.
#[derive(Serialize)]
pub(crate) struct DemoSearch {
    pub(crate) is_searched: bool,
    pub(crate) is_found: Option<bool>,
    pub(crate) bytes: u64,
    pub(crate) what: Option<String>,
    /// Why it was not searched.
    pub(crate) because: Option<String>,
}
