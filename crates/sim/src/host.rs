//! A host: its machine, its worker's process, and both ends of its conversation with the pool.

use alloy_primitives::{Address, B256};
use gristmill_scheduler::LeaseId;
use gristmill_session::{Offer, Session, SessionId};

use crate::config::{Config, Kind};
use crate::dice::{Dice, Domain};
use crate::speeds;

/// Unacknowledged messages of a direction.
pub(crate) const WINDOW: usize = 256;
/// How long a lazy host takes to make its answer up.
const LAZY_MS: u64 = 1_000;

/// What a worker says. Heartbeats are not numbered: the next one is as good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Up {
    /// The result of a task is uploaded, computed under that lease.
    Ready { task: u32, lease: LeaseId },
    /// Not now.
    Busy { lease: LeaseId },
    /// It would take longer than any run may.
    Unable { lease: LeaseId },
    /// The hub refused the contribution.
    Refused { task: u32 },
}

/// What the pool says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Down {
    Lease { task: u32, lease: LeaseId, heartbeat_ms: u64 },
    Revoke { lease: LeaseId },
    Contribute { task: u32, solo: bool },
    Reveal { task: u32 },
}

/// A task under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub number: u32,
    pub lease: LeaseId,
    pub task: u32,
    pub heartbeat_ms: u64,
    /// Time at which it ends if it is not interrupted.
    pub ends_ms: u64,
    /// What is left of it, while it is paused.
    pub left_ms: u64,
    /// When it began, or went on.
    pub since_ms: u64,
    /// How long it takes, interruptions aside.
    pub whole_ms: u64,
}

/// One end's part in a link.
#[derive(Debug)]
pub(crate) struct End<T> {
    /// What it remembers of the conversation.
    pub session: Option<Session<T>>,
    pub connected: bool,
    /// The connection on which it is, or was last.
    pub connection: u32,
    /// What it sent last arrives then: what follows arrives no earlier.
    pub floor_ms: u64,
    pub timer: bool,
    /// It has taken something that it has not acknowledged.
    pub owes_ack: bool,
}

impl<T> Default for End<T> {
    fn default() -> Self {
        Self { session: None, connected: false, connection: 0, floor_ms: 0, timer: false, owes_ack: false }
    }
}

#[derive(Debug)]
pub(crate) struct Host {
    pub kind: Kind,
    pub rate: f64,
    /// Its group of accomplices.
    pub group: u8,
    pub mflops: u64,
    pub always_on: bool,
    /// How often it took a new name.
    pub incarnation: u32,
    /// The machine is available.
    pub up: bool,
    /// The worker's process runs; `life` changes whenever it begins or ends.
    pub running: bool,
    pub life: u32,
    pub runs: Vec<Run>,
    pub runs_begun: u32,
    /// The worker's journal: tasks of which it has a result. It survives its death.
    pub results: Vec<u32>,
    pub heartbeat_armed: bool,
    /// The current connection, or the last one.
    pub connection: u32,
    pub offer: Option<Offer>,
    pub sessions_begun: u32,
    /// The worker's end, and what the pool remembers of it.
    pub worker: End<Up>,
    pub pool: End<Down>,
    pub availability: Dice,
    pub network: Dice,
    pub crashes: Dice,
    /// When it goes away, if that was drawn before it came.
    pub leaves_ms: Option<u64>,
    /// When it came.
    pub since_ms: u64,
    pub available_ms: u64,
    pub busy_ms: u64,
    pub figures: Figures,
}

/// What a host did under its present name, and under all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub leases: u64,
    pub contributions: u64,
    pub wrong: u64,
    /// Contributions under the present name.
    pub contributions_now: u64,
    pub caught: bool,
}

impl Host {
    /// Draws host number `index`.
    pub fn draw(config: &Config, index: u32) -> Self {
        let seed = config.seed;
        let stream = |domain| Dice::stream(seed, domain, u64::from(index));
        let mut speed = stream(Domain::Speed);
        // Speeds are some 10^2 to 10^5 MFLOPS; a product with a factor of a configuration is far below 2^53.
        let mflops = (speeds::draw_mflops(&mut speed) as f64 * config.hosts.speed_factor.0).max(1.0) as u64;
        let mut conduct = stream(Domain::Conduct);
        let drawn = conduct.share();
        let mut upper = 0.0;
        let (mut kind, mut rate, mut group) = (Kind::Honest, 0.0, 0);
        for (number, saboteurs) in (1..).zip(&config.saboteurs) {
            upper += saboteurs.fraction.0;
            if drawn < upper {
                (kind, rate, group) = (saboteurs.kind, saboteurs.rate.0, number);
                break;
            }
        }
        let mut availability = stream(Domain::Availability);
        let always_on = availability.happens(config.hosts.always_on.0);
        Self {
            kind,
            rate,
            group,
            mflops,
            always_on,
            incarnation: 0,
            up: false,
            running: false,
            life: 0,
            runs: Vec::new(),
            runs_begun: 0,
            results: Vec::new(),
            heartbeat_armed: false,
            connection: 0,
            offer: None,
            sessions_begun: 0,
            worker: End::default(),
            pool: End::default(),
            availability,
            network: stream(Domain::Network),
            crashes: stream(Domain::Crash),
            leaves_ms: None,
            since_ms: 0,
            available_ms: 0,
            busy_ms: 0,
            figures: Figures::default(),
        }
    }

    /// The id under which its next session begins, if one does. Never used before.
    pub fn fresh_session(&mut self, index: u32) -> SessionId {
        self.sessions_begun += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&index.to_be_bytes());
        id[4..8].copy_from_slice(&self.incarnation.to_be_bytes());
        id[8..12].copy_from_slice(&self.sessions_begun.to_be_bytes());
        SessionId(id)
    }

    /// Whether it does to this task what its kind does. The same whenever it is asked.
    pub fn sabotages(&self, seed: u64, index: u32, task: u32) -> bool {
        let number = match self.kind {
            Kind::Honest => return false,
            // Accomplices agree on the task.
            Kind::Colluding | Kind::Whitewashing => u64::from(self.group) << 56 | u64::from(task),
            _ => u64::from(index) << 32 | u64::from(task),
        };
        Dice::stream(seed, Domain::Collusion, number).happens(self.rate)
    }

    /// The digest that it contributes.
    pub fn digest(&self, seed: u64, index: u32, task: u32) -> B256 {
        if !self.sabotages(seed, index, task) {
            return TRUTH;
        }
        match self.kind {
            Kind::Honest | Kind::Withholding => TRUTH,
            Kind::Lazy => B256::repeat_byte(2),
            Kind::Colluding | Kind::Whitewashing => B256::repeat_byte(0x80 | self.group),
            Kind::Random | Kind::Intermittent => name(index, self.incarnation).into_word(),
        }
    }

    /// How long it takes for work that the reference machine does in `work_ms`.
    pub fn run_ms(&self, seed: u64, index: u32, task: u32, work_ms: u64, reference_mflops: u64) -> u64 {
        if self.kind == Kind::Lazy && self.sabotages(seed, index, task) {
            return LAZY_MS;
        }
        let product = u128::from(work_ms) * u128::from(reference_mflops) / u128::from(self.mflops.max(1));
        u64::try_from(product).unwrap_or(u64::MAX)
    }
}

/// The digest of the right answer. Its commitment differs from task to task all the same.
pub(crate) const TRUTH: B256 = B256::repeat_byte(1);

/// The key of a host in its `incarnation`.
pub(crate) fn name(index: u32, incarnation: u32) -> Address {
    let mut bytes = [0; 20];
    bytes[0] = 0x51;
    bytes[12..16].copy_from_slice(&index.to_be_bytes());
    bytes[16..].copy_from_slice(&incarnation.to_be_bytes());
    Address::from(bytes)
}

/// Whose key it is: host and incarnation.
pub(crate) fn whose(address: Address) -> Option<(u32, u32)> {
    let bytes: [u8; 20] = address.into();
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (bytes[0] == 0x51).then(|| (word(12), word(16)))
}
