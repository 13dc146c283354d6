//! Random lives, without a file.

use proptest::prelude::*;

use super::*;

/// What can happen to a pod, the work of its commands and the kill of whoever does it.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Publish,
    Start,
    Write(Phase),
    LetGo,
    Killed,
    Remove,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Publish),
        Just(Happening::Start),
        prop_oneof![
            Just(Phase::Starting),
            Just(Phase::Running),
            Just(Phase::Stopping),
            Just(Phase::Exited)
        ]
        .prop_map(Happening::Write),
        Just(Happening::LetGo),
        Just(Happening::Killed),
        Just(Happening::Remove),
    ]
}

/// What is on disk and who holds the lock.
#[derive(Clone, Copy, Debug)]
struct Model {
    place: Place,
    lock: Lock,
    phase: Option<Phase>,
}

impl Model {
    fn state(self) -> PodState {
        observe(self.place, self.lock, self.phase)
    }

    /// What happens, where the state allows it.
    fn step(mut self, happening: Happening) -> Self {
        match happening {
            Happening::Publish if self.place == Place::Preparing && self.lock == Lock::Held => {
                (self.place, self.lock) = (Place::Prepared, Lock::Free);
            }
            // `start` takes the lock, says that it starts, and then moves the directory.
            Happening::Start if self.state().refusal(Verb::Start).is_none() && self.lock == Lock::Free => {
                (self.place, self.lock, self.phase) = (Place::Started, Lock::Held, Some(Phase::Starting));
            }
            Happening::Write(phase) if self.state().is_live() && follows(self.phase, phase) => {
                self.phase = Some(phase);
            }
            Happening::LetGo if self.state().is_live() && self.phase == Some(Phase::Exited) => {
                self.lock = Lock::Free;
            }
            Happening::Killed => self.lock = Lock::Free,
            Happening::Remove if self.state().refusal(Verb::Remove).is_none() && self.lock == Lock::Free => {
                self.place = Place::Garbage;
            }
            _ => {}
        }
        self
    }
}

/// A supervisor's phases in order.
fn follows(before: Option<Phase>, after: Phase) -> bool {
    matches!(
        (before, after),
        (
            Some(Phase::Starting),
            Phase::Running | Phase::Stopping | Phase::Exited
        ) | (Some(Phase::Running), Phase::Stopping | Phase::Exited)
            | (Some(Phase::Stopping), Phase::Exited)
    )
}

/// The arrows of the module's drawing.
fn is_arrow(from: PodState, to: PodState) -> bool {
    use PodState as S;
    from == to
        || matches!(
            (from, to),
            (S::Preparing, S::Prepared | S::Garbage)
                | (S::Prepared, S::Starting | S::Garbage)
                | (S::Starting, S::Running | S::Stopping | S::Exited)
                | (S::Running, S::Stopping | S::Exited)
                | (S::Stopping, S::Exited)
                | (S::Exited, S::Starting | S::Garbage)
        )
}

proptest! {
    #[test]
    fn lifecycles_follow_the_arrows(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut pod = Model { place: Place::Preparing, lock: Lock::Held, phase: None };
        for happening in happenings {
            let next = pod.step(happening);
            prop_assert!(is_arrow(pod.state(), next.state()), "{pod:?} -{happening:?}-> {next:?}");
            // A pod that was prepared is there until somebody removes it, whoever is killed.
            if pod.state() == PodState::Prepared && next.state() == PodState::Garbage {
                prop_assert!(matches!(happening, Happening::Remove));
            }
            pod = next;
        }
        // However it went, a kill of everybody leaves a pod that can be started or removed.
        let dead = pod.step(Happening::Killed).state();
        prop_assert!(!dead.is_live());
        prop_assert_eq!(dead.refusal(Verb::Remove), None);
    }
}

#[test]
fn every_state_answers_every_verb() {
    use PodState as S;
    let allowed = |verb| {
        [
            S::Preparing,
            S::Prepared,
            S::Starting,
            S::Running,
            S::Stopping,
            S::Exited,
            S::Garbage,
        ]
        .into_iter()
        .filter(|state| state.refusal(verb).is_none())
        .collect::<Vec<_>>()
    };
    assert_eq!(allowed(Verb::Start), [S::Prepared, S::Exited]);
    assert_eq!(allowed(Verb::Speak), [S::Starting, S::Running, S::Stopping]);
    assert_eq!(allowed(Verb::Remove), [S::Prepared, S::Exited, S::Garbage]);
}
