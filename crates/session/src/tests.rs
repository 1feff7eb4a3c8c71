//! Rules of one direction, and a property over two ends and a network that loses, repeats and cuts.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::{AckError, Answer, Incoming, Offer, Outgoing, ResumeError, Session, SessionId, Verdict, WindowFull};

const WINDOW: usize = 4;

#[test]
fn a_full_window_refuses_until_something_is_acknowledged() {
    let mut outgoing = Outgoing::new(2);
    assert_eq!(outgoing.push('a'), Ok(1));
    assert_eq!(outgoing.push('b'), Ok(2));
    assert!(!outgoing.has_room());
    assert_eq!(outgoing.push('c'), Err(WindowFull { window: 2 }));
    assert_eq!(outgoing.on_ack(1), Ok(1));
    assert_eq!(outgoing.push('c'), Ok(3));
    assert_eq!(outgoing.after(0).collect::<Vec<_>>(), [(2, &'b'), (3, &'c')]);
    assert_eq!(outgoing.after(2).collect::<Vec<_>>(), [(3, &'c')]);
    assert_eq!(outgoing.after(u64::MAX).count(), 0);
}

#[test]
fn acknowledgements_are_idempotent_and_never_of_the_future() {
    let mut outgoing = Outgoing::new(8);
    for message in 0..5 {
        outgoing.push(message).unwrap();
    }
    assert_eq!(outgoing.on_ack(3), Ok(3));
    assert_eq!(outgoing.on_ack(3), Ok(0));
    assert_eq!(outgoing.on_ack(1), Ok(0), "an old acknowledgement changes nothing");
    assert_eq!(outgoing.on_ack(6), Err(AckError { ack: 6, last_sent: 5 }));
    assert_eq!((outgoing.last_acked(), outgoing.unacked_len()), (3, 2));
    assert_eq!(outgoing.into_unacked(), [3, 4]);
}

#[test]
fn each_number_is_delivered_once_and_in_order() {
    let mut incoming = Incoming::new(3);
    assert_eq!(incoming.accept(0), Verdict::Duplicate);
    assert_eq!(incoming.accept(1), Verdict::Deliver);
    assert_eq!(incoming.accept(1), Verdict::Duplicate);
    assert_eq!(incoming.accept(3), Verdict::Gap { expected: 2 });
    assert_eq!(incoming.accept(2), Verdict::Deliver);
    assert_eq!(incoming.accept(3), Verdict::Deliver);
    assert_eq!(incoming.ack(), 0, "nothing was taken yet");
    assert_eq!(incoming.accept(4), Verdict::Overrun { window: 3 });
    incoming.release();
    assert_eq!((incoming.ack(), incoming.last_received(), incoming.waiting()), (1, 3, 2));
    assert_eq!(incoming.accept(4), Verdict::Deliver);
}

#[test]
#[should_panic(expected = "had not been delivered")]
fn what_was_not_delivered_cannot_be_released() {
    Incoming::new(1).release();
}

#[test]
fn impossible_resumptions_are_told_and_change_nothing() {
    let id = SessionId([1; 16]);
    let mut session = Session::new(id, WINDOW);
    for message in 0..3 {
        session.outgoing.push(message).unwrap();
    }
    session.outgoing.on_ack(1).unwrap();
    let before = session.clone();
    for claimed in [0, 4] {
        assert_eq!(session.resume(claimed), Err(ResumeError::Impossible { id, claimed, acked: 1, sent: 3 }));
        assert_eq!(session, before);
    }
    assert_eq!(session.resume(2), Ok(()));
    assert_eq!(session.outgoing.after(0).collect::<Vec<_>>(), [(3, &2)]);
}

#[test]
fn a_resumption_that_was_not_offered_is_refused() {
    let mut known: Option<Session<u8>> = None;
    let offer = Offer { resume: None, fresh: SessionId([2; 16]) };
    let answer = Answer::Resumed { last_received: 0 };
    assert_eq!(Session::conclude(&mut known, &offer, answer, WINDOW), Err(ResumeError::NotOffered));
}

#[test]
fn an_unknown_session_begins_anew_and_hands_back_what_was_open() {
    let (old, fresh) = (SessionId([3; 16]), SessionId([4; 16]));
    let mut worker = Some(Session::new(old, WINDOW));
    worker.as_mut().unwrap().outgoing.push("unsaid").unwrap();
    let offer = Offer { resume: Some((old, 7)), fresh };
    let mut pool: Option<Session<&str>> = None;
    let (answer, lost) = Session::answer(&mut pool, &offer, WINDOW);
    assert_eq!((answer, lost.len()), (Answer::Fresh, 0));
    assert_eq!(Session::conclude(&mut worker, &offer, answer, WINDOW), Ok(vec!["unsaid"]));
    assert_eq!(worker, pool);
    assert_eq!(worker.unwrap().id, fresh);
}

#[test]
fn a_beginning_whose_answer_was_lost_goes_on() {
    let offer = Offer { resume: None, fresh: SessionId([5; 16]) };
    let (mut pool, mut worker): (Option<Session<&str>>, Option<Session<&str>>) = (None, None);
    assert_eq!(Session::answer(&mut pool, &offer, WINDOW).0, Answer::Fresh);
    pool.as_mut().unwrap().outgoing.push("said to nobody").unwrap();

    let (answer, lost) = Session::answer(&mut pool, &offer, WINDOW);
    assert_eq!((answer, lost), (Answer::Begun, vec![]));
    assert_eq!(pool.as_ref().unwrap().outgoing.after(0).collect::<Vec<_>>(), [(1, &"said to nobody")]);
    assert_eq!(Session::conclude(&mut worker, &offer, answer, WINDOW), Ok(vec![]));
    assert_eq!(worker, Some(Session::new(offer.fresh, WINDOW)));

    // The first offer once more, late: what was said in between stays.
    pool.as_mut().unwrap().outgoing.on_ack(1).unwrap();
    pool.as_mut().unwrap().incoming.accept(1);
    let before = pool.clone();
    assert_eq!(Session::answer(&mut pool, &offer, WINDOW).0, Answer::Begun);
    assert_eq!(pool, before);
}

/// A message says in which life of the sender's session it was pushed, and its place in it.
type Message = (SessionId, u64);

/// One end of the simulated conversation.
#[derive(Default)]
struct End {
    session: Option<Session<Message>>,
    /// Frames on their way to this end: number, acknowledgement, message.
    wire: VecDeque<(u64, u64, Message)>,
    /// Delivered, not taken.
    inbox: VecDeque<Message>,
    /// What this end pushed and took in its present session.
    pushed: Vec<Message>,
    taken: Vec<Message>,
}

impl End {
    fn push(&mut self) -> Option<(u64, u64, Message)> {
        let session = self.session.as_mut()?;
        let message = (session.id, self.pushed.len() as u64);
        let seq = session.outgoing.push(message).ok()?;
        self.pushed.push(message);
        Some((seq, session.incoming.ack(), message))
    }

    /// Takes the next frame from the wire; false if the connection has to be cut.
    fn receive(&mut self) -> bool {
        let (Some(session), Some((seq, ack, message))) = (self.session.as_mut(), self.wire.pop_front()) else {
            return true;
        };
        session.outgoing.on_ack(ack).expect("an honest peer acknowledges only what was sent");
        match session.incoming.accept(seq) {
            Verdict::Deliver => self.inbox.push_back(message),
            Verdict::Duplicate => {}
            Verdict::Gap { .. } => return false,
            Verdict::Overrun { .. } => panic!("an honest peer keeps to the window"),
        }
        true
    }

    fn take(&mut self) {
        if let Some(message) = self.inbox.pop_front() {
            self.session.as_mut().expect("messages wait only in a session").incoming.release();
            self.taken.push(message);
        }
    }

    fn begin_anew(&mut self) {
        self.inbox.clear();
        self.pushed.clear();
        self.taken.clear();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        worker: bool,
    },
    Receive {
        worker: bool,
    },
    Take {
        worker: bool,
    },
    /// A bare acknowledgement arrives.
    Ack {
        worker: bool,
    },
    /// The network loses the next frame.
    Lose {
        worker: bool,
    },
    /// The network repeats the next frame.
    Repeat {
        worker: bool,
    },
    /// The connection is cut and made again; the answer may get lost, so that it has to be made once more.
    Reconnect {
        answer_lost: bool,
    },
    /// The pool is restarted and has forgotten everything.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let worker = any::<bool>();
    prop_oneof![
        8 => worker.prop_map(|worker| Step::Push { worker }),
        8 => worker.prop_map(|worker| Step::Receive { worker }),
        8 => worker.prop_map(|worker| Step::Take { worker }),
        3 => worker.prop_map(|worker| Step::Ack { worker }),
        1 => worker.prop_map(|worker| Step::Lose { worker }),
        1 => worker.prop_map(|worker| Step::Repeat { worker }),
        2 => any::<bool>().prop_map(|answer_lost| Step::Reconnect { answer_lost }),
        1 => Just(Step::Forget),
    ]
}

#[derive(Default)]
struct World {
    worker: End,
    pool: End,
    ids: u8,
}

impl World {
    fn ends(&mut self, worker: bool) -> (&mut End, &mut End) {
        if worker { (&mut self.worker, &mut self.pool) } else { (&mut self.pool, &mut self.worker) }
    }

    fn connect(&mut self, answer_lost: bool) {
        self.worker.wire.clear();
        self.pool.wire.clear();
        let mut losses = u8::from(answer_lost);
        self.ids = self.ids.checked_add(1).expect("fewer sessions than ids");
        loop {
            let known = self.worker.session.as_ref();
            let resume = known.map(|session| (session.id, session.incoming.ack()));
            let offer = Offer { resume, fresh: SessionId([self.ids; 16]) };
            let (answer, _) = Session::answer(&mut self.pool.session, &offer, WINDOW);
            if answer == Answer::Fresh {
                self.pool.begin_anew();
            }
            if losses > 0 {
                // The pool takes the session for established and speaks before the worker comes again.
                losses -= 1;
                self.pool.push();
                continue;
            }
            Session::conclude(&mut self.worker.session, &offer, answer, WINDOW).expect("honest ends agree");
            if !matches!(answer, Answer::Resumed { .. }) {
                self.worker.begin_anew();
            }
            break;
        }
        for worker in [true, false] {
            let (from, to) = self.ends(worker);
            let session = from.session.as_ref().expect("both are connected");
            let ack = session.incoming.ack();
            to.wire.extend(session.outgoing.after(0).map(|(seq, message)| (seq, ack, *message)));
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Push { worker } => {
                let (from, to) = self.ends(worker);
                to.wire.extend(from.push());
            }
            Step::Receive { worker } => {
                if !self.ends(worker).0.receive() {
                    self.connect(false);
                }
            }
            Step::Take { worker } => self.ends(worker).0.take(),
            Step::Ack { worker } => {
                let (to, from) = self.ends(worker);
                if let (Some(to), Some(from)) = (&mut to.session, &from.session) {
                    to.outgoing.on_ack(from.incoming.ack()).expect("an honest acknowledgement");
                }
            }
            Step::Lose { worker } => drop(self.ends(worker).0.wire.pop_front()),
            Step::Repeat { worker } => {
                let wire = &mut self.ends(worker).0.wire;
                if let Some(frame) = wire.front().copied() {
                    wire.push_front(frame);
                }
            }
            Step::Reconnect { answer_lost } => self.connect(answer_lost),
            Step::Forget => {
                self.pool.session = None;
                self.pool.begin_anew();
                self.connect(false);
            }
        }
        self.check();
    }

    /// What was taken is the beginning of what was sent, in this session and no other.
    fn check(&self) {
        for (from, to) in [(&self.worker, &self.pool), (&self.pool, &self.worker)] {
            assert!(from.pushed.starts_with(&to.taken), "pushed {:?}, taken {:?}", from.pushed, to.taken);
            assert!(to.inbox.len() <= WINDOW);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn everything_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::default();
        world.connect(false);
        for step in &steps {
            world.apply(step);
        }
        // The network is good again: everything arrives.
        world.connect(false);
        for _ in 0..4 * WINDOW {
            for worker in [true, false] {
                world.apply(&Step::Receive { worker });
                world.apply(&Step::Take { worker });
            }
        }
        prop_assert_eq!(&world.worker.pushed, &world.pool.taken);
        prop_assert_eq!(&world.pool.pushed, &world.worker.taken);
    }
}

#[test]
fn a_session_survives_serialisation() {
    let mut session = Session::new(SessionId([9; 16]), WINDOW);
    session.outgoing.push("kept".to_owned()).unwrap();
    session.incoming.accept(1);
    let json = serde_json::to_string(&session).unwrap();
    assert_eq!(serde_json::from_str::<Session<String>>(&json).unwrap(), session);
}
