//! One call as its person reads it, and as a machine does.

use std::time::Duration;

use mxtrunk_call::Reason;
use mxtrunk_matrix::catalogue::{Language, fill};
use mxtrunk_store::{CallRecord, Direction, EndedBy, RecordId, Stage};
use ruma::EventId;
use serde_json::{Value, json};

/// Where in an event's content a machine finds the call.
const DATA: &str = "org.mxtrunk.call";

/// The number of a caller who withholds theirs, in records.
const ANONYMOUS: &str = "anonymous";

/// Who was at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    /// As the virtual user is called.
    pub(crate) name: String,
    /// Where that is called back from.
    pub(crate) link: String,
}

/// One call, in words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    text: String,
    html: String,
    data: Value,
    /// Nobody took it: the person shall notice.
    pub(super) is_missed: bool,
}

impl Entry {
    /// What is to be said of a call now.
    pub(super) fn of(record: &CallRecord, party: &Party, language: Language) -> Self {
        let is_missed = is_missed(record);
        let text = sentence(record, &plain_name(record, party, language), language);
        let html = sentence(record, &linked_name(record, party, language), language);
        Entry {
            text,
            html,
            data: data(record, party, is_missed),
            is_missed,
        }
    }

    /// As an event of its own. A notice raises no unread mark, a text does.
    pub(super) fn content(&self) -> Value {
        let msgtype = match self.is_missed {
            true => "m.text",
            false => "m.notice",
        };
        json!({
            "msgtype": msgtype, "body": self.text,
            "format": "org.matrix.custom.html", "formatted_body": self.html,
            DATA: self.data,
        })
    }

    /// As an edit of an event that stands.
    pub(super) fn edit_of(&self, event: &EventId) -> Value {
        let new = self.content();
        let mut edit = new.clone();
        edit["body"] = json!(format!("* {}", self.text));
        edit["formatted_body"] = json!(format!("* {}", self.html));
        edit["m.new_content"] = new;
        edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
        edit
    }
}

/// The stable word of a stage.
pub(crate) fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Nothing => "nothing",
        Stage::Begun => "ringing",
        Stage::Answered => "answered",
        Stage::Ended => "ended",
    }
}

/// How far an event tells of this call; `None`: it tells of another, or of none.
pub(super) fn stage_in(content: &Value, id: &RecordId) -> Option<Stage> {
    let data = content.get(DATA)?;
    if data["id"] != id.0.as_str() {
        return None;
    }
    let stages = [Stage::Begun, Stage::Answered, Stage::Ended];
    stages
        .into_iter()
        .find(|stage| data["state"] == word(*stage))
}

/// Whether an event tells of a call so old that it was written before this one began: each is told within `keep`, or never.
pub(super) fn is_long_before(content: &Value, record: &CallRecord, keep: Duration) -> bool {
    let started_at = content
        .get(DATA)
        .and_then(|data| data["started_at"].as_i64());
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    started_at.is_some_and(|at| at < record.started_at.0.saturating_sub(keep))
}

/// Whether the person was called and nobody took the call, here or elsewhere, nor turned it down.
pub(crate) fn is_missed(record: &CallRecord) -> bool {
    let settled = [Reason::Declined, Reason::AnsweredElsewhere].map(Reason::word);
    let reason = record.reason.as_deref().unwrap_or_default();
    record.direction == Direction::Incoming
        && record.ended_at.is_some()
        && record.answered_at.is_none()
        && !settled.contains(&reason)
}

/// The sentence, with the other end named so.
fn sentence(record: &CallRecord, who: &str, language: Language) -> String {
    let phrases = language.phrases();
    let is_outgoing = record.direction == Direction::Outgoing;
    let device = record.device.as_deref().filter(|_| !is_outgoing);
    let device = device.map(|device| fill(phrases.on_device, &[("device", &escaped(device))]));
    let device = device.unwrap_or_default();
    let part = |of: &Option<String>, phrase| {
        let number = match of.as_deref() {
            None => return String::new(),
            Some(ANONYMOUS) => phrases.anonymous,
            Some(number) => number,
        };
        fill(phrase, &[("who", &escaped(number))])
    };
    // Else a call that the line has sent elsewhere would read as if the person had taken it.
    let forwarded = part(&record.forwarded_by, phrases.forwarded_by)
        + &part(&record.forwarded_to, phrases.forwarded_to);
    let with = |phrase: &str| fill(phrase, &[("who", who)]);
    match Stage::of(record) {
        Stage::Nothing | Stage::Begun if is_outgoing => with(phrases.calling),
        Stage::Nothing | Stage::Begun => format!("{}{forwarded}", with(phrases.ringing)),
        Stage::Answered if is_outgoing => with(phrases.talking_to),
        Stage::Answered => format!("{}{forwarded}{device}", with(phrases.talking_from)),
        Stage::Ended => {
            let phrase = match (is_outgoing, is_missed(record)) {
                (true, _) => phrases.called,
                (false, true) => phrases.missed,
                (false, false) => phrases.called_by,
            };
            let transferred = part(&record.transferred_to, phrases.transferred_to);
            let end = end(record, language);
            format!("{}{forwarded}{device}{transferred}{end}", with(phrase))
        }
    }
}

/// How long it lasted, and how it ended, where that says anything.
fn end(record: &CallRecord, language: Language) -> String {
    let reason = record.reason.as_deref().unwrap_or_default();
    let outcome = language.outcome(reason);
    let usual = match (record.answered_at, is_missed(record)) {
        (Some(_), _) => [Reason::HungUp, Reason::HungUp],
        (None, true) => [Reason::Cancelled, Reason::NoAnswer],
        (None, false) => return format!(", {outcome}"),
    };
    let lasted = seconds(record).map(|seconds| format!(", {}", language.lasted(seconds)));
    let lasted = lasted.unwrap_or_default();
    match usual.map(Reason::word).contains(&reason) {
        true => lasted,
        false => format!("{lasted}, {outcome}"),
    }
}

/// How long two people talked.
fn seconds(record: &CallRecord) -> Option<u64> {
    let millis = record.ended_at?.0.saturating_sub(record.answered_at?.0);
    u64::try_from(millis).ok().map(|millis| millis / 1000)
}

pub(crate) fn plain_name(record: &CallRecord, party: &Party, language: Language) -> String {
    match record.number.as_str() {
        ANONYMOUS => language.phrases().anonymous.to_owned(),
        _ => sober(&party.name),
    }
}

/// Where the other end is called back from; nowhere, if it withholds its number.
pub(crate) fn link<'a>(record: &CallRecord, party: &'a Party) -> Option<&'a str> {
    (record.number != ANONYMOUS).then_some(party.link.as_str())
}

/// What there is to say beside who it was: forwarded by, transferred to, how long, how it ended.
pub(crate) fn details(record: &CallRecord, language: Language) -> String {
    let phrases = language.phrases();
    let who = |who: &str| match who {
        ANONYMOUS => phrases.anonymous.to_owned(),
        who => sober(who),
    };
    let part = |of: &Option<String>, phrase| {
        let of = of.as_deref();
        of.map_or_else(String::new, |of| fill(phrase, &[("who", &who(of))]))
    };
    let mut told = part(&record.forwarded_by, phrases.forwarded_by);
    told += &part(&record.forwarded_to, phrases.forwarded_to);
    told += &part(&record.transferred_to, phrases.transferred_to);
    if record.ended_at.is_some() {
        told += &end(record, language);
    }
    told.trim_start_matches(", ").to_owned()
}

/// A link that leads to the virtual user, who can be called from there.
fn linked_name(record: &CallRecord, party: &Party, language: Language) -> String {
    match record.number.as_str() {
        ANONYMOUS => language.phrases().anonymous.to_owned(),
        _ => {
            let name = escaped(&sober(&party.name));
            format!("<a href=\"{}\">{name}</a>", escaped(&party.link))
        }
    }
}

/// A name from the telephone network on one line, without what turns the text around it about.
fn sober(name: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let sound = name.chars().filter(|c| !c.is_control() && !turns(*c));
    sound.collect()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Times in milliseconds since the Unix epoch.
fn data(record: &CallRecord, party: &Party, is_missed: bool) -> Value {
    let ended_by = record.ended_by.map(|by| match by {
        EndedBy::Caller => "caller",
        EndedBy::Callee => "callee",
        EndedBy::Gateway => "gateway",
    });
    let withheld = record.number == ANONYMOUS;
    json!({
        "id": record.id.0,
        "direction": match record.direction {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        },
        "number": (!withheld).then_some(&record.number),
        "name": (!withheld).then(|| sober(&party.name)),
        "state": word(Stage::of(record)),
        "missed": is_missed,
        "started_at": record.started_at.0,
        "answered_at": record.answered_at.map(|at| at.0),
        "ended_at": record.ended_at.map(|at| at.0),
        "ended_by": ended_by,
        "reason": record.reason,
        "forwarded_by": record.forwarded_by,
        "forwarded_to": record.forwarded_to,
        "transferred_to": record.transferred_to,
        "device": record.device,
    })
}

#[cfg(test)]
mod tests {
    use mxtrunk_store::UnixMillis;

    use super::*;

    fn party() -> Party {
        Party {
            name: "Bob <1> & Co (600)".to_owned(),
            link: "https://matrix.to/#/@tel_600:localtest".to_owned(),
        }
    }

    fn call(direction: Direction) -> CallRecord {
        let id = RecordId("r".to_owned());
        CallRecord::started(id, direction, "@alice:localtest", "600", UnixMillis(1_000))
    }

    fn ended(mut record: CallRecord, answered: Option<i64>, reason: &str) -> CallRecord {
        record.answered_at = answered.map(UnixMillis);
        record.ended_at = Some(UnixMillis(200_000));
        record.reason = Some(reason.to_owned());
        record
    }

    fn text(record: &CallRecord) -> String {
        Entry::of(record, &party(), Language::English).text
    }

    #[test]
    fn a_call_is_told_while_it_lives_and_when_it_is_over() {
        let (to, from) = (call(Direction::Outgoing), call(Direction::Incoming));
        assert_eq!(text(&to), "📞 Calling Bob <1> & Co (600) …");
        assert_eq!(text(&from), "📞 Bob <1> & Co (600) is calling …");
        let told = [
            (
                ended(to.clone(), Some(15_000), "hung_up"),
                "↗ Call to Bob <1> & Co (600), 3 min 05 s",
            ),
            (
                ended(to.clone(), None, "busy"),
                "↗ Call to Bob <1> & Co (600), busy",
            ),
            (
                ended(to, Some(15_000), "media_lost"),
                "↗ Call to Bob <1> & Co (600), 3 min 05 s, the sound connection broke",
            ),
            (
                ended(from.clone(), None, "declined"),
                "↙ Call from Bob <1> & Co (600), declined",
            ),
            (
                ended(from.clone(), None, "answered_elsewhere"),
                "↙ Call from Bob <1> & Co (600), answered elsewhere",
            ),
            (
                ended(from.clone(), None, "cancelled"),
                "❌ Missed call from Bob <1> & Co (600)",
            ),
            (
                ended(from, None, "busy"),
                "❌ Missed call from Bob <1> & Co (600), busy",
            ),
        ];
        for (record, expected) in told {
            assert_eq!(text(&record), expected);
        }
    }

    #[test]
    fn the_device_who_forwarded_it_and_who_took_over_are_told() {
        let mut record = ended(call(Direction::Incoming), Some(15_000), "hung_up");
        record.device = Some("ABCDEF".to_owned());
        record.forwarded_by = Some("2002".to_owned());
        record.transferred_to = Some("1003".to_owned());
        assert_eq!(
            text(&record),
            "↙ Call from Bob <1> & Co (600), forwarded by 2002, on device ABCDEF, transferred to 1003, 3 min 05 s"
        );
        let french = Entry::of(&record, &party(), Language::French).text;
        assert!(
            french.contains("renvoyé par 2002, sur l'appareil ABCDEF"),
            "{french}"
        );
    }

    #[test]
    fn a_call_that_the_line_has_forwarded_does_not_read_as_if_the_person_had_taken_it() {
        let mut record = call(Direction::Incoming);
        record.forwarded_to = Some("1003".to_owned());
        record.answered_at = Some(UnixMillis(15_000));
        let name = "Bob <1> & Co (600)";
        assert_eq!(
            text(&record),
            format!("📞 In a call from {name}, forwarded to 1003")
        );
        let record = ended(record, Some(15_000), "hung_up");
        assert_eq!(
            text(&record),
            format!("↙ Call from {name}, forwarded to 1003, 3 min 05 s")
        );
        let french = Entry::of(&record, &party(), Language::French);
        assert_eq!(
            french.text,
            format!("↙ Appel de {name}, renvoyé vers 1003, 3 min 05 s")
        );
        assert_eq!(french.content()[DATA]["forwarded_to"], "1003");
        let missed = ended(record, None, "no_answer");
        assert_eq!(
            text(&missed),
            format!("❌ Missed call from {name}, forwarded to 1003")
        );
    }

    #[test]
    fn a_missed_call_raises_an_unread_mark_and_no_other_does() {
        let missed = Entry::of(
            &ended(call(Direction::Incoming), None, "no_answer"),
            &party(),
            Language::English,
        );
        assert_eq!(missed.content()["msgtype"], "m.text");
        for record in [
            ended(call(Direction::Outgoing), None, "no_answer"),
            ended(call(Direction::Incoming), None, "answered_elsewhere"),
            ended(call(Direction::Incoming), Some(2_000), "hung_up"),
            call(Direction::Incoming),
        ] {
            let entry = Entry::of(&record, &party(), Language::English);
            assert_eq!(entry.content()["msgtype"], "m.notice", "{entry:?}");
        }
    }

    #[test]
    fn a_name_is_a_link_that_calls_back_and_cannot_bring_markup_of_its_own() {
        let entry = Entry::of(&call(Direction::Incoming), &party(), Language::English);
        assert_eq!(
            entry.html,
            "📞 <a href=\"https://matrix.to/#/@tel_600:localtest\">Bob &lt;1&gt; &amp; Co (600)</a> is calling …"
        );
        assert_eq!(sober("a\nb\u{202e}c"), "abc");
    }

    #[test]
    fn a_withheld_number_is_no_link_and_stands_nowhere() {
        let mut record = call(Direction::Incoming);
        record.number = ANONYMOUS.to_owned();
        let content = Entry::of(&record, &party(), Language::French).content();
        assert_eq!(
            content["formatted_body"],
            "📞 un numéro masqué vous appelle …"
        );
        assert_eq!(content[DATA]["number"], Value::Null);
        assert!(!content.to_string().contains("Bob"), "{content}");
    }

    #[test]
    fn a_call_is_not_looked_for_behind_one_that_was_written_before_it_began() {
        let mut record = call(Direction::Incoming);
        let earlier = Entry::of(&record, &party(), Language::English).content();
        let keep = Duration::from_secs(10);
        assert!(!is_long_before(&earlier, &record, keep));
        record.started_at = UnixMillis(11_000);
        assert!(!is_long_before(&earlier, &record, keep));
        record.started_at = UnixMillis(11_001);
        assert!(is_long_before(&earlier, &record, keep));
        assert!(!is_long_before(&json!({ "body": "?" }), &record, keep));
    }

    #[test]
    fn an_edit_says_the_same_and_names_what_it_replaces() {
        let record = call(Direction::Outgoing);
        let entry = Entry::of(&record, &party(), Language::English);
        let event = EventId::parse("$1").unwrap();
        let edit = entry.edit_of(&event);
        assert_eq!(edit["m.new_content"], entry.content());
        assert_eq!(edit["m.relates_to"]["event_id"], "$1");
        assert_eq!(stage_in(&edit, &record.id), Some(Stage::Begun));
        assert_eq!(stage_in(&edit, &RecordId("other".to_owned())), None);
    }
}
