//! Messages that hold a secret in clear, or may: what `Debug` shows of them.
//!
//! Messages are shown by whoever traces a call, so the generated `Debug` is left out for these
//! (`tests/generated.rs`) and written here. Not here: wiping; the programs' allocator does that.

use core::fmt;

use crate::pb;

impl fmt::Debug for pb::UnlockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockRequest")
    }
}

impl fmt::Debug for pb::EnterShareRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnterShareRequest")
    }
}

/// What goes to a command in a task and comes from it may be anything that the task knows, and so may
/// the command's arguments.
macro_rules! hidden {
    ($($message:path, $name:literal;)*) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($name)
            }
        })*
    };
}

hidden! {
    pb::ExecInput, "ExecInput";
    pb::exec_input::Input, "Input";
    pb::ExecStart, "ExecStart";
    pb::ExecOutput, "ExecOutput";
    pb::exec_output::Output, "Output";
    pb::ExecData, "ExecData";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_not_shown() {
        let request = pb::UnlockRequest { seed: vec![0xa5; 32].into() };
        assert_eq!(format!("{request:?}"), "UnlockRequest");
        let request = pb::EnterShareRequest { share: b"SECSHARE-1-".to_vec().into() };
        assert_eq!(format!("{request:?}"), "EnterShareRequest");
    }

    #[test]
    fn what_is_typed_into_a_task_and_what_it_prints_is_not_shown() {
        use pb::{exec_input::Input, exec_output::Output};
        let start = pb::ExecStart { argv: vec!["--password=x".into()], ..pb::ExecStart::default() };
        assert_eq!(format!("{start:?}"), "ExecStart");
        let input = pb::ExecInput { input: Some(Input::Start(start)) };
        assert_eq!(format!("{input:?} {:?}", input.input), "ExecInput Some(Input)");
        let data = pb::ExecData { data: b"x".to_vec().into(), ..pb::ExecData::default() };
        assert_eq!(format!("{data:?}"), "ExecData");
        let output = pb::ExecOutput { output: Some(Output::Data(data)) };
        assert_eq!(format!("{output:?} {:?}", output.output), "ExecOutput Some(Output)");
    }
}
