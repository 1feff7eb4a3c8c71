//! The owner's policies through the guard, by a fake clock and fake sensors: what is asked of the sandbox's controls is looked at.

use gristmill_owner::Refusal;
use gristmill_sandbox::Wish;
use gristmill_types::Address;

use super::*;
use crate::guard::{Senses, look};

/// A machine made up: the test sets what it says.
#[derive(Debug)]
struct Fake {
    now: Moment,
    sensors: Sensors,
}

impl Senses for Fake {
    fn moment(&mut self) -> Moment {
        self.now
    }

    fn sensors(&mut self, now: Moment) -> Sensors {
        assert_eq!(now, self.now);
        self.sensors
    }
}

/// A board under a guard, with a job.
struct Bench {
    board: Board,
    machine: Fake,
}

const STRANGER: u8 = 0x10;
const OWNER: u8 = 0x11;

fn lease(number: u8) -> LeaseId {
    LeaseId([number; 16])
}

fn work(requester: u8) -> Work {
    let address = Address::repeat_byte;
    Work { pool: address(1), app: address(2), publisher: address(3), requester: address(requester) }
}

impl Bench {
    fn new(policy: &str, slots: u32) -> Self {
        let policy: Policy = serde_json::from_str(policy).unwrap();
        policy.check().unwrap();
        let now = Moment { monotonic_ms: 1_000, weekday: Weekday::Wednesday, minute: 12 * 60 };
        let machine = Fake { now, sensors: Sensors::default() };
        Self { board: Board::new(policy, slots, Command::Run), machine }
    }

    /// With a stranger's job that is running.
    fn working(policy: &str) -> Self {
        let mut bench = Self::new(policy, 1);
        bench.take(1, STRANGER).unwrap();
        bench
    }

    fn take(&mut self, number: u8, requester: u8) -> Result<(), Rejection> {
        let (control, progress) = (Control::new(), Arc::new(Progress::default()));
        self.board.add(lease(number), Job::new(TaskId([number; 32].into()), control, progress, 60_000));
        let admitted = self.board.admit(lease(number), work(requester));
        if admitted.is_err() {
            self.board.remove(lease(number));
        }
        admitted
    }

    /// The guard looks, after so many milliseconds and with this change of what it sees.
    fn after(&mut self, ms: u64, change: impl FnOnce(&mut Fake)) -> (Verdict, Wish) {
        self.machine.now.monotonic_ms += ms;
        change(&mut self.machine);
        look(&mut self.machine, &self.board);
        (self.board.verdict(), self.wish(1))
    }

    fn sees(&mut self, sensors: Sensors) -> (Verdict, Wish) {
        self.after(250, |machine| machine.sensors = sensors)
    }

    fn wish(&self, number: u8) -> Wish {
        self.board.control(lease(number)).unwrap().wish()
    }

    fn reasons(&self) -> String {
        self.board.reasons()
    }
}

const GOES_ON: (Verdict, Wish) = (Verdict::Work, Wish::Run);
const FINISHES: (Verdict, Wish) = (Verdict::Finish, Wish::Run);
const FROZEN: (Verdict, Wish) = (Verdict::Stop, Wish::Freeze);

#[test]
fn the_schedule_winds_down_freezes_and_thaws() {
    let mut bench = Bench::working(r#"{"schedule": ["Wed 12:00-13:00", "Wed 13:02-14:00"], "wind_down_min": 5}"#);
    assert_eq!(bench.after(0, |_| ()), GOES_ON);
    assert_eq!(bench.after(250, |machine| machine.now.minute = 12 * 60 + 55), FINISHES);
    assert!(bench.reasons().contains("ends in 5 min"), "{}", bench.reasons());
    assert_eq!(bench.after(250, |machine| machine.now.minute = 13 * 60), FROZEN);
    assert!(bench.reasons().contains("begins at Wed 13:02"), "{}", bench.reasons());
    assert_eq!(bench.after(250, |machine| machine.now.minute = 13 * 60 + 2), GOES_ON);
    assert_eq!(bench.after(250, |machine| machine.now.weekday = Weekday::Thursday), FROZEN);
}

#[test]
fn who_touches_the_machine_has_it_with_the_next_look() {
    let mut bench = Bench::working(r#"{"idle_s": 300}"#);
    let touched = |ms| Sensors { untouched_ms: Some(ms), ..Sensors::default() };
    assert_eq!(bench.sees(touched(400_000)), GOES_ON);
    assert_eq!(bench.sees(touched(0)), FROZEN);
    assert!(bench.board.view().jobs[0].held.as_ref().unwrap().contains("somebody uses the machine"));
    assert_eq!(bench.sees(touched(299_000)), FROZEN);
    assert_eq!(bench.sees(touched(300_000)), GOES_ON);
    assert_eq!(bench.board.view().jobs[0].held, None);
    assert_eq!(bench.sees(Sensors::default()), FROZEN, "a sensor that no longer answers");
    assert!(bench.reasons().contains("no sensor"), "{}", bench.reasons());
}

#[test]
fn other_programs_go_first() {
    let mut bench = Bench::working(r#"{"load_max": 0.5}"#);
    let load = |load| Sensors { load: Some(load), ..Sensors::default() };
    assert_eq!(bench.sees(load(0.4)), GOES_ON);
    assert_eq!(bench.sees(load(0.9)), FROZEN);
    assert_eq!(bench.sees(load(0.0)), FROZEN, "a lull");
    assert_eq!(bench.after(29_000, |_| ()), FROZEN);
    assert_eq!(bench.after(2_000, |_| ()), GOES_ON);
}

#[test]
fn a_battery_is_kept_and_a_hot_machine_cools() {
    let on = |mains, charge| Sensors { mains: Some(mains), charge: Some(charge), ..Sensors::default() };
    let mut bench = Bench::working(r#"{"mains_only": true}"#);
    assert_eq!(bench.sees(on(true, 10)), GOES_ON);
    assert_eq!(bench.sees(on(false, 100)), FROZEN);
    assert_eq!(bench.sees(on(true, 10)), GOES_ON);
    let mut bench = Bench::working(r#"{"battery_min": 50}"#);
    assert_eq!(bench.sees(on(false, 51)), GOES_ON);
    assert_eq!(bench.sees(on(false, 50)), FROZEN);
    assert_eq!(bench.sees(on(true, 20)), GOES_ON);
    let mut bench = Bench::working(r#"{"temperature_max": 80.0}"#);
    let heat = |heat| Sensors { temperature: Some(heat), ..Sensors::default() };
    assert_eq!(bench.sees(heat(79.0)), GOES_ON);
    assert_eq!(bench.sees(heat(80.0)), FROZEN);
    assert_eq!(bench.sees(heat(76.0)), FROZEN);
    assert_eq!(bench.sees(heat(75.0)), GOES_ON);
}

#[test]
fn the_owners_word_counts_at_once_and_without_a_guard_too() {
    for watched in [true, false] {
        let mut bench = Bench::working("{}");
        if watched {
            bench.after(0, |_| ());
        }
        bench.board.command(Command::Pause);
        assert_eq!((bench.board.verdict(), bench.wish(1)), FROZEN);
        bench.board.command(Command::Drain);
        assert_eq!((bench.board.verdict(), bench.wish(1)), FINISHES);
        bench.board.command(Command::Run);
        assert_eq!((bench.board.verdict(), bench.wish(1)), GOES_ON);
    }
    let paused = Board::new(Policy::default(), 1, Command::Pause);
    assert_eq!(paused.verdict(), Verdict::Stop, "remembered from before");
}

#[test]
fn what_is_held_for_too_long_is_given_back_with_the_reason() {
    let mut bench = Bench::working("{}");
    bench.after(0, |_| ());
    bench.board.command(Command::Pause);
    assert_eq!(bench.after(30_000, |_| ()), FROZEN);
    bench.board.command(Command::Run);
    assert_eq!(bench.after(3_600_000, |_| ()), GOES_ON, "time that it runs does not count");
    bench.board.command(Command::Pause);
    assert_eq!(bench.after(29_999, |_| ()), FROZEN, "59.999 s in all");
    assert_eq!(bench.after(1, |_| ()).1, Wish::Cancel);
    let why = bench.board.remove(lease(1)).unwrap();
    assert!(why.contains("60 s of holding still") && why.contains("paused by the owner"), "{why}");
    assert_eq!(bench.board.jobs(), 0);
}

#[test]
fn a_lease_bears_a_part_of_its_time() {
    assert_eq!(held_ms_max(36_000, 252_000), HELD_MS_MAX);
    assert_eq!(held_ms_max(300, 2_100), 150_000, "half of T");
    assert_eq!(held_ms_max(300, 40), 10_000, "a quarter of the rest");
    assert_eq!(held_ms_max(2, 14), 1_000);
    assert_eq!(held_ms_max(300, 0), HELD_MS_MIN, "a clock that is wrong");
    assert_eq!(held_ms_max(u64::MAX, u64::MAX), HELD_MS_MAX);
}

#[test]
fn what_the_owner_does_not_want_is_not_taken() {
    let address = |byte: u8| format!("{}", Address::repeat_byte(byte));
    let policy = |field: &str, byte: u8| format!(r#"{{"{field}": ["{}"]}}"#, address(byte));
    for (field, byte) in [("pools", 9), ("apps", 9), ("publishers", 9), ("refused_apps", 2), ("refused_publishers", 3)]
    {
        let mut bench = Bench::new(&policy(field, byte), 1);
        let rejection = bench.take(1, STRANGER).unwrap_err();
        assert!(matches!(rejection, Rejection::Unwanted(_)), "{field}: {rejection}");
        assert_eq!(bench.board.jobs(), 0);
    }
    let mut bench = Bench::new(&policy("apps", 9), 1);
    assert_eq!(bench.take(1, STRANGER), Err(Rejection::Unwanted(Refusal::App(Address::repeat_byte(2)))));
    assert!(Bench::new(&policy("apps", 2), 1).take(1, STRANGER).is_ok());
}

#[test]
fn the_owners_own_work_takes_a_strangers_place_and_gives_it_back() {
    let policy = format!(r#"{{"own": ["{}"]}}"#, Address::repeat_byte(OWNER));
    let mut bench = Bench::new(&policy, 2);
    assert_eq!(bench.board.slots_offered(), 3);
    bench.take(1, STRANGER).unwrap();
    bench.take(2, STRANGER).unwrap();
    assert_eq!(bench.take(3, STRANGER), Err(Rejection::Reserved));
    assert_eq!((bench.wish(1), bench.wish(2)), (Wish::Run, Wish::Run), "the one that was turned away changed nothing");
    bench.take(4, OWNER).unwrap();
    assert_eq!((bench.wish(1), bench.wish(2), bench.wish(4)), (Wish::Run, Wish::Freeze, Wish::Run));
    assert!(bench.board.view().jobs[1].held.as_ref().unwrap().contains("own work"));
    bench.board.remove(lease(4));
    assert_eq!((bench.wish(1), bench.wish(2)), (Wish::Run, Wish::Run));
    assert_eq!(Bench::new("{}", 2).board.slots_offered(), 2);
}

/// The guard's own thread, by the real clock: it looks without being asked, and ends with its leash.
#[test]
fn the_guards_thread_freezes_within_a_second() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    #[derive(Debug)]
    struct Switch(Arc<AtomicBool>, Instant);

    impl Senses for Switch {
        fn moment(&mut self) -> Moment {
            let monotonic_ms = self.1.elapsed().as_millis() as u64;
            Moment { monotonic_ms, weekday: Weekday::Monday, minute: 0 }
        }

        fn sensors(&mut self, _: Moment) -> Sensors {
            Sensors { mains: Some(self.0.load(Ordering::Relaxed)), ..Sensors::default() }
        }
    }

    let bench = Bench::working(r#"{"mains_only": true}"#);
    let mains = Arc::new(AtomicBool::new(true));
    let senses = Box::new(Switch(Arc::clone(&mains), Instant::now()));
    let guard = crate::guard::Guard::start(senses, bench.board.clone()).unwrap();
    assert_eq!(bench.wish(1), Wish::Run);
    let unplugged = Instant::now();
    mains.store(false, Ordering::Relaxed);
    while bench.wish(1) != Wish::Freeze {
        assert!(unplugged.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("frozen {} ms after the plug was pulled", unplugged.elapsed().as_millis());
    assert!(unplugged.elapsed() < Duration::from_secs(1));
    drop(guard);
    while Arc::strong_count(&mains) > 1 {
        assert!(unplugged.elapsed() < Duration::from_secs(10), "the thread goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A guard whose thread dies of a fault leaves nothing running behind it.
#[test]
fn nothing_runs_unseen() {
    #[derive(Debug)]
    struct Broken(u32);

    impl Senses for Broken {
        fn moment(&mut self) -> Moment {
            self.0 += 1;
            assert!(self.0 < 2, "a sensor that makes the guard panic");
            Moment { monotonic_ms: 0, weekday: Weekday::Monday, minute: 0 }
        }

        fn sensors(&mut self, _: Moment) -> Sensors {
            Sensors::default()
        }
    }

    let bench = Bench::working("{}");
    let _guard = crate::guard::Guard::start(Box::new(Broken(0)), bench.board.clone()).unwrap();
    assert_eq!(bench.wish(1), Wish::Run);
    let began = std::time::Instant::now();
    while bench.wish(1) != Wish::Freeze {
        assert!(began.elapsed().as_secs() < 10, "it still runs");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(bench.board.verdict(), Verdict::Stop);
}
