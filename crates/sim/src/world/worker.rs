//! Machines come and go; their workers run tasks and do with the results what their kind does.

use gristmill_scheduler::LeaseId;

use super::{Upload, World};
use crate::agenda::{Act, Way};
use crate::config::{Interruption, Kind};
use crate::host::{Down, Run, Up, name};
use crate::ledger::Transaction;

impl World<'_> {
    pub(super) fn host_up(&mut self, index: u32) {
        let (now_ms, laws) = (self.now_ms, &self.config.hosts);
        let host = &mut self.hosts[index as usize];
        host.up = true;
        host.since_ms = now_ms;
        self.measure.available += 1;
        if !host.always_on {
            let leaves_ms = host.leaves_ms.take();
            let leaves_ms =
                leaves_ms.unwrap_or_else(|| now_ms.saturating_add(laws.available.draw_ms(&mut host.availability)));
            self.agenda.add(leaves_ms, Act::HostDown { host: index });
        }
        let life = host.life;
        self.worker_start(index, life);
    }

    pub(super) fn host_down(&mut self, index: u32) {
        self.account(index);
        let lost = self.config.hosts.interruption == Interruption::Lost;
        let host = &mut self.hosts[index as usize];
        host.up = false;
        self.measure.available -= 1;
        self.measure.departures += 1;
        let away_ms = self.config.hosts.unavailable.draw_ms(&mut host.availability);
        self.agenda.add(self.now_ms.saturating_add(away_ms), Act::HostUp { host: index });
        self.worker_stops(index, lost);
    }

    pub(super) fn worker_crash(&mut self, index: u32, life: u32) {
        if self.hosts[index as usize].life == life {
            self.measure.worker_crashes += 1;
            self.worker_stops(index, true);
            let life = self.hosts[index as usize].life;
            self.plan(self.config.faults.worker_restart_s.saturating_mul(1000), Act::WorkerStart { host: index, life });
        }
    }

    /// The process ends; `forgets`: with all that it had in its memory.
    fn worker_stops(&mut self, index: u32, forgets: bool) {
        let (now_ms, end_ms, network) = (self.now_ms, self.end_ms(), &self.config.network);
        let host = &mut self.hosts[index as usize];
        if !host.running {
            return;
        }
        host.running = false;
        host.life += 1;
        host.worker.connected = false;
        host.heartbeat_armed = false;
        if host.pool.connected {
            let silence = Act::Silence { host: index, connection: host.connection };
            self.agenda.add(now_ms.saturating_add(network.silence_ms), silence);
        }
        self.measure.busy -= host.runs.len() as u64;
        for run in &mut host.runs {
            host.busy_ms += now_ms.min(end_ms).saturating_sub(run.since_ms);
            run.left_ms = run.ends_ms.saturating_sub(now_ms).max(1);
        }
        if forgets {
            host.worker.session = None;
            host.offer = None;
            self.measure.runs_lost += host.runs.len() as u64;
            host.runs.clear();
        }
    }

    pub(super) fn worker_start(&mut self, index: u32, life: u32) {
        let (now_ms, faults) = (self.now_ms, &self.config.faults);
        let host = &mut self.hosts[index as usize];
        if host.running || !host.up || host.life != life {
            return;
        }
        host.running = true;
        host.life += 1;
        let life = host.life;
        self.measure.busy += host.runs.len() as u64;
        for run in &mut host.runs {
            host.runs_begun += 1;
            run.number = host.runs_begun;
            run.since_ms = now_ms;
            run.ends_ms = now_ms.saturating_add(run.left_ms);
            self.agenda.add(run.ends_ms, Act::RunEnds { host: index, run: run.number });
        }
        if faults.worker_crash_h.0 > 0.0 {
            let after_ms = host.crashes.exponential_ms(faults.worker_crash_h.0);
            self.agenda.add(now_ms.saturating_add(after_ms), Act::WorkerCrash { host: index, life });
        }
        self.dial(index);
    }

    /// A whitewasher comes back under a new name, with a new deposit and nothing else.
    pub(super) fn rename(&mut self, index: u32) {
        self.worker_stops(index, true);
        self.hang_up(index);
        let host = &mut self.hosts[index as usize];
        host.incarnation += 1;
        host.results.clear();
        host.figures.caught = false;
        host.figures.contributions_now = 0;
        host.pool.session = None;
        let (key, life) = (name(index, host.incarnation), host.life);
        self.measure.renames += 1;
        if let Err(error) = self.ledger.deposit(self.now_ms, key, self.config.hosts.deposit) {
            self.fault.get_or_insert(error.into());
        }
        self.worker_start(index, life);
    }

    /// Adds what a host was there and worked until now, within the time that is measured.
    pub(super) fn account(&mut self, index: u32) {
        let until_ms = self.now_ms.min(self.end_ms());
        let host = &mut self.hosts[index as usize];
        host.available_ms += until_ms.saturating_sub(host.since_ms);
        host.since_ms = host.since_ms.max(until_ms);
    }

    /// The worker takes what the pool said.
    pub(super) fn told(&mut self, index: u32, message: Down) {
        match message {
            Down::Lease { task, lease, heartbeat_ms } => self.take_lease(index, task, lease, heartbeat_ms),
            Down::Revoke { lease } => self.drop_run(index, lease),
            Down::Contribute { task, solo } => {
                let host = &self.hosts[index as usize];
                if host.results.contains(&task) {
                    let incarnation = host.incarnation;
                    self.send(Transaction::Contribute { host: index, incarnation, task, solo });
                }
            }
            Down::Reveal { task } => {
                let host = &self.hosts[index as usize];
                let withholds = host.kind == Kind::Withholding && host.sabotages(self.config.seed, index, task);
                if host.results.contains(&task) && !withholds {
                    let incarnation = host.incarnation;
                    self.send(Transaction::Reveal { host: index, incarnation, task });
                }
            }
        }
    }

    fn take_lease(&mut self, index: u32, task: u32, lease: LeaseId, heartbeat_ms: u64) {
        let (now_ms, config) = (self.now_ms, self.config);
        let host = &mut self.hosts[index as usize];
        if host.results.contains(&task) {
            self.say(index, Up::Ready { task, lease });
            return;
        }
        let jobs = &config.jobs[self.bags[self.tasks[task as usize].bag as usize].jobs];
        // Of a pool that was started again, the newer lease of a task counts.
        if let Some(run) = host.runs.iter_mut().find(|run| run.task == task) {
            run.lease = lease;
            return;
        }
        if host.runs.len() >= config.hosts.slots as usize {
            self.say(index, Up::Busy { lease });
            return;
        }
        // Some 10^2 to 10^5.
        let reference_mflops = (config.hosts.reference_gflops.0 * 1000.0) as u64;
        let compute_ms = host.run_ms(config.seed, index, task, self.tasks[task as usize].work_ms, reference_mflops);
        let megabits_ms = |megabytes: f64, mbps: f64| (megabytes * 8_000.0 / mbps) as u64;
        let fetch_ms = megabits_ms(jobs.input_mb.0, config.network.down_mbps.0);
        let upload_ms = megabits_ms(jobs.output_mb.0, config.network.up_mbps.0);
        let run_ms = compute_ms.saturating_add(fetch_ms).saturating_add(upload_ms).max(1);
        let limit_ms = jobs.work_clock_s().saturating_mul(1000).saturating_mul(config.scheduler.run_limit_ratio);
        if run_ms >= limit_ms {
            self.measure.declined += 1;
            self.say(index, Up::Unable { lease });
            return;
        }
        host.runs_begun += 1;
        let (number, ends_ms) = (host.runs_begun, now_ms.saturating_add(run_ms));
        host.runs.push(Run {
            number,
            lease,
            task,
            heartbeat_ms,
            ends_ms,
            left_ms: run_ms,
            since_ms: now_ms,
            whole_ms: run_ms,
        });
        host.figures.leases += 1;
        let record = &mut self.tasks[task as usize];
        if !std::mem::replace(&mut record.leased, true) {
            self.measure.lease_waits_ms.push(now_ms.saturating_sub(record.ready_ms));
        }
        self.measure.busy += 1;
        self.measure.runs += 1;
        self.agenda.add(ends_ms, Act::RunEnds { host: index, run: number });
        self.arm_heartbeat(index);
    }

    fn drop_run(&mut self, index: u32, lease: LeaseId) {
        let until_ms = self.now_ms.min(self.end_ms());
        let host = &mut self.hosts[index as usize];
        if let Some(at) = host.runs.iter().position(|run| run.lease == lease) {
            let run = host.runs.remove(at);
            if !host.running {
                return;
            }
            host.busy_ms += until_ms.saturating_sub(run.since_ms);
            self.measure.busy -= 1;
            self.measure.runs_revoked += 1;
        }
    }

    pub(super) fn run_ends(&mut self, index: u32, number: u32) {
        let until_ms = self.now_ms.min(self.end_ms());
        let host = &mut self.hosts[index as usize];
        let Some(at) = host.runs.iter().position(|run| run.number == number).filter(|_| host.running) else { return };
        let run = host.runs.remove(at);
        host.busy_ms += until_ms.saturating_sub(run.since_ms);
        host.results.retain(|task| !self.tasks[*task as usize].ended);
        host.results.push(run.task);
        self.bags[self.tasks[run.task as usize].bag as usize].runs_ms.push(run.whole_ms);
        self.measure.busy -= 1;
        self.measure.results += 1;
        self.say(index, Up::Ready { task: run.task, lease: run.lease });
    }

    /// All that the pool must know of a worker whose session begins anew.
    pub(super) fn tell_anew(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        let (tasks, books) = (&self.tasks, self.ledger.model.books());
        let key = name(index, host.incarnation);
        // The worker reads the ledger: what ended, or has its contribution, needs no word.
        let is_open = |task: &u32| !tasks[*task as usize].ended;
        host.results.retain(is_open);
        let has_contributed = |task: &u32| {
            books.tasks.get(&tasks[*task as usize].id).is_some_and(|record| record.contributions.contains_key(&key))
        };
        let waiting = host.results.iter().copied().filter(|task| !has_contributed(task)).collect::<Vec<_>>();
        for task in waiting {
            self.say(index, Up::Ready { task, lease: LeaseId([0; 16]) });
        }
    }

    pub(super) fn arm_heartbeat(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        let every_ms = host.runs.iter().map(|run| run.heartbeat_ms).min();
        if let (Some(every_ms), false, true) = (every_ms, host.heartbeat_armed, host.running) {
            host.heartbeat_armed = true;
            let life = host.life;
            self.plan(every_ms.max(1), Act::Heartbeat { host: index, life });
        }
    }

    pub(super) fn heartbeat(&mut self, index: u32, life: u32) {
        let host = &mut self.hosts[index as usize];
        if host.life == life {
            host.heartbeat_armed = false;
            self.beat(index);
            self.arm_heartbeat(index);
        }
    }

    /// A sign of life now, if there is something to say and somebody to hear it.
    pub(super) fn beat(&mut self, index: u32) {
        let host = &self.hosts[index as usize];
        if !host.runs.is_empty() && host.worker.connected {
            let connection = host.connection;
            self.measure.messages.heartbeats += 1;
            if let Some(at_ms) = self.travel(index, Way::Up) {
                self.agenda.add(at_ms, Act::HeartbeatArrives { host: index, connection });
            }
        }
    }

    /// The pool holds a worker's sealed result: its journal remembers the first.
    pub(super) fn keep_upload(&mut self, index: u32, task: u32) -> alloy_primitives::B256 {
        let host = &self.hosts[index as usize];
        let worker = name(index, host.incarnation);
        let digest = host.digest(self.config.seed, index, task);
        let record = &mut self.tasks[task as usize];
        if let Some(upload) = record.uploads.iter().find(|upload| upload.worker == worker) {
            return upload.digest;
        }
        record.uploads.push(Upload { worker, digest, held: !record.public });
        digest
    }
}
