//! A forwarded call that goes on to another telephone: whoever is called next is told who forwarded it.

use mxtrunk_sip::{Caller, Forwarded, TrunkName};

use crate::call_task::CallTask;
use crate::directory::Directory;
use crate::incoming::ANONYMOUS;
use crate::record::OpenRecord;
use crate::rules::TrunkRules;

impl CallTask {
    /// Who had forwarded this call to the person, as a trunk that it goes on to writes numbers.
    pub(crate) fn forwarded_to(&self, trunk: &TrunkName) -> Option<Forwarded> {
        let rules = self.transfers.rules_of(trunk);
        as_written(&self.record, &self.peers.directory.now(), &rules)
    }
}

/// What a record says of it. A number that is withheld is told to nobody.
fn as_written(record: &OpenRecord, directory: &Directory, rules: &TrunkRules) -> Option<Forwarded> {
    let (by, why) = record.forwarded()?;
    let plan = directory.plan();
    let shown = Some(by).filter(|by| *by != ANONYMOUS);
    let number = shown.and_then(|by| plan.normalise(by));
    let number = number.map(|number| rules.dialled(plan, &number));
    Some(Forwarded {
        by: Caller {
            number: number.unwrap_or_default(),
            display: None,
        },
        why: Some(why.to_owned()),
        hops: None,
    })
}

#[cfg(test)]
mod tests {
    use mxtrunk_store::Direction;

    use super::*;
    use crate::numbers::NumberPlan;
    use crate::rules::{Rule, Rules};

    #[test]
    fn a_trunk_is_told_by_whom_as_it_writes_numbers_and_nothing_of_who_is_withheld() {
        let directory =
            Directory::new(NumberPlan::french(), Vec::new()).expect("nobody is no mistake");
        let rule = Rule::new("+33", None, "0$1").expect("a sound rule");
        let rules = TrunkRules {
            dial: Rules(vec![rule]),
            ..TrunkRules::default()
        };
        let mut record = OpenRecord::begin(
            Direction::Incoming,
            ("@alice:x", "1001"),
            "pbx",
            &Default::default(),
        );
        assert_eq!(as_written(&record, &directory, &rules), None);
        for (by, expected) in [
            ("1002", "1002"),
            ("+33177123456", "0177123456"),
            ("anonymous", ""),
        ] {
            record.was_forwarded(by.to_owned(), Some("user-busy"));
            let told = as_written(&record, &directory, &rules).expect("it was forwarded");
            assert_eq!(told.by.number, expected);
            assert_eq!(told.why.as_deref(), Some("user-busy"));
        }
    }
}
