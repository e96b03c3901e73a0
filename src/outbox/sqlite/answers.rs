//! Answers to those who had events written: one wake-up a thread instead of one a sender.
//!
//! Waking a task of another thread costs a system call, and the writer would make one for every sender while the next
//! ones wait for it. So whoever is answered first on a thread gets the answers for the others there and passes them
//! on, which among tasks of one thread costs next to nothing. Where tasks wander between threads everybody is answered
//! for himself. Whoever asks awaits the answer at once: as long as it is not polled, the others on its thread wait too.

use std::thread::ThreadId;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::outbox::{Accepted, NewEntry, StoreError};

/// Who waits for an answer, and where.
#[derive(Debug)]
pub(crate) struct Asker {
    to: oneshot::Sender<Answered>,
    /// Its thread, when its task never leaves it.
    thread: Option<ThreadId>,
}

/// What an asker is told.
#[derive(Debug)]
pub(crate) struct Answered {
    result: Result<Accepted, StoreError>,
    // Given back, so that it is freed where it was made and not by the writer.
    written: Vec<NewEntry>,
    others: Others,
}

/// Answers for others, which are sent when this is dropped, wherever that happens: none of them is ever lost because
/// the one who was to pass them on has gone.
#[derive(Debug, Default)]
struct Others(Vec<(Asker, Answered)>);

impl Asker {
    /// An asker in this task, and where its answer comes.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Answered>) {
        let (to, answer) = oneshot::channel();
        let stays = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        (Self { to, thread: stays.then(|| std::thread::current().id()) }, answer)
    }

    /// Tells it that nothing could be written.
    pub(crate) fn refuse(self, error: StoreError) {
        Answered { result: Err(error), written: Vec::new(), others: Others::default() }.send(self);
    }
}

impl Answered {
    /// That it was written.
    pub(crate) fn written(accepted: Accepted, written: Vec<NewEntry>) -> Self {
        Self { result: Ok(accepted), written, others: Others::default() }
    }

    /// Passes on what is for others, and says what was told.
    pub(crate) fn take(self) -> Result<Accepted, StoreError> {
        let Self { result, written, others } = self;
        drop(others);
        drop(written);
        result
    }

    fn send(self, asker: Asker) {
        // Whoever asked may have gone (a sender that hung up); then this is dropped, which sends what is for others.
        drop(asker.to.send(self));
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|(asker, answered)| answered.send(asker));
    }
}

/// Answers all of them, with one wake-up a thread.
pub(crate) fn send(answers: Vec<(Asker, Answered)>) {
    let mut first: Vec<(Asker, Answered)> = Vec::new();
    for (asker, answered) in answers {
        match first.iter_mut().find(|(there, _)| asker.thread.is_some() && there.thread == asker.thread) {
            Some((_, carrier)) => carrier.others.0.push((asker, answered)),
            None => first.push((asker, answered)),
        }
    }
    first.into_iter().for_each(|(asker, answered)| answered.send(asker));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(waiting: u64) -> Answered {
        Answered::written(Accepted { waiting, ..Accepted::default() }, Vec::new())
    }

    #[tokio::test]
    async fn the_first_of_a_thread_passes_on_the_answers_of_the_others() {
        let (askers, mut answers): (Vec<_>, Vec<_>) = (0..3).map(|_| Asker::new()).unzip();
        let other_thread = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { Asker::new() })
        });
        let (elsewhere, mut answer_elsewhere) = other_thread.join().unwrap();
        send(askers.into_iter().chain([elsewhere]).zip((1..).map(answered)).collect());
        assert_eq!(answer_elsewhere.try_recv().unwrap().take().unwrap().waiting, 4);
        assert!(answers[1].try_recv().is_err(), "not yet: nobody was woken for it");
        assert_eq!(answers[0].try_recv().unwrap().take().unwrap().waiting, 1);
        assert_eq!(answers[1].try_recv().unwrap().take().unwrap().waiting, 2);
        assert_eq!(answers[2].try_recv().unwrap().take().unwrap().waiting, 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn where_tasks_wander_everybody_is_answered_for_himself() {
        let asking = tokio::spawn(async { [Asker::new(), Asker::new()] });
        let (askers, answers): (Vec<_>, Vec<_>) = asking.await.unwrap().into_iter().unzip();
        send(askers.into_iter().zip((1..).map(answered)).collect());
        let told = answers.into_iter().map(|mut answer| answer.try_recv().unwrap().take().unwrap().waiting);
        assert_eq!(told.rev().collect::<Vec<_>>(), [2, 1]);
    }

    #[tokio::test]
    async fn one_that_has_gone_keeps_no_answer_from_the_others() {
        for goes_after_it_was_sent in [false, true] {
            let (askers, mut answers): (Vec<_>, Vec<_>) = (0..3).map(|_| Asker::new()).unzip();
            let mut rest = answers.split_off(1);
            let first = answers.pop().filter(|_| goes_after_it_was_sent);
            send(askers.into_iter().zip((1..).map(answered)).collect());
            drop(first);
            let told = rest.iter_mut().map(|answer| answer.try_recv().unwrap().take().unwrap().waiting);
            assert_eq!(told.collect::<Vec<_>>(), [2, 3]);
        }
    }
}
