//! The log: text for people, or JSON for what collects logs; and no person's address in it below debug.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{self, Format, Log};

/// Begins to log, to the standard error output.
pub(crate) fn start(log: &Log) -> Knob {
    let set = std::env::var("MXTRUNK_LOG").ok();
    let wanted = set.clone().unwrap_or_else(|| of_level(log.level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted))
        .with_writer(Discreet(io::stderr as fn() -> io::Stderr));
    // Its handle has another type with each format.
    let turn: Turn = match log.format {
        Format::Text => {
            let subscriber = subscriber
                .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
                .with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
        Format::Json => {
            let subscriber = subscriber
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
    };
    Knob {
        turn: set.is_none().then_some(turn),
        level: Mutex::new(log.level),
    }
}

/// Puts another filter in the place of the one that holds; `false`: it could not.
type Turn = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// How much is logged, which may change while the gateway runs.
pub(crate) struct Knob {
    /// `None` where the environment has the last word.
    turn: Option<Turn>,
    level: Mutex<config::Level>,
}

impl Knob {
    /// Whether it can be turned: the environment has not the last word.
    pub(crate) fn is_free(&self) -> bool {
        self.turn.is_some()
    }

    /// So much from now on. `false`: it could not be.
    pub(crate) fn turn(&self, level: config::Level) -> bool {
        let mut now = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == level {
            return true;
        }
        let turn = self.turn.as_ref();
        let turned = turn.is_some_and(|turn| turn(filter(&of_level(level))));
        if turned {
            *now = level;
        }
        turned
    }
}

fn of_level(level: config::Level) -> String {
    // The SIP stack logs whole messages at INFO: numbers, and what a challenge is answered with.
    format!("warn,mxtrunk={level}")
}

fn filter(wanted: &str) -> EnvFilter {
    let (sip, media) = (mxtrunk_sip::LOG_DIRECTIVE, mxtrunk_media_io::LOG_DIRECTIVE);
    EnvFilter::new(format!("{wanted},{sip},{media}"))
}

/// Writes what is of INFO and above without the addresses of people, should one have got into it: an error tells what
/// somebody else has said. Numbers are known by what stands before them alone; whoever logs keeps them at DEBUG.
struct Discreet<W>(W);

impl<'a, W, O> MakeWriter<'a> for Discreet<W>
where
    W: Fn() -> O + 'a,
    O: Write,
{
    type Writer = Masking<O>;

    fn make_writer(&'a self) -> Masking<O> {
        Masking {
            out: (self.0)(),
            masks: true,
        }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Masking<O> {
        Masking {
            out: (self.0)(),
            masks: *about.level() <= Level::INFO,
        }
    }
}

/// Takes whole lines.
struct Masking<O> {
    out: O,
    masks: bool,
}

impl<O: Write> Write for Masking<O> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match (self.masks, std::str::from_utf8(line)) {
            (true, Ok(text)) => self.out.write_all(masked(text).as_bytes())?,
            _ => self.out.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A text without Matrix ids, SIP and telephone addresses, and numbers in their international form.
fn masked(text: &str) -> Cow<'_, str> {
    static PERSONS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?P<matrix>@)[A-Za-z0-9._=/+-]+:(?P<host>[A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*)",
            r#"|(?P<scheme>\b(?:sips?|tel):)[^\s:@>;,"\\][^\s@>;,"\\]*"#,
            r"|(?P<plus>\+)[0-9]{5,}",
        ))
        .expect("it is a pattern")
    });
    PERSONS.replace_all(text, |found: &regex::Captures<'_>| {
        let part = |name| found.name(name).map(|part| part.as_str());
        match (part("host"), part("scheme").or(part("plus"))) {
            (Some(host), _) => format!("@…:{host}"),
            (None, Some(before)) => format!("{before}…"),
            (None, None) => "…".to_owned(),
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What is logged meanwhile, as it is written at a level of debug.
    pub(crate) fn logged(meanwhile: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);

        impl Lines {
            fn all(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
                self.0.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }

        impl Write for Lines {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.all().write(line)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(Discreet(move || writer.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, meanwhile);
        let all = lines.all();
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn nobodys_address_gets_through_and_the_rest_stays() {
        for (text, expected) in [
            (
                "user @alice.b:example.org is gone",
                "user @…:example.org is gone",
            ),
            (
                "INVITE sip:0177123456@10.0.0.1:5060",
                "INVITE sip:…@10.0.0.1:5060",
            ),
            ("to <tel:+33177123456>", "to <tel:…>"),
            // The quotation marks of JSON stay.
            (r#"{"error":"no tel:1001"}"#, r#"{"error":"no tel:…"}"#),
            (r#""a":"sip:x","level""#, r#""a":"sip:…","level""#),
            ("dialled +33177123456", "dialled +…"),
            (
                "WARN mxtrunk_sip::options: silent",
                "WARN mxtrunk_sip::options: silent",
            ),
            (
                "took 1234567 ms at 2026-11-28T20:00:00.123456Z",
                "took 1234567 ms at 2026-11-28T20:00:00.123456Z",
            ),
            ("listening at 127.0.0.1:9000", "listening at 127.0.0.1:9000"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn another_level_holds_unless_the_environment_has_the_last_word() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let turned = Arc::new(AtomicUsize::new(0));
        let counting = turned.clone();
        let turn: Turn = Box::new(move |_| counting.fetch_add(1, Ordering::Relaxed) < 2);
        let mut knob = Knob {
            turn: Some(turn),
            level: Mutex::new(config::Level::Info),
        };
        assert!(knob.turn(config::Level::Info));
        assert!(knob.turn(config::Level::Debug) && knob.turn(config::Level::Debug));
        assert_eq!(turned.load(Ordering::Relaxed), 1);
        knob.turn = None;
        assert!(!knob.turn(config::Level::Warn));
        assert!(knob.turn(config::Level::Debug));
    }

    #[test]
    fn only_what_everybody_reads_is_masked() {
        for (masks, expected) in [(true, "@…:x\n"), (false, "@alice:x\n")] {
            let mut written = Masking {
                out: Vec::new(),
                masks,
            };
            written.write_all(b"@alice:x\n").expect("taken");
            assert_eq!(String::from_utf8_lossy(&written.out), expected);
        }
    }
}
