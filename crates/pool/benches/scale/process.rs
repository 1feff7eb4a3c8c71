//! What the operating system lends: memory, descriptors, another process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_protocol::tls::PoolUrl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Memory of this process, in bytes.
pub struct Memory {
    resident: f64,
}

impl Memory {
    /// How much more it is than before.
    pub fn since(&self, before: &Self) -> f64 {
        self.resident - before.resident
    }
}

/// Takes the memory of this process, and says it.
pub fn memory(when: &str) -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel says it");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().expect("a number")
    };
    let (resident, peak) = (kib("VmRSS") * 1024.0, kib("VmHWM") * 1024.0);
    println!("  {when}: {:.0} MB resident, {:.0} MB at most so far", resident / 1e6, peak / 1e6);
    Memory { resident }
}

/// Sees to it that this process and those that it starts may have so many descriptors.
pub fn need_descriptors(count: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    if hard < count {
        return Err(format!(
            "{count} descriptors are needed and this process may have {hard}: raise the hard limit (`ulimit -Hn`), or ask for fewer workers"
        ));
    }
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard)
            .map_err(|error| format!("the limit of descriptors: {error}"))?;
    }
    Ok(())
}

/// Workers in a process of their own.
pub struct Swarm {
    child: Child,
    /// How many are connected, and how many have a lease.
    counts: Arc<[AtomicU64; 2]>,
}

impl Swarm {
    /// This program again, as so many workers.
    pub fn start(pool: &PoolUrl, workers: u64) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--swarm", &pool.to_string(), &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let (said, heard) = (child.stdout.take().expect("its output"), Arc::clone(&counts));
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                for (count, word) in heard.iter().zip(line.split(' ')) {
                    count.store(word.parse().unwrap_or(0), Ordering::Relaxed);
                }
            }
        });
        Self { child, counts }
    }

    /// How many are connected, and how many have a lease.
    pub fn counts(&self) -> (u64, u64) {
        let [connected, leased] = &*self.counts;
        (connected.load(Ordering::Relaxed), leased.load(Ordering::Relaxed))
    }

    /// Ends it.
    pub fn end(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
