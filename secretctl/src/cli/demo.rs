//! `demo` and `dev`: a whole cluster inside this program.

use clap::Args;

/// Managers that a throwaway cluster can have.
const MANAGERS: std::ops::RangeInclusive<i64> = 1..=7;

/// `demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many managers; 1 starts sooner, 3 agree on every change
    #[arg(long, value_name = "NUMBER", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(MANAGERS))]
    pub(crate) managers: u8,
}

/// `dev`
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many managers; 3 go on when one is killed
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(MANAGERS))]
    pub(crate) managers: u8,
}
