//! Questions to the operator (314, 364).

use std::time::Duration;

use lifeboat_failover::process::{Phase, Question, Task};
use tokio::time::{Instant, sleep_until};

use super::driver::{Became, Driver};
use crate::clock;
use crate::event::{QuestionView, What};

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Asks, until somebody answers or the time for it is over; nothing when the process is aborted.
pub(super) async fn ask(driver: &mut Driver, index: usize) -> Became {
    let step = &driver.process.plan.steps[index];
    let wishes = driver.process.wishes;
    let (question, wish, text) = match step.task {
        Task::Confirm(question) => {
            let text = format!("go on and let the {} serve?", driver.process.plan.to);
            (question, wishes.go_on, text)
        }
        Task::AskToReplicate(question) => {
            let text = format!("let data flow back to the {}?", driver.process.plan.from);
            (question, wishes.replicate_back, text)
        }
        Task::Act { .. } | Task::LookAgain => return None,
    };
    if let Some(yes) = wish {
        let by = format!("{} beforehand", driver.process.who);
        return Some(Phase::Answered { yes, by });
    }
    if matches!(step.task, Task::AskToReplicate(_)) && !old_side_there(driver) {
        let by = format!("nobody: the {} is not there", driver.process.plan.from);
        let yes = question.silence_means;
        return Some(Phase::Answered { yes, by });
    }
    let view = QuestionView {
        process: driver.process.id.clone(),
        step: index,
        number: step.number.clone(),
        text,
        silence_means: question.silence_means,
        until: question.patience.map(|patience| {
            let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            clock::unix().saturating_add(patience)
        }),
    };
    show(driver, Some(view));
    let answered = wait(driver, question).await;
    show(driver, None);
    answered
}

fn old_side_there(driver: &Driver) -> bool {
    let old = &driver.application.side(driver.process.plan.from).host.name;
    driver.centre.links().is_there(old)
}

fn show(driver: &Driver, question: Option<QuestionView>) {
    if let Some(question) = &question {
        let what = What::Question(question.clone());
        driver
            .centre
            .events()
            .tell(Some(&driver.application.name), what);
    }
    driver
        .progress
        .send_modify(|progress| progress.question = question);
}

async fn wait(driver: &mut Driver, question: Question) -> Became {
    // An answer to an earlier question that came too late for it.
    while driver.answers.try_recv().is_ok() {}
    let end = Instant::now() + question.patience.unwrap_or(FOR_EVER);
    tokio::select! {
        // Silence beyond the end: the owner of this process is gone, and with it this task.
        Some(answer) = driver.answers.recv() => Some(Phase::Answered {
            yes: answer.yes,
            by: answer.by,
        }),
        () = sleep_until(end) => Some(Phase::Answered {
            yes: question.silence_means,
            by: "silence".to_owned(),
        }),
        _ = driver.aborted.wait_for(|aborted| *aborted) => None,
    }
}
