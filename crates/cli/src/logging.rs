//! What the program says of itself, on standard error.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that says what is logged.
const VARIABLE: &str = "GRISTMILL_LOG";
/// The variable that says how: [`TEXT`] or [`JSON`].
const FORMAT_VARIABLE: &str = "GRISTMILL_LOG_FORMAT";
/// Lines for people.
const TEXT: &str = "text";
/// A JSON object a line.
const JSON: &str = "json";

/// What is logged by most commands: warnings and errors.
pub const DEFAULT: &str = "warn";

/// Begins logging, `default` unless [`VARIABLE`] says otherwise.
///
/// # Errors
/// [`FORMAT_VARIABLE`] says something that is not known.
pub fn init(default: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    match std::env::var(FORMAT_VARIABLE).as_deref() {
        Err(_) | Ok("" | TEXT) => {
            let is_terminal = io::stderr().is_terminal();
            let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
            lines.with_ansi(is_terminal).init();
        }
        Ok(JSON) => {
            let write = |line: &str| drop(io::stderr().lock().write_all(line.as_bytes()));
            tracing_subscriber::registry().with(filter).with(JsonLines { write }).init();
        }
        Ok(other) => anyhow::bail!("{FORMAT_VARIABLE} is {other:?}: it is {TEXT} or {JSON}"),
    }
    Ok(())
}

/// Writes each event as one flat object: time, level, target, message, and the fields of the event and of the spans around it, the
/// innermost before the outer ones. So `.task` is the task, wherever the line was written.
struct JsonLines<W> {
    write: W,
}

/// What a span has said so far.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut time = String::new();
        // A clock that cannot be told is left out.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let metadata = event.metadata();
        let mut line = Fields(Map::new());
        for (key, text) in [
            ("time", time.as_str()),
            ("level", metadata.level().as_str()),
            ("target", metadata.target()),
            ("message", ""),
        ] {
            line.0.insert(key.to_owned(), text.into());
        }
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                line.0.extend(fields.clone());
            }
        }
        event.record(&mut line);
        (self.write)(&(Value::Object(line.0).to_string() + "\n"));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.put(field, text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_line_has_the_fields_of_the_spans_around_it() {
        let lines = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&lines);
        let write = move |line: &str| kept.lock().unwrap().push_str(line);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(JsonLines { write }), || {
            let outer = tracing::error_span!("task", task = "0x1", worker = tracing::field::Empty, deal = 4).entered();
            outer.record("worker", tracing::field::display("w"));
            let _inner = tracing::error_span!("run", deal = 5).entered();
            tracing::info!(seconds = 2.5, is_late = true, "it \"runs\"\nstill");
            tracing::warn!(task = "0x2", error = ?Some(1), "another's");
        });
        let lines = lines.lock().unwrap().clone();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        for (key, value) in [
            ("task", Value::from("0x1")),
            ("worker", "w".into()),
            ("deal", 5.into()),
            ("seconds", 2.5.into()),
            ("is_late", true.into()),
            ("message", "it \"runs\"\nstill".into()),
            ("level", "INFO".into()),
        ] {
            assert_eq!(lines[0][key], value, "{key}: {}", lines[0]);
        }
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'), "{}", lines[0]);
        assert_eq!((&lines[1]["task"], &lines[1]["error"]), (&"0x2".into(), &"Some(1)".into()));
    }
}
