//! A trace as a sequence diagram in text, 100 columns wide.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::{About, Entry, Flow, Trace};

/// Between two lifelines.
const GAP: usize = 41;

/// For the time, with the space behind it.
const TIME: usize = 12;

/// Draws a call: who said what to whom, with the seconds since its beginning. `whole` adds the whole of each SIP message.
#[must_use]
pub fn ladder(trace: &Trace, whole: bool) -> String {
    let about = &trace.about;
    let mut drawn = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(drawn, "{}", line.trim_end());
    };
    say(&format!("call {}", about.call));
    say(&about.who);
    say(&format!(
        "began {}, {}",
        utc(about.began_ms),
        outcome(about)
    ));
    for call_id in &about.sip_call_ids {
        say(&format!("SIP Call-ID {call_id}"));
    }
    say("");
    say(&format!(
        "{:TIME$}{:<GAP$} {:<GAP$} {}",
        "", "Element", "mxtrunk", "PBX"
    ));
    for entry in &trace.entries {
        for line in rungs(entry, about.began_ms) {
            say(&line);
        }
        for line in entry
            .text
            .iter()
            .filter(|_| whole)
            .flat_map(|text| text.lines())
        {
            say(&format!("{:TIME$}    {line}", ""));
        }
    }
    if trace.left_out > 0 {
        say(&format!(
            "({} more in the middle were too much to be kept)",
            trace.left_out
        ));
    }
    drawn
}

/// The last calls, a line each.
#[must_use]
pub fn list(calls: &[About]) -> String {
    if calls.is_empty() {
        return "No call since the gateway started.\n".to_owned();
    }
    let mut told = String::new();
    for about in calls {
        let _ = writeln!(
            told,
            "{}  {}  {}: {}",
            utc(about.began_ms),
            about.call,
            about.who,
            outcome(about)
        );
    }
    told
}

fn outcome(about: &About) -> String {
    match &about.outcome {
        Some(outcome) => outcome.clone(),
        None => "still up".to_owned(),
    }
}

/// The lines of one entry.
fn rungs(entry: &Entry, began_ms: i64) -> Vec<String> {
    let time = format!("{:>9.3} s ", (entry.at_ms - began_ms) as f64 / 1000.0);
    let empty = " ".repeat(GAP);
    let mut lines = Vec::new();
    let mut rung = |gap: String| {
        let time = match lines.is_empty() {
            true => time.clone(),
            false => " ".repeat(TIME),
        };
        lines.push(match entry.flow {
            Flow::FromElement | Flow::ToElement | Flow::Browser => {
                format!("{time}|{gap}|{empty}|")
            }
            Flow::FromPhone | Flow::ToPhone | Flow::Phone => format!("{time}|{empty}|{gap}|"),
        });
    };
    match entry.flow {
        Flow::FromElement | Flow::ToPhone => rung(arrow(&entry.what, "--", "->")),
        Flow::ToElement | Flow::FromPhone => rung(arrow(&entry.what, "<-", "--")),
        Flow::Browser | Flow::Phone => wrapped(&format!("* media: {}", entry.what), &mut rung),
    }
    for note in &entry.notes {
        wrapped(note, &mut rung);
    }
    lines
}

fn arrow(what: &str, from: &str, to: &str) -> String {
    let what: String = what.chars().take(GAP - 6).collect();
    let line = format!("{from} {what} ");
    let rest = GAP - line.chars().count() - to.len();
    format!("{line}{}{to}", "-".repeat(rest))
}

/// Words in lines that fit between two lifelines, indented.
fn wrapped(text: &str, line: &mut impl FnMut(String)) {
    const INDENT: usize = 3;
    let mut current = String::new();
    let mut put = |text: &str| {
        line(format!(
            "{:INDENT$}{text:<width$}",
            "",
            width = GAP - INDENT
        ));
    };
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        // Longer than a line: in pieces.
        while !word.is_empty() {
            let piece: String = word.drain(..word.len().min(GAP - INDENT - 1)).collect();
            let fits = current.chars().count() + 1 + piece.chars().count() < GAP - INDENT;
            if !current.is_empty() && !fits {
                put(&current);
                current.clear();
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(&piece);
        }
    }
    if !current.is_empty() {
        put(&current);
    }
}

/// A moment as people write it.
#[must_use]
pub fn utc(unix_ms: i64) -> String {
    let Ok(moment) = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000)) else {
        return "at an unknown time".to_owned();
    };
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_people_write_it() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399_999), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_843_431_000), "2026-11-28 05:23:51 UTC");
    }
}
