//! What the owner wrote down.

use std::fmt;

use gristmill_types::Address;
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;

/// What the machine may do for others, and when. Every field has a default: an empty policy allows everything at any time, as on a
/// machine that does nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// At which times of the week; at any when empty.
    pub schedule: Schedule,
    /// Minutes before the end of a time in which nothing new is begun.
    pub wind_down_min: u32,
    /// Only when nobody has touched keyboard or mouse for so many seconds.
    pub idle_s: Option<u32>,
    /// Only while other programs keep less than this part of the cores busy, 0 to 1.
    pub load_max: Option<f64>,
    /// Only on mains.
    pub mains_only: bool,
    /// On battery, only above this charge in percent.
    pub battery_min: Option<u8>,
    /// Only while the hottest part is cooler, in degrees Celsius.
    pub temperature_max: Option<f64>,
    /// Only for these pools; for any when empty.
    pub pools: Vec<Address>,
    /// Only these apps; any when empty.
    pub apps: Vec<Address>,
    /// Only apps of these publishers; of any when empty.
    pub publishers: Vec<Address>,
    /// None of these apps, whoever publishes them.
    pub refused_apps: Vec<Address>,
    /// No apps of these publishers.
    pub refused_publishers: Vec<Address>,
    /// Whose work goes first: the owner's own accounts.
    pub own: Vec<Address>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            wind_down_min: 5,
            idle_s: None,
            load_max: None,
            mains_only: false,
            battery_min: None,
            temperature_max: None,
            pools: Vec::new(),
            apps: Vec::new(),
            publishers: Vec::new(),
            refused_apps: Vec::new(),
            refused_publishers: Vec::new(),
            own: Vec::new(),
        }
    }
}

/// What is offered: a task, as far as the owner may care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The pool that offers it.
    pub pool: Address,
    /// Its app.
    pub app: Address,
    /// Who published the app: the owner of the asset.
    pub publisher: Address,
    /// Who asked for it.
    pub requester: Address,
}

/// Why the owner does not want a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The pool is not on the list.
    #[error("pool {0} is not among those that this machine works for")]
    Pool(Address),
    /// The app is not on the list.
    #[error("app {0} is not among those that this machine runs")]
    App(Address),
    /// The publisher is not on the list.
    #[error("publisher {0} is not among those whose apps this machine runs")]
    Publisher(Address),
    /// The app is on the list of those refused.
    #[error("this machine does not run app {0}")]
    RefusedApp(Address),
    /// The publisher is on the list of those refused.
    #[error("this machine runs no apps of {0}")]
    RefusedPublisher(Address),
}

/// A field that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} = {value}: {what}")]
pub struct PolicyError {
    /// Which.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it should be.
    pub what: &'static str,
}

impl Policy {
    /// Whether its numbers make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), PolicyError> {
        let require = |field, holds: bool, value: &dyn fmt::Display, what| {
            if holds { Ok(()) } else { Err(PolicyError { field, value: value.to_string(), what }) }
        };
        if let Some(load) = self.load_max {
            require("load_max", load > 0.0 && load <= 1.0, &load, "it is a part of the cores, above 0 and up to 1")?;
        }
        if let Some(charge) = self.battery_min {
            require("battery_min", charge <= 100, &charge, "it is percent, 0 to 100")?;
        }
        if let Some(heat) = self.temperature_max {
            require("temperature_max", (20.0..=150.0).contains(&heat), &heat, "it is degrees Celsius, 20 to 150")?;
        }
        let day = 24 * 60;
        require("wind_down_min", self.wind_down_min <= day, &self.wind_down_min, "it is minutes, a day at most")
    }

    /// Whether the owner wants this task at all, whenever.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(&self, work: &Work) -> Result<(), Refusal> {
        let Work { pool, app, publisher, .. } = *work;
        if self.refused_apps.contains(&app) {
            return Err(Refusal::RefusedApp(app));
        }
        if self.refused_publishers.contains(&publisher) {
            return Err(Refusal::RefusedPublisher(publisher));
        }
        let any = |list: &[Address], one: Address| list.is_empty() || list.contains(&one);
        if !any(&self.pools, pool) {
            return Err(Refusal::Pool(pool));
        }
        // Who is on either list of what is wanted is wanted.
        match (self.apps.is_empty(), self.publishers.is_empty()) {
            (true, true) => Ok(()),
            (false, true) if !self.apps.contains(&app) => Err(Refusal::App(app)),
            (true, false) if !self.publishers.contains(&publisher) => Err(Refusal::Publisher(publisher)),
            (false, false) if !self.apps.contains(&app) && !self.publishers.contains(&publisher) => {
                Err(Refusal::App(app))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is the owner's own, which goes before anybody else's.
    pub fn is_own(&self, work: &Work) -> bool {
        self.own.contains(&work.requester)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    const WORK: Work = Work {
        pool: Address::repeat_byte(1),
        app: Address::repeat_byte(2),
        publisher: Address::repeat_byte(3),
        requester: Address::repeat_byte(4),
    };

    #[test]
    fn an_empty_policy_takes_everything() {
        let policy: Policy = serde_json::from_str("{}").unwrap();
        assert_eq!((policy.check(), policy.accept(&WORK), policy.is_own(&WORK)), (Ok(()), Ok(()), false));
        assert_eq!(policy, Policy::default());
    }

    #[test]
    fn lists_say_who_is_wanted() {
        let policy = |change: &dyn Fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.accept(&WORK)
        };
        assert_eq!(policy(&|policy| policy.pools = vec![address(9)]), Err(Refusal::Pool(address(1))));
        assert_eq!(policy(&|policy| policy.pools = vec![address(9), address(1)]), Ok(()));
        assert_eq!(policy(&|policy| policy.apps = vec![address(9)]), Err(Refusal::App(address(2))));
        assert_eq!(policy(&|policy| policy.publishers = vec![address(9)]), Err(Refusal::Publisher(address(3))));
        assert_eq!(policy(&|policy| policy.refused_apps = vec![address(2)]), Err(Refusal::RefusedApp(address(2))));
        let refused = policy(&|policy| policy.refused_publishers = vec![address(3)]);
        assert_eq!(refused, Err(Refusal::RefusedPublisher(address(3))));
        // On one of both lists; and what is refused stays so.
        let both = |policy: &mut Policy| {
            policy.apps = vec![address(9)];
            policy.publishers = vec![address(3)];
        };
        assert_eq!(policy(&both), Ok(()));
        let refused = policy(&|policy| {
            both(policy);
            policy.refused_apps = vec![address(2)];
        });
        assert_eq!(refused, Err(Refusal::RefusedApp(address(2))));
    }

    #[test]
    fn the_owners_own_work_is_known() {
        let policy = Policy { own: vec![address(4)], ..Policy::default() };
        assert!(policy.is_own(&WORK));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = [
            (Policy { load_max: Some(1.5), ..Policy::default() }, "load_max"),
            (Policy { load_max: Some(f64::NAN), ..Policy::default() }, "load_max"),
            (Policy { battery_min: Some(101), ..Policy::default() }, "battery_min"),
            (Policy { temperature_max: Some(5.0), ..Policy::default() }, "temperature_max"),
            (Policy { wind_down_min: 2_000, ..Policy::default() }, "wind_down_min"),
        ];
        for (policy, field) in wrong {
            assert_eq!(policy.check().unwrap_err().field, field);
        }
        let error = serde_json::from_str::<Policy>(r#"{"idle": 300}"#).unwrap_err().to_string();
        assert!(error.contains("idle_s"), "{error}");
    }
}
