//! How long the gateway takes to pass the beginning of a call on, as its own traces tell: from the person's event to the
//! INVITE, and from the INVITE to the event, the homeserver's part in that included.

use serde::Deserialize;

use crate::load::site::Site;

/// For each call whose trace is still kept, ms.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Through {
    /// From `m.call.invite` to the first INVITE.
    pub(super) out_ms: Vec<f64>,
    /// From the INVITE to `m.call.invite`.
    pub(super) in_ms: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Traces {
    traces: Vec<About>,
}

#[derive(Debug, Deserialize)]
struct About {
    call: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    trace: Trace,
}

#[derive(Debug, Deserialize)]
struct Trace {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    at_ms: u64,
    flow: String,
    what: String,
}

impl Through {
    /// # Errors
    /// When the gateway does not answer.
    pub(super) async fn of(site: &Site) -> anyhow::Result<Self> {
        let mut through = Self::default();
        let Traces { traces } = serde_json::from_str(&site.ask("/api/traces").await?)?;
        for About { call } in traces {
            // The oldest make room for others meanwhile.
            if let Ok(answer) = site.ask(&format!("/api/calls/{call}")).await {
                let Answer { trace } = serde_json::from_str(&answer)?;
                through.add(&trace);
            }
        }
        Ok(through)
    }

    fn add(&mut self, trace: &Trace) {
        let at = |flow: &str, what: &str| {
            let mut entries = trace.entries.iter();
            let found = entries.find(|entry| entry.flow == flow && entry.what.starts_with(what));
            found.map(|entry| entry.at_ms)
        };
        let event = "m.call.invite";
        let (heard, sent) = (at("from_element", event), at("to_phone", "INVITE"));
        if let (Some(heard), Some(sent)) = (heard, sent) {
            self.out_ms.push(sent.saturating_sub(heard) as f64);
        }
        let (heard, sent) = (at("from_phone", "INVITE"), at("to_element", event));
        if let (Some(heard), Some(sent)) = (heard, sent) {
            self.in_ms.push(sent.saturating_sub(heard) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_in_its_own_direction() {
        let entry = |at_ms, flow: &str, what: &str| Entry {
            at_ms,
            flow: flow.to_owned(),
            what: what.to_owned(),
        };
        let mut through = Through::default();
        through.add(&Trace {
            entries: vec![
                entry(5, "from_element", "m.call.invite"),
                entry(9, "to_phone", "INVITE"),
                entry(40, "to_phone", "INVITE"),
            ],
        });
        through.add(&Trace {
            entries: vec![
                entry(5, "from_phone", "INVITE"),
                entry(6, "to_phone", "100 Trying (INVITE)"),
                entry(17, "to_element", "m.call.invite"),
            ],
        });
        assert_eq!((through.out_ms, through.in_ms), (vec![4.0], vec![12.0]));
    }
}
