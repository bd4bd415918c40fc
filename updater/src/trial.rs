//! What to do about an update that was started.

use core::time::Duration;

use slots::State;
use slots::state::Running;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: no update was started, or it has time left.
    Wait,
    /// To keep the update: this state, and words for the log.
    Keep(State, String),
    /// To note that the update did not come up: this state, and words for the log.
    Leave(State, String),
    /// To start the machine anew, which starts the kernel before the update.
    Return(String),
}

/// Decides by the state, the kernel that runs, how long it has been tried, and whether its services are up.
pub fn step(
    state: &State,
    running: Running,
    age: Duration,
    deadline: Duration,
    healthy: impl FnOnce() -> Result<(), String>,
) -> Step {
    match running {
        Running::Trial => match healthy() {
            Ok(()) => Step::Keep(state.kept(), format!("the update in slot {} came up and is kept", state.trial)),
            Err(why) if age >= deadline => Step::Return(format!(
                "the update in slot {} did not come up: {why}; returning to the kernel before",
                state.trial
            )),
            Err(_) => Step::Wait,
        },
        Running::Returned => {
            let words = format!("the update in slot {} did not come up; slot {} runs again", state.trial, state.good);
            Step::Leave(state.without_trial(), words)
        }
        Running::Good | Running::Before | Running::Neither => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use slots::state::Kernel;

    use super::*;

    #[test]
    fn an_update_is_kept_or_left() {
        let state = State { tries: 0, ..State::new(Kernel::default()).with_update(Kernel::default()) };
        let decide = |running, seconds, healthy: Result<(), String>| {
            step(&state, running, Duration::from_secs(seconds), Duration::from_secs(120), || healthy)
        };
        assert!(
            matches!(decide(Running::Trial, 5, Ok(())), Step::Keep(state, _) if state.good == 2 && state.trial == 0)
        );
        assert_eq!(decide(Running::Trial, 119, Err("x".into())), Step::Wait);
        assert!(matches!(decide(Running::Trial, 120, Err("x".into())), Step::Return(why) if why.contains("up: x;")));
        assert!(
            matches!(decide(Running::Returned, 1, Ok(())), Step::Leave(state, _) if state.good == 1 && state.trial == 0)
        );
        assert_eq!(decide(Running::Good, 999, Err("x".into())), Step::Wait);
    }
}
