//! What the owner of a machine allows a worker to do, and when: a pure core, fed with the time and what the sensors say.
//!
//! The machine stays its owner's. [`Policy`] is what the owner wrote down; [`Owner`] holds it against the moment and answers with a
//! [`Decision`]: work, finish what runs and take no more, or stop at once. Each decision names its reasons, so that "why is my
//! machine not working?" and "why does it work now?" have an answer. What has stopped for a reason begins again only when the
//! reason has clearly gone: a value that trembles around its bound does not switch the work on and off.
//!
//! ```
//! use gristmill_owner::{Moment, Owner, Policy, Sensors, Verdict, Weekday};
//!
//! let policy: Policy = serde_json::from_str(r#"{"schedule": ["Mon-Fri 18:00-08:00", "Sat-Sun"], "mains_only": true}"#)?;
//! let mut owner = Owner::new(policy);
//! let noon = Moment { monotonic_ms: 0, weekday: Weekday::Tuesday, minute: 12 * 60 };
//! let decision = owner.decide(noon, &Sensors::default());
//! assert_eq!(decision.verdict, Verdict::Stop);
//! assert_eq!(decision.reasons[0].to_string(), "outside the schedule: it begins at Tue 18:00");
//! # Ok::<(), serde_json::Error>(())
//! ```

mod decide;
mod policy;
mod schedule;

pub use decide::{Command, Decision, Moment, Owner, Reason, Sensors, Verdict};
pub use policy::{Policy, PolicyError, Refusal, Work};
pub use schedule::{Schedule, ScheduleError, Weekday};
