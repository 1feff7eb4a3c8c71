//! Count, and say the counts in Prometheus' text exposition format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

/// The media type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper bounds of a histogram's buckets, in microseconds: from a decision in memory to a disk that is stuck.
const BUCKETS_US: [u64; 18] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// How often something took how long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// By bucket; what is longer than the last is only in `count`.
    buckets: [u64; BUCKETS_US.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    /// Counts one more.
    pub fn observe(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| us <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

/// What is counted from the pool's start on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub leases_started: u64,
    /// By why they ended.
    pub leases_ended: BTreeMap<&'static str, u64>,
    pub contributions: u64,
    pub contributions_rejected: u64,
    pub reveals: u64,
    pub decisions: Histogram,
}

/// A text in the making.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// Names and values of a sample's labels.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// A number that goes up and down, with a sample for each set of labels.
    pub fn gauge<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        self.family(name, "gauge", help, samples);
    }

    /// A number that only goes up while the pool runs.
    pub fn counter<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        self.family(name, "counter", help, samples);
    }

    fn family<'a, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        self.head(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, labels, value);
        }
    }

    /// Durations, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut sum = 0;
        for (count, bound_us) in histogram.buckets.iter().zip(BUCKETS_US) {
            sum += count;
            self.sample(&bucket, &[("le", &(bound_us as f64 / 1e6).to_string())], sum);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count);
        self.sample(&format!("{name}_sum"), &[], histogram.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), &[], histogram.count);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text += name;
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{}\"", escape(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_the_format_wants_it() {
        let mut text = Exposition::default();
        text.gauge("mill_grain_grams", "What lies in the hopper.", [(&[("of", "rye \"new\"\n\\")] as Labels<'_>, 5)]);
        text.counter("mill_turns_total", "Turns of the stone.", [(&[] as Labels<'_>, 7)]);
        let expected = "# HELP mill_grain_grams What lies in the hopper.\n# TYPE mill_grain_grams gauge\n\
                        mill_grain_grams{of=\"rye \\\"new\\\"\\n\\\\\"} 5\n\
                        # HELP mill_turns_total Turns of the stone.\n# TYPE mill_turns_total counter\nmill_turns_total 7\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn buckets_add_up() {
        let mut histogram = Histogram::default();
        for us in [5, 10, 11, 400, 3_000_000, 60_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut text = Exposition::default();
        text.histogram("mill_turn_seconds", "How long a turn takes.", &histogram);
        let text = text.finish();
        for line in [
            "mill_turn_seconds_bucket{le=\"0.00001\"} 2",
            "mill_turn_seconds_bucket{le=\"0.000025\"} 3",
            "mill_turn_seconds_bucket{le=\"0.0005\"} 4",
            "mill_turn_seconds_bucket{le=\"2.5\"} 4",
            "mill_turn_seconds_bucket{le=\"10\"} 5",
            "mill_turn_seconds_bucket{le=\"+Inf\"} 6",
            "mill_turn_seconds_sum 63.000426",
            "mill_turn_seconds_count 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
