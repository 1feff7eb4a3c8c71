//! The policy, held against the moment.

use std::fmt;

use crate::policy::Policy;
use crate::schedule::Weekday;

/// Degrees below its bound from which a machine counts as cool again.
const COOLED_BY: f64 = 5.0;
/// Percent above its bound from which a battery counts as charged again.
const CHARGED_BY: u8 = 5;
/// The part of the bound below which the load counts as gone.
const CALMED_TO: f64 = 0.8;
/// How long the load must have been gone.
const CALM_MS: u64 = 30_000;

/// Now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since any beginning, in milliseconds; never goes back.
    pub monotonic_ms: u64,
    /// By the local clock.
    pub weekday: Weekday,
    /// Minute of the day by the local clock, 0 to 1439.
    pub minute: u32,
}

/// What can be read of the machine. `None`: there is no such sensor, or it does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sensors {
    /// Milliseconds since somebody touched keyboard or mouse.
    pub untouched_ms: Option<u64>,
    /// The part of the cores that other programs keep busy, 0 to 1.
    pub load: Option<f64>,
    /// Whether it runs on mains. A machine without a battery does.
    pub mains: Option<bool>,
    /// Charge of the battery in percent.
    pub charge: Option<u8>,
    /// Of the hottest part, in degrees Celsius.
    pub temperature: Option<f64>,
}

/// What the owner has said by hand; it goes before the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// As the policy says.
    #[default]
    Run,
    /// Stop, until told otherwise.
    Pause,
    /// Finish what runs, and take nothing more.
    Drain,
}

/// What the worker may do. Ordered: the strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Take tasks and run them.
    Work,
    /// Finish what runs, take nothing more.
    Finish,
    /// Stop at once what runs: the machine is needed.
    Stop,
}

/// Why not everything is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The owner paused it.
    Paused,
    /// The owner drains it.
    Draining,
    /// It is not the time.
    Schedule {
        /// When it will be.
        begins: Option<(Weekday, u32)>,
    },
    /// The time is nearly over.
    EndsSoon {
        /// Minutes left.
        minutes: u32,
    },
    /// Somebody is there.
    Touched {
        /// Seconds until the machine counts as idle, if nobody touches it meanwhile.
        wait_s: u64,
    },
    /// Other programs want the cores.
    Busy {
        /// How much of them, 0 to 1; the bound if it was just so.
        load: f64,
    },
    /// It runs on battery.
    OnBattery,
    /// The battery is low.
    LowBattery {
        /// In percent.
        charge: u8,
    },
    /// It is hot.
    Hot {
        /// In degrees Celsius.
        temperature: f64,
    },
    /// The policy asks for what cannot be read here.
    NoSensor {
        /// The policy's field.
        field: &'static str,
    },
}

impl Reason {
    fn verdict(self) -> Verdict {
        match self {
            Self::Draining | Self::EndsSoon { .. } => Verdict::Finish,
            _ => Verdict::Stop,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Paused => f.write_str("paused by the owner, until `gristmill worker resume`"),
            Self::Draining => f.write_str("draining: the owner wants what runs to be finished, and nothing more"),
            Self::Schedule { begins: Some((day, minute)) } => {
                write!(f, "outside the schedule: it begins at {day} {:02}:{:02}", minute / 60, minute % 60)
            }
            Self::Schedule { begins: None } => f.write_str("outside the schedule"),
            Self::EndsSoon { minutes } => write!(f, "the time of the schedule ends in {minutes} min"),
            Self::Touched { wait_s } => write!(f, "somebody uses the machine: it is idle in {wait_s} s if nobody does"),
            Self::Busy { load } => write!(f, "other programs use {:.0} % of the cores", load * 100.0),
            Self::OnBattery => f.write_str("the machine runs on battery"),
            Self::LowBattery { charge } => write!(f, "the battery has {charge} %"),
            Self::Hot { temperature } => write!(f, "the machine has {temperature:.0} °C"),
            Self::NoSensor { field } => write!(f, "the policy has {field}, and this machine has no sensor for it"),
        }
    }
}

/// What is allowed now, and why not more.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The strictest of what the reasons ask for.
    pub verdict: Verdict,
    /// All that speak against working, in the order of [`Policy`]'s fields. Empty when everything is allowed.
    pub reasons: Vec<Reason>,
}

/// Decides, and remembers what it needs so as not to tremble.
#[derive(Clone, Debug)]
pub struct Owner {
    policy: Policy,
    command: Command,
    hot: bool,
    low: bool,
    busy: bool,
    /// Since when the load has been below what counts as gone.
    calm_since: Option<u64>,
}

impl Owner {
    /// With this policy, and nothing said by hand.
    pub fn new(policy: Policy) -> Self {
        Self { policy, command: Command::Run, hot: false, low: false, busy: false, calm_since: None }
    }

    /// What the owner wrote down.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Another policy, from now on. What was said by hand stays.
    pub fn set_policy(&mut self, policy: Policy) {
        *self = Self { command: self.command, ..Self::new(policy) };
    }

    /// The owner says something by hand.
    pub fn command(&mut self, command: Command) {
        self.command = command;
    }

    /// What is allowed now. To be asked about once a second.
    pub fn decide(&mut self, now: Moment, sensors: &Sensors) -> Decision {
        let by_hand = match self.command {
            Command::Run => None,
            Command::Pause => Some(Reason::Paused),
            Command::Drain => Some(Reason::Draining),
        };
        let reasons: Vec<Reason> = [
            by_hand,
            self.schedule(now),
            self.touched(sensors),
            self.load(now, sensors),
            self.battery(sensors),
            self.heat(sensors),
        ]
        .into_iter()
        .flatten()
        .collect();
        let verdict = reasons.iter().map(|reason| reason.verdict()).max().unwrap_or(Verdict::Work);
        Decision { verdict, reasons }
    }

    fn schedule(&self, now: Moment) -> Option<Reason> {
        let schedule = &self.policy.schedule;
        match schedule.left(now.weekday, now.minute) {
            None => Some(Reason::Schedule { begins: schedule.next(now.weekday, now.minute) }),
            Some(minutes) if minutes <= self.policy.wind_down_min => Some(Reason::EndsSoon { minutes }),
            Some(_) => None,
        }
    }

    fn touched(&self, sensors: &Sensors) -> Option<Reason> {
        let wanted_ms = u64::from(self.policy.idle_s?) * 1_000;
        match sensors.untouched_ms {
            None => Some(Reason::NoSensor { field: "idle_s" }),
            Some(since) if since < wanted_ms => Some(Reason::Touched { wait_s: (wanted_ms - since).div_ceil(1_000) }),
            Some(_) => None,
        }
    }

    fn load(&mut self, now: Moment, sensors: &Sensors) -> Option<Reason> {
        let bound = self.policy.load_max?;
        let Some(load) = sensors.load else { return Some(Reason::NoSensor { field: "load_max" }) };
        if load > bound {
            self.busy = true;
        }
        if load > bound * CALMED_TO {
            self.calm_since = None;
        } else {
            let since = *self.calm_since.get_or_insert(now.monotonic_ms);
            if now.monotonic_ms.saturating_sub(since) >= CALM_MS {
                self.busy = false;
            }
        }
        self.busy.then_some(Reason::Busy { load })
    }

    fn battery(&mut self, sensors: &Sensors) -> Option<Reason> {
        let Policy { mains_only, battery_min, .. } = self.policy;
        if !mains_only && battery_min.is_none() || sensors.mains != Some(false) {
            // A machine that knows no battery has none.
            self.low = false;
            return None;
        }
        if mains_only {
            return Some(Reason::OnBattery);
        }
        let bound = battery_min?;
        let Some(charge) = sensors.charge else { return Some(Reason::NoSensor { field: "battery_min" }) };
        if charge <= bound {
            self.low = true;
        } else if charge >= bound.saturating_add(CHARGED_BY).min(100) {
            self.low = false;
        }
        self.low.then_some(Reason::LowBattery { charge })
    }

    fn heat(&mut self, sensors: &Sensors) -> Option<Reason> {
        let bound = self.policy.temperature_max?;
        let Some(temperature) = sensors.temperature else {
            return Some(Reason::NoSensor { field: "temperature_max" });
        };
        if temperature >= bound {
            self.hot = true;
        } else if temperature <= bound - COOLED_BY {
            self.hot = false;
        }
        self.hot.then_some(Reason::Hot { temperature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Moment = Moment { monotonic_ms: 0, weekday: Weekday::Wednesday, minute: 12 * 60 };

    fn after(seconds: u64) -> Moment {
        Moment { monotonic_ms: seconds * 1_000, ..NOON }
    }

    fn owner(policy: &str) -> Owner {
        let policy: Policy = serde_json::from_str(policy).unwrap();
        policy.check().unwrap();
        Owner::new(policy)
    }

    fn verdict(owner: &mut Owner, sensors: Sensors) -> Verdict {
        owner.decide(NOON, &sensors).verdict
    }

    #[test]
    fn a_machine_without_a_policy_works() {
        let decision = owner("{}").decide(NOON, &Sensors::default());
        assert_eq!(decision, Decision { verdict: Verdict::Work, reasons: vec![] });
    }

    #[test]
    fn the_schedule_begins_winds_down_and_ends() {
        let mut owner = owner(r#"{"schedule": ["Wed 12:00-13:00"], "wind_down_min": 10}"#);
        let mut at = |minute: u32| owner.decide(Moment { minute: 12 * 60 + minute, ..NOON }, &Sensors::default());
        assert_eq!(at(0).verdict, Verdict::Work);
        assert_eq!(at(49).verdict, Verdict::Work);
        assert_eq!(at(50).reasons, [Reason::EndsSoon { minutes: 10 }]);
        assert_eq!(at(59).verdict, Verdict::Finish);
        let over = at(60);
        assert_eq!(
            (over.verdict, over.reasons[0]),
            (Verdict::Stop, Reason::Schedule { begins: Some((Weekday::Wednesday, 12 * 60)) })
        );
    }

    #[test]
    fn who_comes_back_has_the_machine_at_once() {
        let mut owner = owner(r#"{"idle_s": 300}"#);
        let touched = |ms| Sensors { untouched_ms: Some(ms), ..Sensors::default() };
        assert_eq!(verdict(&mut owner, touched(300_000)), Verdict::Work);
        let back = owner.decide(NOON, &touched(400));
        assert_eq!((back.verdict, back.reasons.as_slice()), (Verdict::Stop, &[Reason::Touched { wait_s: 300 }][..]));
        assert_eq!(verdict(&mut owner, touched(299_999)), Verdict::Stop);
        assert_eq!(verdict(&mut owner, touched(300_000)), Verdict::Work);
    }

    #[test]
    fn other_programs_go_first_and_a_short_lull_is_no_invitation() {
        let mut owner = owner(r#"{"load_max": 0.5}"#);
        let mut at = |seconds, load| owner.decide(after(seconds), &Sensors { load: Some(load), ..Sensors::default() });
        assert_eq!(at(0, 0.5).verdict, Verdict::Work, "the bound itself is allowed");
        assert_eq!(at(1, 0.51).reasons, [Reason::Busy { load: 0.51 }]);
        assert_eq!(at(2, 0.1).verdict, Verdict::Stop);
        assert_eq!(at(30, 0.1).verdict, Verdict::Stop, "28 seconds");
        assert_eq!(at(31, 0.45).verdict, Verdict::Stop, "not gone, so that the wait begins anew");
        assert_eq!(at(32, 0.1).verdict, Verdict::Stop);
        assert_eq!(at(61, 0.1).verdict, Verdict::Stop);
        assert_eq!(at(62, 0.1).verdict, Verdict::Work);
    }

    #[test]
    fn a_battery_is_kept() {
        let on = |mains, charge| Sensors { mains: Some(mains), charge: Some(charge), ..Sensors::default() };
        let mut mains = owner(r#"{"mains_only": true}"#);
        assert_eq!(verdict(&mut mains, on(false, 100)), Verdict::Stop);
        assert_eq!(verdict(&mut mains, on(true, 3)), Verdict::Work);
        assert_eq!(verdict(&mut mains, Sensors::default()), Verdict::Work, "a desktop");

        let mut charge = owner(r#"{"battery_min": 80}"#);
        assert_eq!(verdict(&mut charge, on(false, 81)), Verdict::Work);
        assert_eq!(verdict(&mut charge, on(false, 80)), Verdict::Stop);
        assert_eq!(verdict(&mut charge, on(false, 84)), Verdict::Stop, "it trembles");
        assert_eq!(verdict(&mut charge, on(false, 85)), Verdict::Work);
        assert_eq!(verdict(&mut charge, on(false, 10)), Verdict::Stop);
        assert_eq!(verdict(&mut charge, on(true, 10)), Verdict::Work);
        let mut full = owner(r#"{"battery_min": 98}"#);
        assert_eq!(verdict(&mut full, on(false, 98)), Verdict::Stop);
        assert_eq!(verdict(&mut full, on(false, 100)), Verdict::Work, "more than full cannot be asked for");
    }

    #[test]
    fn a_hot_machine_cools_down_first() {
        let mut owner = owner(r#"{"temperature_max": 85}"#);
        let at = |temperature| Sensors { temperature: Some(temperature), ..Sensors::default() };
        assert_eq!(verdict(&mut owner, at(84.9)), Verdict::Work);
        assert_eq!(verdict(&mut owner, at(85.0)), Verdict::Stop);
        assert_eq!(verdict(&mut owner, at(80.1)), Verdict::Stop);
        assert_eq!(verdict(&mut owner, at(80.0)), Verdict::Work);
        assert_eq!(verdict(&mut owner, at(84.9)), Verdict::Work);
    }

    #[test]
    fn what_is_said_by_hand_goes_first_and_outlives_a_new_policy() {
        let mut owner = owner("{}");
        owner.command(Command::Drain);
        assert_eq!(verdict(&mut owner, Sensors::default()), Verdict::Finish);
        owner.command(Command::Pause);
        owner.set_policy(Policy { mains_only: true, ..Policy::default() });
        assert_eq!(verdict(&mut owner, Sensors::default()), Verdict::Stop);
        owner.command(Command::Run);
        assert_eq!(verdict(&mut owner, Sensors::default()), Verdict::Work);
    }

    #[test]
    fn every_reason_is_named_and_the_strictest_counts() {
        let policy = r#"{"schedule": ["Wed 12:00-12:03"], "idle_s": 60, "load_max": 0.1, "battery_min": 50, "temperature_max": 70}"#;
        let mut owner = owner(policy);
        let sensors = Sensors {
            untouched_ms: Some(0),
            load: Some(0.9),
            mains: Some(false),
            charge: Some(20),
            temperature: Some(71.0),
        };
        let decision = owner.decide(NOON, &sensors);
        assert_eq!(decision.verdict, Verdict::Stop);
        let text: Vec<String> = decision.reasons.iter().map(Reason::to_string).collect();
        assert_eq!(
            text,
            [
                "the time of the schedule ends in 3 min",
                "somebody uses the machine: it is idle in 60 s if nobody does",
                "other programs use 90 % of the cores",
                "the battery has 20 %",
                "the machine has 71 °C",
            ]
        );
    }

    /// Who asks for what cannot be seen is told so, and the machine stays the owner's.
    #[test]
    fn a_missing_sensor_is_no_permission() {
        for field in ["idle_s", "load_max", "temperature_max"] {
            let number = if field == "load_max" { "0.5" } else { "60" };
            let decision = owner(&format!(r#"{{"{field}": {number}}}"#)).decide(NOON, &Sensors::default());
            assert_eq!(
                (decision.verdict, decision.reasons.as_slice()),
                (Verdict::Stop, &[Reason::NoSensor { field }][..])
            );
        }
        let battery = Sensors { mains: Some(false), ..Sensors::default() };
        let decision = owner(r#"{"battery_min": 20}"#).decide(NOON, &battery);
        assert_eq!(decision.reasons, [Reason::NoSensor { field: "battery_min" }]);
    }
}
