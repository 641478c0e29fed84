use mxtrunk_sip::AccountName;

use super::*;
use crate::classes::Class;
use crate::numbers::NumberPlan;

fn alice() -> Line {
    let account = Account {
        trunk: TrunkName("pbx".into()),
        name: AccountName("2001".into()),
    };
    let user = UserId::parse("@alice:x").expect("a test user");
    let extension = NumberPlan::french().normalise("2001");
    Line {
        account: Some(account),
        ..Line::new(user, extension.expect("a test number"))
    }
}

fn directory(line: &Line) -> Directory {
    let directory = Directory::new(NumberPlan::french(), vec![line.clone()]);
    directory.expect("a directory")
}

fn codes() -> FeatureCodes {
    let switch = |on: &str, off: &str| {
        Some(Switch {
            on: on.to_owned(),
            off: off.to_owned(),
        })
    };
    FeatureCodes {
        do_not_disturb: switch("*78", "*79"),
        forward_always: switch("*72{number}", "*73"),
        ..FeatureCodes::default()
    }
}

#[test]
fn a_setting_is_switched_by_its_code_with_the_number_in_it_as_the_pbx_writes_it() {
    let (line, codes) = (alice(), codes());
    let directory = directory(&line);
    let code = |setting, wanted| codes.code(&directory, &line, setting, wanted);
    for (setting, wanted, dialled) in [
        (Setting::DoNotDisturb, Some("on"), Some("*78")),
        (Setting::DoNotDisturb, None, Some("*79")),
        (Setting::Always, Some("1002"), Some("*721002")),
        (Setting::Always, None, Some("*73")),
        (Setting::Always, Some("nobody"), None),
        (Setting::Busy, Some("1002"), None),
    ] {
        assert_eq!(
            code(setting, wanted).as_deref(),
            dialled,
            "{setting:?} {wanted:?}"
        );
    }
    assert!(FeatureCodes::default().is_empty() && !codes.is_empty());
}

/// What is dialled for a forward to this number, where the PBX was told of that one; and what it was told then.
fn dialled(line: &Line, here: &str, told: Option<&str>) -> Option<(String, Option<String>)> {
    let here = Some(here.to_owned());
    codes().due(&directory(line), line, Setting::Always, here, told)
}

fn on(number: &str) -> Option<(String, Option<String>)> {
    Some((format!("*72{number}"), Some(number.to_owned())))
}

fn off() -> Option<(String, Option<String>)> {
    Some(("*73".to_owned(), None))
}

const PARIS: &str = "+33177123456";

#[test]
fn a_line_whose_calls_are_limited_forwards_to_outside_numbers_here_and_not_by_a_code_at_the_pbx() {
    let mut line = alice();
    assert_eq!(dialled(&line, PARIS, None), on(PARIS));
    assert_eq!(dialled(&line, PARIS, Some(PARIS)), None);
    line.limits.max_calls = Some(2);
    assert_eq!(dialled(&line, PARIS, None), None);
    // What the PBX was told before, of this number or another one, is over there.
    assert_eq!(dialled(&line, PARIS, Some(PARIS)), off());
    assert_eq!(dialled(&line, PARIS, Some("2002")), off());
    assert_eq!(dialled(&line, "2002", None), on("2002"));
    let directory = directory(&line);
    let disturb = codes().due(
        &directory,
        &line,
        Setting::DoNotDisturb,
        Some("on".into()),
        None,
    );
    assert_eq!(disturb, Some(("*78".into(), Some("on".into()))));
}

#[test]
fn a_forward_to_a_number_that_the_line_may_call_no_more_is_over_at_the_pbx_by_its_code() {
    let mut line = alice();
    line.permissions = [Class::Internal].into_iter().collect();
    assert_eq!(dialled(&line, PARIS, Some(PARIS)), off());
    assert_eq!(dialled(&line, PARIS, None), None);
}
