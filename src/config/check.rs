//! What is wrong with a configuration, where, and how to mend it.

use std::collections::HashSet;
use std::fmt;

use super::{Config, lines, sip};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    place: String,
    wrong: String,
    mend: String,
}

impl Problem {
    /// Of a section that is not read anew while the gateway runs.
    pub(super) fn until_a_restart(self) -> Self {
        Problem {
            mend: "restart the gateway: this is read anew at its start".to_owned(),
            ..self
        }
    }

    pub(crate) fn new(
        place: impl Into<String>,
        wrong: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Problem {
            place: place.into(),
            wrong: wrong.into(),
            mend: mend.into(),
        }
    }

    /// The same for the log, where nobody is named: in what it is, and how to mend it.
    pub(crate) fn in_short(&self) -> String {
        format!("{}: {}", without_persons(&self.place), self.mend)
    }

    /// What TOML itself objects to: syntax, a missing key, an unknown one.
    pub(super) fn of_syntax(text: &str, error: &toml::de::Error) -> Self {
        let place = match error.span() {
            Some(span) => format!("line {}", line_of(text, span.start)),
            None => "the file".into(),
        };
        let mend = if error.message().starts_with("unknown field") {
            "correct the spelling or remove the key; gateway.toml in the source lists all of them"
        } else {
            "gateway.toml in the source shows how it is written"
        };
        Problem::new(place, error.message().trim(), mend)
    }
}

/// A place without the names in `line "…"`, however they are written.
fn without_persons(place: &str) -> String {
    let mut parts = place.split("line \"");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut is_escaped = false;
        let end = part.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        text.push_str("a line");
        text.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    text
}

/// The line of the file, from 1, in which its `at`th byte stands.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n    to mend it: {}",
            self.place, self.wrong, self.mend
        )
    }
}

impl Config {
    /// Everything that TOML's own types could not refuse.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = self.matrix.problems();
        problems.extend(self.sip.problems());
        if self.trunks.is_empty() {
            problems.push(Problem::new(
                "trunk",
                "there is none",
                "add a [[trunk]] with a name and a target",
            ));
        }
        let takes_calls = |trunk: &sip::Trunk| !trunk.route().prefixes.is_empty();
        if !self.trunks.is_empty() && !self.trunks.iter().any(takes_calls) {
            problems.push(Problem::new(
                "trunk",
                "prefixes is empty in each: nobody could call anybody",
                "remove prefixes from the [[trunk]] that is to take outgoing calls",
            ));
        }
        let mut names = HashSet::new();
        for (n, trunk) in self.trunks.iter().enumerate() {
            let earlier = self.trunks[..n].iter();
            problems.extend(earlier.filter_map(|other| trunk.tls_problem_beside(other)));
            problems.extend(trunk.problems(&self.sip.listen));
            if !names.insert(&trunk.name) {
                problems.push(Problem::new(
                    format!("trunk {:?}", trunk.name),
                    "exists twice",
                    "give each trunk a name of its own",
                ));
            }
        }
        problems.extend(self.media.problems());
        problems.extend(self.load.problems());
        problems.extend(self.presence.problems());
        problems.extend(self.ami.problems(&self.trunks));
        problems.extend(self.feature_codes.problems(self));
        problems.extend(self.admin.problems());
        problems.extend(self.records.problems());
        problems.extend(self.calls.problems());
        if self.store.instance.is_empty() {
            let mend = "give it a name: calls left behind by a crash are found by it";
            problems.push(Problem::new("store.instance", "is empty", mend));
        }
        problems.extend(self.numbers.problems());
        problems.extend(self.limits.problems());
        problems.extend(self.sources.problems());
        problems.extend(self.widget.problems(self));
        problems
    }

    /// What is wrong with the lines, wherever they stand.
    pub(super) fn line_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(lines::directory(self).err().into_iter().flatten());
        problems.extend(self.registrations().err().into_iter().flatten());
        problems.extend(self.subscriptions().err().into_iter().flatten());
        problems
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    pub(in crate::config) const SHIPPED: &str = include_str!("../../gateway.toml");

    pub(in crate::config) fn complaints(text: &str) -> String {
        let problems = Config::parse(text).expect_err("it must be refused");
        problems
            .iter()
            .map(Problem::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn in_short_a_problem_names_nobody_and_still_says_where_it_is() {
        for (place, expected) in [
            ("trunk \"pbx\": watch", "trunk \"pbx\": watch: mend"),
            ("line \"@a:x\": register", "a line: register: mend"),
            (
                "line \"a\\\"2001\" (line 7 of the CSV file) and line \"@b:x\"",
                "a line (line 7 of the CSV file) and a line: mend",
            ),
            ("line \"2001", "a line: mend"),
        ] {
            let problem = Problem::new(place, "2001 is wrong", "mend");
            assert_eq!(problem.in_short(), expected);
        }
    }

    #[test]
    fn the_shipped_file_is_sound() {
        Config::parse(SHIPPED).unwrap();
    }

    /// The shipped file promises to show the defaults: a file that leaves out every key that may be
    /// left out means the same.
    #[test]
    fn the_shipped_file_shows_the_defaults() {
        let short = r#"
            [matrix]
            homeserver = "http://127.0.0.1:8008"
            server_name = "example.org"
            as_token = "change-me-as"
            hs_token = "change-me-hs"
            [sip]
            listen = ["udp:127.0.0.1:5070", "tcp:127.0.0.1:5070"]
            [[trunk]]
            name = "pbx"
            target = "127.0.0.1:5060"
        "#;
        let short = Config::parse(short).unwrap();
        let mut shipped = Config::parse(SHIPPED).unwrap();
        shipped.lines = Arc::default();
        shipped.own_lines = Arc::default();
        assert_eq!(format!("{short:#?}"), format!("{shipped:#?}"));
        let sections = |c: &Config| {
            (
                c.matrix.listen,
                c.matrix.url(),
                c.matrix.sender.clone(),
                c.matrix.user_prefix.clone(),
                c.matrix.join_seconds,
                c.trunks[0].transport,
                c.trunks[0].options_seconds,
                c.trunks[0].max_calls,
                c.trunks[0].answer_within_seconds,
                (
                    c.trunks[0].codecs.clone(),
                    c.trunks[0].srtp,
                    c.trunks[0].nat,
                ),
            )
        };
        assert_eq!(sections(&short), sections(&shipped));
    }

    /// Every key that a section knows stands in the shipped file, set or commented out: asked by an
    /// unknown key, serde names those it knows.
    #[test]
    fn the_shipped_file_lists_every_key() {
        for section in [
            "[matrix]",
            "[sip]",
            "[[trunk]]",
            "[media]",
            "[load]",
            "[numbers]",
            "[limits]",
            "[directory]",
            "[[line]]",
            "[presence]",
            "[ami]",
            "[calls]",
            "[store]",
            "[widget]",
            "[admin]",
            "[records]",
            "[log]",
        ] {
            // Comments name sections too: a heading stands alone on its line.
            let heading = format!("\n{section}\n");
            let with_typo = SHIPPED.replacen(&heading, &format!("{heading}no_such_key = 1\n"), 1);
            let complaint = complaints(&with_typo);
            let known = complaint
                .split("expected")
                .nth(1)
                .unwrap_or_else(|| panic!("{complaint}"));
            let keys: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            assert!(!keys.is_empty(), "{complaint}");
            let after = SHIPPED
                .split(&heading)
                .nth(1)
                .expect("the section is there");
            for key in keys {
                let stands = after.lines().any(|line| {
                    line.trim_start_matches("# ")
                        .starts_with(&format!("{key} ="))
                });
                assert!(stands, "{section} does not show {key}");
            }
        }
    }

    #[test]
    fn a_mistyped_key_is_refused_with_its_line_and_a_way_out() {
        let complaint = complaints(&SHIPPED.replace("homeserver =", "homesever ="));
        assert!(
            complaint.contains("homesever") && complaint.contains("line "),
            "{complaint}"
        );
        assert!(complaint.contains("to mend it: "), "{complaint}");
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let broken = SHIPPED
            .replace("homeserver = \"http://", "homeserver = \"ftp://")
            .replace(
                "phone_ports = [20000, 29999]",
                "phone_ports = [20000, 20000]",
            )
            .replace("@bob:example.org", "@alice:example.org")
            .replace("as_token = \"change-me-as\"", "")
            .replace("opus_complexity = 1", "opus_complexity = 11");
        let complaint = complaints(&broken);
        for part in [
            "matrix.homeserver",
            "media.phone_ports",
            "stands twice",
            "matrix.as_token",
            "opus_complexity",
        ] {
            assert!(
                complaint.contains(part),
                "{part} is missing in:\n{complaint}"
            );
        }
    }

    #[test]
    fn values_that_would_break_a_promise_are_refused() {
        for (sound, broken, complaint) in [
            ("connect_ms = 1000", "connect_ms = 5000", "calls.connect_ms"),
            (
                "join_seconds = 10",
                "join_seconds = 30",
                "matrix.join_seconds",
            ),
            (
                "browser_port = 40000",
                "browser_port = 65535\nworkers = 4",
                "media.browser_port",
            ),
            (
                "browser_port = 40000",
                "browser_port = 20100",
                "within phone_ports",
            ),
            (
                "browser_advertise = []",
                "browser_advertise = [\"2001:db8::1\"]",
                "not of the family",
            ),
            (
                "browser_bind = \"127.0.0.1\"",
                "browser_bind = [\"127.0.0.1\", \"0.0.0.0\"]",
                "media.browser_bind: 0.0.0.0",
            ),
            (
                "browser_bind = \"127.0.0.1\"",
                "browser_bind = []",
                "names no address",
            ),
            (
                "browser_advertise = []",
                "browser_advertise = [\"192.0.2.1\"]\nbrowser_bind = [\"127.0.0.1\", \"127.0.0.2\"]",
                "cannot be told",
            ),
            (
                "# browser_tcp_port = 40000",
                "browser_tcp_port = 65535\nworkers = 4",
                "media.browser_tcp_port",
            ),
            (
                "target = \"127.0.0.1:5060\"",
                "target = \"[::1]:5060\"",
                "nothing listens",
            ),
            (
                "instance = \"mxtrunk\"",
                "instance = \"\"",
                "store.instance",
            ),
            ("max_calls = 500", "max_calls = 0", "sip.max_calls"),
            ("codecs = [\"pcmu\", \"pcma\"]", "codecs = []", "best first"),
            (
                "codecs = [\"pcmu\", \"pcma\"]",
                "codecs = [\"pcmu\", \"pcmu\"]",
                "named twice",
            ),
            ("max_calls = 500", "max_calls = 0", "media.max_calls"),
            ("phone_dscp = 46", "phone_dscp = 64", "media.phone_dscp"),
            ("browser_dscp = 46", "browser_dscp = 184", "octet is 46"),
            ("dscp = 24", "dscp = 96", "sip.dscp"),
            ("minutes = 60", "minutes = 0", "sip.ban"),
            (
                "messages_per_second = 1000",
                "messages_per_second = 1",
                "sip.messages_per_second",
            ),
            (
                "worker_nice = -10",
                "worker_nice = -21",
                "media.worker_nice",
            ),
            ("fill_to = 50", "fill_to = 101", "load.fill_to"),
            ("shed_at = 75", "shed_at = 0", "load.shed_at"),
            ("refuse_at = 90", "refuse_at = 70", "below shed_at"),
            ("late_ms = 20", "late_ms = 2000", "load.late_ms"),
            (
                "shed_complexity = 0",
                "shed_complexity = 11",
                "load.shed_complexity",
            ),
            (
                "# emergency = [\"15\"",
                "emergency = [\"one-one-two\"",
                "numbers.emergency",
            ),
        ] {
            let text = SHIPPED.replace(sound, broken);
            let text = if broken.contains("workers") {
                text.replace("\nworkers = 0", "")
            } else {
                text
            };
            let text = if broken.contains("\nbrowser_bind") {
                text.replace("\nbrowser_bind = \"127.0.0.1\"", "")
            } else {
                text
            };
            assert_ne!(text, SHIPPED, "{sound} is not in the shipped file");
            let said = complaints(&text);
            assert!(said.contains(complaint), "{broken} gave:\n{said}");
        }
    }

    /// The shipped file with one of its commented sites (`dial` and `caller`) switched on.
    fn with_site(heading: &str) -> String {
        let after = SHIPPED.find(heading).expect("the site is there");
        let (before, site) = SHIPPED.split_at(after);
        let mut lists = 0;
        let lines = site.lines().skip(1).map(|line| {
            let on = lists < 2;
            lists += usize::from(line == "# ]");
            match on {
                true => line.trim_start_matches("# "),
                false => line,
            }
        });
        format!("{before}{}", lines.collect::<Vec<_>>().join("\n"))
    }

    /// What the rules of a commented site make of what stands before the arrows in its comments.
    #[test]
    fn the_rules_of_the_shipped_sites_do_what_their_comments_say() {
        for (heading, expected) in [
            ("# A French site", 3),
            ("# A German site", 5),
            ("# A site in the USA", 3),
        ] {
            let text = with_site(heading);
            let config =
                Config::parse(&text).unwrap_or_else(|wrong| panic!("{heading}: {wrong:?}"));
            let rules = config.trunks[0].rules().expect("they are sound");
            let mut checked = 0;
            for line in text.lines().filter(|line| line.starts_with("    {")) {
                let example = line.split("# ").nth(1).expect("a comment");
                let (from, to) = example.split_once(" → ").expect("an arrow");
                let to = to.split(':').next().unwrap_or_default();
                let made = [&rules.dial, &rules.caller].map(|rules| {
                    let last = rules.tried(from).last();
                    last.map(|(_, outcome)| format!("{outcome:?}"))
                });
                let wanted = Some(format!("Rewritten({to:?})"));
                assert!(made.contains(&wanted), "{example}: {made:?}");
                checked += 1;
            }
            assert_eq!(checked, expected, "{heading}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_is_refused_with_its_line() {
        let broken = with_site("# A German site").replace("(\\d{2,4})", "(\\d{2,4}");
        let line = broken.lines().position(|line| line.contains("{2,4}'"));
        let line = line.expect("the rule") + 1;
        let complaint = complaints(&broken);
        let place = format!("line {line}, trunk \"pbx\": dial rule 1: pattern");
        assert!(complaint.contains(&place), "{complaint}");
        let mistyped =
            with_site("# A French site").replace("{ prefix = \"+33\"", "{ prefx = \"+33\"");
        assert!(
            complaints(&mistyped).contains("prefx"),
            "{}",
            complaints(&mistyped)
        );
    }

    #[test]
    fn a_line_of_another_homeserver_is_refused() {
        let complaint = complaints(&SHIPPED.replace("@bob:example.org", "@bob:elsewhere.org"));
        assert!(complaint.contains("elsewhere.org"), "{complaint}");
    }

    #[test]
    fn a_trunk_needs_a_listener_of_its_transport() {
        let complaint = complaints(
            &SHIPPED
                .replace(", \"tcp:127.0.0.1:5070\"]", "]")
                .replace("transport = \"udp\"", "transport = \"tcp\""),
        );
        assert!(complaint.contains("nothing listens"), "{complaint}");
    }
}
