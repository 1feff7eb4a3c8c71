use gristmill_requester::{JobState, ReduceStatus, SIMULATED_ENCLAVE, TaskView};
use gristmill_types::{Amount, DealId, TaskId, Trust};

use super::*;

fn status(state: JobState) -> JobStatus {
    let task = |index, status| TaskView {
        task: TaskId::default(),
        deal: DealId::default(),
        index,
        status,
        contributors: 2,
        items: 4,
        final_deadline: 0,
    };
    JobStatus {
        job: OrderHash::default(),
        state,
        requester: Address::ZERO,
        app: Address::ZERO,
        category: 0,
        trust: Trust::default(),
        confidence: Trust::default().to_string(),
        enclave: Some(SIMULATED_ENCLAVE),
        tasks_total: 3,
        tasks_unmatched: 1,
        tasks_cancelled: 0,
        tasks_completed: 1,
        tasks_failed: 0,
        items_total: Some(12),
        items_done: Some(4),
        paid: Amount::from_grist(1),
        refunded: Amount::ZERO,
        locked: Amount::from_grist(2),
        started: None,
        tasks: vec![task(0, TaskStatus::Completed), task(1, TaskStatus::Active)],
        reduce: Some(ReduceStatus { request: OrderHash::default(), never: false, task: None }),
    }
}

#[test]
fn a_job_is_shown_in_plain_words() {
    let text = render_status(&status(JobState::Running));
    for expected in [
        "confidence  80 %",
        "simulated enclave: a plain key",
        "running (4 of 12 items done, 1 running, 1 without a pool)",
        "1 GRIST paid, 0 GRIST refunded, 2 GRIST held",
        "completed",
        "reduce",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
}

#[test]
fn what_was_cancelled_and_what_goes_on_are_both_said() {
    let closed = [Closed { stage: Stage::Task, request: OrderHash::default(), tasks: 1 }];
    let text = render_closed(&closed, &status(JobState::Running));
    assert!(text.contains("1 task cancelled") && text.contains("1 task with a pool go on"), "{text}");
    assert!(render_closed(&[], &status(JobState::Running)).contains("nothing to cancel"));
}

#[test]
fn an_explanation_always_has_something_to_do() {
    let explanation =
        Explanation { code: "queued".into(), cause: "others first".into(), fix: String::new(), source: Source::Pool };
    assert_eq!(
        render_explanation(&explanation),
        "why         others first\nwhat to do  nothing: wait\nsays        the pool (queued)\n"
    );
}

#[test]
fn an_empty_list_says_how_to_begin() {
    assert!(render_list(&[], 0).contains("gristmill run"));
}
