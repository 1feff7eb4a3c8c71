//! The line between a worker and its pool: messages are lost and overtaken, connections are cut, `session` makes it whole.

use alloy_primitives::Address;
use gristmill_classad::{ClassAd, Value};
use gristmill_credibility::{AddressRange, Origin};
use gristmill_scheduler::{EngineProfile, Event, Offers, WorkerId, WorkerSpec};
use gristmill_session::{Answer, Offer, Session, Verdict};

use super::World;
use crate::agenda::{Act, Way};
use crate::host::{Down, End, Up, WINDOW, name};

/// A message that is to be overtaken arrives so much later, at most.
const REORDER_MS: u64 = 1_000;
/// An acknowledgement waits so long for more to acknowledge.
const ACK_DELAY_MS: u64 = 20;

impl World<'_> {
    /// When something that is sent now arrives; None if it is lost.
    pub(super) fn travel(&mut self, index: u32, way: Way) -> Option<u64> {
        let (now_ms, network) = (self.now_ms, &self.config.network);
        let host = &mut self.hosts[index as usize];
        if host.network.happens(network.loss.0) {
            self.measure.messages.lost += 1;
            return None;
        }
        let arrives_ms = now_ms + network.latency_ms + host.network.roll(network.jitter_ms.saturating_add(1));
        let floor_ms = match way {
            Way::Up => &mut host.worker.floor_ms,
            Way::Down => &mut host.pool.floor_ms,
        };
        if host.network.happens(network.reorder.0) {
            self.measure.messages.overtaken += 1;
            return Some((*floor_ms).max(arrives_ms) + 1 + host.network.roll(REORDER_MS));
        }
        *floor_ms = (*floor_ms).max(arrives_ms);
        Some(*floor_ms)
    }

    /// The worker says something to the pool.
    pub(super) fn say(&mut self, index: u32, message: Up) {
        self.measure.messages.up += 1;
        let host = &mut self.hosts[index as usize];
        let pushed = host.worker.session.as_mut().map(|session| session.outgoing.push(message));
        self.transmit(index, Way::Up, pushed.and_then(Result::ok));
    }

    /// The pool says something to a worker.
    pub(super) fn tell_worker(&mut self, index: u32, message: Down) {
        self.measure.messages.down += 1;
        let host = &mut self.hosts[index as usize];
        let pushed = host.pool.session.as_mut().map(|session| session.outgoing.push(message));
        self.transmit(index, Way::Down, pushed.and_then(Result::ok));
    }

    /// Sends message `seq`; without one, the session could not take it. It then begins anew, and all that counts is said
    /// again: by the worker from its journal, by the scheduler when the worker has joined.
    fn transmit(&mut self, index: u32, way: Way, seq: Option<u64>) {
        let host = &mut self.hosts[index as usize];
        let Some(seq) = seq else {
            self.measure.messages.dropped += 1;
            if host.worker.session.is_some() && host.pool.session.is_some() {
                host.worker.session = None;
                self.cut(index);
            }
            return;
        };
        let (connected, connection) = match way {
            Way::Up => (host.worker.connected, host.worker.connection),
            Way::Down => (host.pool.connected, host.pool.connection),
        };
        if connected {
            if let Some(at_ms) = self.travel(index, way) {
                self.agenda.add(at_ms, Act::Arrive { host: index, connection, way, seq });
            }
            self.arm_ack_timer(index, way);
        }
    }

    fn arm_ack_timer(&mut self, index: u32, way: Way) {
        let host = &mut self.hosts[index as usize];
        let (armed, connection, seq) = match way {
            Way::Up => (&mut host.worker.timer, host.worker.connection, last_unacked(&host.worker.session)),
            Way::Down => (&mut host.pool.timer, host.pool.connection, last_unacked(&host.pool.session)),
        };
        if let (Some(seq), false) = (seq, *armed) {
            *armed = true;
            self.plan(self.config.network.ack_timeout_ms.max(1), Act::AckTimeout { host: index, connection, way, seq });
        }
    }

    pub(super) fn look_for_ack(&mut self, index: u32, connection: u32, way: Way, seq: u64) {
        let host = &mut self.hosts[index as usize];
        if host.connection != connection {
            return;
        }
        let (acked, connected) = match way {
            Way::Up => {
                host.worker.timer = false;
                (host.worker.session.as_ref().map(|session| session.outgoing.last_acked()), host.worker.connected)
            }
            Way::Down => {
                host.pool.timer = false;
                (host.pool.session.as_ref().map(|session| session.outgoing.last_acked()), host.pool.connected)
            }
        };
        if !connected {
            return;
        }
        if acked.is_some_and(|acked| acked < seq) {
            self.measure.messages.timeouts += 1;
            self.cut(index);
        } else {
            self.arm_ack_timer(index, way);
        }
    }

    /// A message arrives. What it says is in the sender's session, unless it was acknowledged, and so taken, before.
    pub(super) fn arrive(&mut self, index: u32, connection: u32, way: Way, seq: u64) {
        let host = &mut self.hosts[index as usize];
        if host.connection != connection {
            return;
        }
        match way {
            Way::Up if host.pool.connected => match take(&mut host.pool, &host.worker, seq) {
                Ok(Some(message)) => {
                    self.owe_ack(index, way);
                    self.heard(index, message);
                }
                // It was taken from another connection, or its sender has forgotten it.
                Ok(None) => {}
                Err(()) => self.gap(index),
            },
            Way::Down if host.worker.connected => match take(&mut host.worker, &host.pool, seq) {
                Ok(Some(message)) => {
                    self.owe_ack(index, way);
                    self.told(index, message);
                }
                // It was taken from another connection, or its sender has forgotten it.
                Ok(None) => {}
                Err(()) => self.gap(index),
            },
            _ => {}
        }
    }

    fn gap(&mut self, index: u32) {
        self.measure.messages.gaps += 1;
        self.cut(index);
    }

    /// The receiver of that way acknowledges soon.
    fn owe_ack(&mut self, index: u32, way: Way) {
        let host = &mut self.hosts[index as usize];
        let owes = match way {
            Way::Up => &mut host.pool.owes_ack,
            Way::Down => &mut host.worker.owes_ack,
        };
        if !std::mem::replace(owes, true) {
            let connection = host.connection;
            self.plan(ACK_DELAY_MS, Act::AckSent { host: index, connection, way });
        }
    }

    pub(super) fn send_ack(&mut self, index: u32, connection: u32, way: Way) {
        let host = &mut self.hosts[index as usize];
        if host.connection != connection {
            return;
        }
        let (ack, back) = match way {
            Way::Up => (host.pool.acknowledge(), Way::Down),
            Way::Down => (host.worker.acknowledge(), Way::Up),
        };
        let Some(ack) = ack else { return };
        self.measure.messages.acks += 1;
        if let Some(at_ms) = self.travel(index, back) {
            self.agenda.add(at_ms, Act::AckArrives { host: index, connection, way, ack });
        }
    }

    pub(super) fn take_ack(&mut self, index: u32, connection: u32, way: Way, ack: u64) {
        let host = &mut self.hosts[index as usize];
        if host.connection != connection {
            return;
        }
        let is_wrong = match way {
            Way::Up => host.worker.session.as_mut().is_some_and(|session| session.outgoing.on_ack(ack).is_err()),
            Way::Down => host.pool.session.as_mut().is_some_and(|session| session.outgoing.on_ack(ack).is_err()),
        };
        assert!(!is_wrong, "seed {}: host {index} acknowledged what was never sent", self.config.seed);
    }

    /// The connection is gone, and both sides know. The worker dials again.
    fn cut(&mut self, index: u32) {
        self.hang_up(index);
        self.plan_dial(index);
    }

    pub(super) fn plan_dial(&mut self, index: u32) {
        let connection = self.hosts[index as usize].connection;
        self.plan(self.config.network.redial_ms, Act::Dial { host: index, connection });
    }

    /// The connection is gone; the pool says so to its scheduler.
    pub(super) fn hang_up(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        host.connection += 1;
        host.worker.hang_up();
        if host.pool.hang_up() {
            self.measure.messages.cuts += 1;
            let worker = WorkerId(name(index, self.hosts[index as usize].incarnation));
            self.tell(vec![Event::WorkerLeft { worker }]);
        }
    }

    pub(super) fn notice_silence(&mut self, index: u32, connection: u32) {
        let host = &self.hosts[index as usize];
        if host.connection == connection && !host.running && host.pool.connected {
            self.hang_up(index);
        }
    }

    pub(super) fn dial_again(&mut self, index: u32, connection: u32) {
        let host = &self.hosts[index as usize];
        if host.connection == connection && host.running && !host.worker.connected {
            self.dial(index);
        }
    }

    pub(super) fn dial(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        host.connection += 1;
        host.worker.hang_up();
        let fresh = match &host.offer {
            // It was not answered yet: the same id, so that a beginning whose answer was lost is known again.
            Some(offer) => offer.fresh,
            None => host.fresh_session(index),
        };
        let resume = host.worker.session.as_ref().map(|session| (session.id, session.incoming.ack()));
        host.offer = Some(Offer { resume, fresh });
        let connection = host.connection;
        self.measure.messages.dials += 1;
        // Whoever is not answered dials again.
        self.plan(self.config.network.ack_timeout_ms.max(1), Act::Dial { host: index, connection });
        if let Some(at_ms) = self.travel(index, Way::Up) {
            self.agenda.add(at_ms, Act::Offer { host: index, connection });
        }
    }

    pub(super) fn take_offer(&mut self, index: u32, connection: u32) {
        let host = &mut self.hosts[index as usize];
        let (Some(offer), true) = (host.offer, host.connection == connection && self.pool.scheduler.is_some()) else {
            return;
        };
        let (answer, _unheard) = Session::answer(&mut host.pool.session, &offer, WINDOW);
        match answer {
            Answer::Resumed { .. } => self.measure.messages.resumed += 1,
            Answer::Fresh | Answer::Begun => self.measure.messages.begun += 1,
        }
        // The answer goes first; an older connection of the same worker, if the pool still took it for alive, is gone.
        host.pool.hang_up();
        host.pool.connected = true;
        host.pool.connection = connection;
        if let Some(at_ms) = self.travel(index, Way::Down) {
            self.agenda.add(at_ms, Act::Answer { host: index, connection, answer });
        }
        self.send_again(index, Way::Down);
        let joined = self.joined(index);
        self.tell(vec![joined]);
    }

    pub(super) fn take_answer(&mut self, index: u32, connection: u32, answer: Answer) {
        let host = &mut self.hosts[index as usize];
        if host.connection != connection || !host.running {
            return;
        }
        let Some(offer) = host.offer.take() else { return };
        let concluded = Session::conclude(&mut host.worker.session, &offer, answer, WINDOW);
        assert!(concluded.is_ok(), "seed {}: host {index} cannot resume: {concluded:?}", self.config.seed);
        host.worker.connected = true;
        host.worker.connection = connection;
        self.beat(index);
        self.arm_heartbeat(index);
        if matches!(answer, Answer::Resumed { .. }) {
            self.send_again(index, Way::Up);
        } else {
            self.tell_anew(index);
        }
    }

    /// Sends again what the other side has not taken.
    fn send_again(&mut self, index: u32, way: Way) {
        let host = &self.hosts[index as usize];
        let (connection, unheard) = match way {
            Way::Up => (host.worker.connection, host.worker.unheard()),
            Way::Down => (host.pool.connection, host.pool.unheard()),
        };
        for seq in unheard {
            self.measure.messages.again += 1;
            if let Some(at_ms) = self.travel(index, way) {
                self.agenda.add(at_ms, Act::Arrive { host: index, connection, way, seq });
            }
        }
        self.arm_ack_timer(index, way);
    }

    fn joined(&self, index: u32) -> Event {
        let worker = name(index, self.hosts[index as usize].incarnation);
        let books = self.ledger.model.books();
        Event::WorkerJoined(WorkerSpec {
            worker: WorkerId(worker),
            origin: origin(worker, index),
            slots: self.config.hosts.slots,
            free_stake: books.account(worker).stake,
            score: books.score(worker),
            profile: EngineProfile("sim".to_owned()),
            offers: Offers::default(),
            ad: self.ad(index).into(),
            serves: None,
            overflow: None,
        })
    }

    /// What its machine says of itself: how quick it is, and the truth.
    fn ad(&self, index: u32) -> ClassAd {
        let reference_mflops = self.config.hosts.reference_gflops.0 * 1_000.0;
        let speed = self.hosts[index as usize].mflops as f64 / reference_mflops;
        let mut ad = ClassAd::new();
        // INVARIANT: one attribute of a short name fits into an ad.
        let _ = ad.insert("Speed", Value::from((speed * 1_000.0).round() / 1_000.0));
        ad
    }

    pub(super) fn take_heartbeat(&mut self, index: u32, connection: u32) {
        let host = &self.hosts[index as usize];
        if host.connection == connection && host.pool.connected {
            let worker = WorkerId(name(index, host.incarnation));
            let leases = host.runs.iter().map(|run| run.lease).collect();
            self.tell(vec![Event::Heartbeat { worker, leases }]);
        }
    }
}

fn last_unacked<T>(session: &Option<Session<T>>) -> Option<u64> {
    session.as_ref().filter(|session| session.outgoing.unacked_len() > 0).map(|session| session.outgoing.last_sent())
}

/// Judges message `seq` of the other end: the message if it is to be taken, nothing for one that was, an error for a gap.
fn take<I, O: Copy>(receiver: &mut End<I>, sender: &End<O>, seq: u64) -> Result<Option<O>, ()> {
    let (Some(to), Some(from)) = (&mut receiver.session, &sender.session) else { return Ok(None) };
    match to.incoming.accept(seq) {
        Verdict::Deliver => {
            to.incoming.release();
            Ok(from.outgoing.after(seq - 1).next().map(|(_, message)| *message))
        }
        Verdict::Duplicate => Ok(None),
        Verdict::Gap { .. } | Verdict::Overrun { .. } => Err(()),
    }
}

impl<T> End<T> {
    /// Whether it was connected.
    fn hang_up(&mut self) -> bool {
        self.timer = false;
        self.owes_ack = false;
        std::mem::replace(&mut self.connected, false)
    }

    fn acknowledge(&mut self) -> Option<u64> {
        self.owes_ack = false;
        self.session.as_ref().map(|session| session.incoming.ack())
    }

    fn unheard(&self) -> Vec<u64> {
        self.session.iter().flat_map(|session| session.outgoing.after(0).map(|(seq, _)| seq)).collect()
    }
}

/// Each host is somebody of its own, in a network of its own, under whatever name.
fn origin(worker: Address, host: u32) -> Origin {
    let [_, a, b, c] = host.to_be_bytes();
    Origin { range: AddressRange::V4([a, b, c]), ..Origin::of(worker) }
}
