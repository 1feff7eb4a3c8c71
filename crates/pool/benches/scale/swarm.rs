//! Workers in a process of their own: each has a key, a real link and a machine that it describes, takes leases, says each second that
//! it is there, and finishes nothing.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gristmill_protocol::link::{self, Profile, WorkerConfig, WorkerEvent, WorkerEvents, WorkerLink};
use gristmill_protocol::tls::PoolUrl;
use gristmill_protocol::wire::{self, pool_frame, worker_frame};
use gristmill_wallet::Wallet;

use crate::ground::runtime;

/// The first worker's key; those of the market's people are below it.
const FIRST_KEY: u64 = 1_000_000;
/// How often the counts are said.
const SAY: Duration = Duration::from_millis(20);
/// What a machine is, as a usual one says.
const AD: &str = r#"[ Arch = "X86_64"; CpuModel = "Intel(R) Xeon(R) Processor"; Cpus = 8; DetectedCpus = 8; Disk = 104857600;
    GPUs = 0; GPUDevices = { }; has_avx = true; has_avx2 = true; has_avx512f = true; has_avx512dq = true; has_sse4_1 = true;
    has_sse4_2 = true; has_ssse3 = true; Kernel = "6.8.0"; LoadAvg = 0.25; Machine = "bench"; Memory = 16384;
    Microarch = "x86_64-v4"; OpSys = "LINUX"; OpSysAndVer = "Debian13"; OpSysLongName = "Debian GNU/Linux 13 (trixie)";
    OpSysMajorVer = 13; OpSysName = "Debian"; OpSysVer = 1300; Profiles = { "bench" }; Requirements = true; Speed = 1.0;
    SpeedFloat = 1.0; SpeedInteger = 1.0; SpeedMemory = 1.0; TasksDone = 12; TasksFailed = 0; UtsnameRelease = "6.8.0-31-generic";
    VirtualMachine = true; Hypervisor = "KVM" ]"#;

/// What all workers of a process have.
#[derive(Debug, Default)]
struct Counts {
    connected: AtomicU64,
    leased: AtomicU64,
}

/// The key of a worker.
pub fn wallet(number: u64) -> Wallet {
    Wallet::import_hex(&format!("{:064x}", FIRST_KEY + number)).expect("a small number is a key")
}

/// Runs so many workers until whoever started this process closes its input, and says how many are connected and how many have a lease.
pub fn run(pool: &PoolUrl, workers: u64) {
    let place = runtime("workers");
    let counts = Arc::new(Counts::default());
    for number in 0..workers {
        place.spawn(work(pool.clone(), wallet(number), Arc::clone(&counts)));
    }
    std::thread::spawn(move || {
        let mut said = None;
        loop {
            let now = (counts.connected.load(Ordering::Relaxed), counts.leased.load(Ordering::Relaxed));
            if said.replace(now) != Some(now) && say(now).is_err() {
                return;
            }
            std::thread::sleep(SAY);
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    place.shutdown_background();
}

fn say((connected, leased): (u64, u64)) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{connected} {leased}")?;
    out.flush()
}

/// One worker, until its link ends.
async fn work(pool: PoolUrl, wallet: Wallet, counts: Arc<Counts>) {
    let profile = Profile {
        address: wallet.address(),
        engine_profile: "bench".to_owned(),
        slots: 1,
        memory_bytes: 1 << 30,
        software_version: "bench".to_owned(),
        gpus: 0,
        network: false,
    };
    let (link, mut events) =
        link::start(WorkerConfig::new(pool, profile), move |text: &[u8]| wallet.sign_message(text));
    let mut worker = Working { link, counts, leases: Vec::new(), connected: false };
    worker.converse(&mut events).await;
}

struct Working {
    link: WorkerLink,
    counts: Arc<Counts>,
    leases: Vec<Vec<u8>>,
    connected: bool,
}

impl Working {
    async fn converse(&mut self, events: &mut WorkerEvents) {
        let mut pause = Duration::from_secs(1);
        let mut next_heartbeat = tokio::time::Instant::now();
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = tokio::time::sleep_until(next_heartbeat) => {
                    self.heartbeat();
                    next_heartbeat = tokio::time::Instant::now() + pause;
                    continue;
                }
            };
            match event {
                None => return self.is_connected(false),
                Some(WorkerEvent::Connected { welcome, new_session }) => {
                    pause = Duration::from_millis(u64::from(welcome.heartbeat_ms.max(100)));
                    self.is_connected(true);
                    if new_session {
                        // What another life of the pool leased is leased anew.
                        self.change(Vec::clear);
                        let describe = wire::Describe { ad: AD.to_owned() };
                        let _ = self.link.try_send(worker_frame::Body::Describe(describe));
                    }
                    self.heartbeat();
                }
                Some(WorkerEvent::Disconnected { .. }) => self.is_connected(false),
                Some(WorkerEvent::Message(body)) => self.take(body),
                Some(_) => {}
            }
        }
    }

    fn take(&mut self, body: pool_frame::Body) {
        match body {
            pool_frame::Body::Lease(lease) => {
                let accepted = wire::LeaseAccepted { lease_id: lease.lease_id.clone() };
                let _ = self.link.try_send(worker_frame::Body::LeaseAccepted(accepted));
                self.change(|leases| leases.push(lease.lease_id));
            }
            pool_frame::Body::Cancel(cancel) => self.change(|leases| leases.retain(|lease| *lease != cancel.lease_id)),
            _ => {}
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let before = !self.leases.is_empty();
        change(&mut self.leases);
        count(&self.counts.leased, before, !self.leases.is_empty());
    }

    fn is_connected(&mut self, connected: bool) {
        count(&self.counts.connected, std::mem::replace(&mut self.connected, connected), connected);
    }

    fn heartbeat(&self) {
        let progress = |lease: &Vec<u8>| wire::LeaseProgress { lease_id: lease.clone(), items_done: 0, items_total: 1 };
        let heartbeat = wire::Heartbeat { leases: self.leases.iter().map(progress).collect(), unix_ms: 1 };
        // Without a connection it is dropped, as a real worker's is.
        let _ = self.link.try_send(worker_frame::Body::Heartbeat(heartbeat));
    }
}

/// Counts who became something, or is it no longer.
fn count(counter: &AtomicU64, before: bool, after: bool) {
    match (before, after) {
        (false, true) => _ = counter.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = counter.fetch_sub(1, Ordering::Relaxed),
        _ => {}
    }
}
