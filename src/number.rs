//! `mxtrunk number`: what becomes of a number, and why. It asks what the running gateway asks, so that the two agree.

use std::fmt::Write as _;

use anyhow::Context;
use mxtrunk_signaling::classes::Because;
use mxtrunk_signaling::numbers::{Form, Permission, strip};
use mxtrunk_signaling::rules::Outcome;
use mxtrunk_signaling::{Directory, Line, Number, Rules, TrunkRules};
use ruma::UserId;

use crate::config::Config;
use crate::config::sip::Trunk;
use crate::run;

/// Tells what becomes of `raw` when `line` (anybody's, where it is not said) dials it, and when it calls over `trunk`
/// (the first one, where it is not said).
pub(crate) fn explain(
    config: &Config,
    raw: &str,
    line: Option<&str>,
    trunk: Option<&str>,
) -> anyhow::Result<String> {
    let directory = config.directory().map_err(run::problems)?;
    let line = line.map(|who| line_of(&directory, who)).transpose()?;
    let from = match trunk {
        Some(name) => named(config, name)?,
        None => config.trunks.first().context("there is no [[trunk]]")?,
    };
    let mut told = String::new();
    dialled(&mut told, &directory, config, raw, line)?;
    told.push('\n');
    calling(&mut told, &directory, from, raw)?;
    told.push('\n');
    called(&mut told, &directory, from, raw)?;
    Ok(told)
}

fn named<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Trunk> {
    let trunk = config.trunks.iter().find(|trunk| trunk.name == name);
    trunk.with_context(|| {
        let names: Vec<&str> = config.trunks.iter().map(|t| t.name.as_str()).collect();
        format!(
            "there is no trunk {name:?}: take one of {}",
            names.join(", ")
        )
    })
}

/// The line meant by a Matrix id or an extension.
fn line_of<'a>(directory: &'a Directory, who: &str) -> anyhow::Result<&'a Line> {
    let line = match UserId::parse(who) {
        Ok(user) => directory.line_of(&user),
        Err(_) => directory.line_called(who),
    };
    line.with_context(|| {
        format!("{who} has no line, so a call of theirs is refused (\"forbidden\"): add a [[line]] for them")
    })
}

/// One fact, in its column.
fn fact(told: &mut String, name: &str, what: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(told, "  {name:<12}{what}")?)
}

fn dialled(
    told: &mut String,
    directory: &Directory,
    config: &Config,
    raw: &str,
    line: Option<&Line>,
) -> anyhow::Result<()> {
    let plan = directory.plan();
    writeln!(told, "{raw}, dialled in Element")?;
    let Some((number, form)) = plan.read(raw) else {
        fact(
            told,
            "read as",
            "no number: the look-up finds nobody, and nothing is called",
        )?;
        return Ok(());
    };
    fact(told, "read as", format!("{number}: {}", meaning(form)))?;
    let permission = plan.permission(&number);
    let may = match permission {
        Permission::Emergency => "yes, always: no rule and no limit holds for an emergency number",
        Permission::Everything => "yes: [numbers] dialable is empty, which allows everything",
        Permission::Pattern(_) => "yes",
        Permission::Refused => "no",
    };
    let patterns = || plan.dialable.join(", ");
    match permission {
        Permission::Pattern(pattern) => {
            fact(
                told,
                "dialable",
                format!("{may}: it fits {pattern:?} of [numbers] dialable"),
            )?;
        }
        Permission::Refused => {
            let why = format!("{may}: it fits none of [numbers] dialable ({})", patterns());
            fact(told, "dialable", why)?;
            fact(
                told,
                "outcome",
                "refused: the person reads that it cannot be called",
            )?;
            return Ok(());
        }
        Permission::Emergency | Permission::Everything => fact(told, "dialable", may)?,
    }
    if !matches!(permission, Permission::Emergency) {
        let (class, because) = plan.class_of(&number);
        let why = match because {
            Because::Pattern(pattern) => format!("the pattern {pattern:?} says so"),
            Because::Form => "its form says so".to_owned(),
            Because::Inside => "the outside number in the code decides".to_owned(),
        };
        fact(told, "class", format!("{class}: {why}"))?;
        if let Some(line) = line
            && !line.permissions.has(class)
        {
            let may = format!("{} may not dial it, only {}", line.user, line.permissions);
            fact(told, "line", may)?;
            let outcome = "refused: the person reads that calling it is not allowed from here";
            fact(told, "outcome", outcome)?;
            return Ok(());
        }
    }
    let dials = match line {
        Some(line) => {
            let account = line.account.as_ref();
            let account = account.map(|at| format!(", by its account at {:?}", at.trunk.0));
            let account = account.unwrap_or_default();
            format!("{} may dial it, as {}{account}", line.user, line.caller_id)
        }
        None => "whoever has one with this class may dial it (who dials without one is refused)"
            .to_owned(),
    };
    fact(told, "line", dials)?;
    match (line, permission) {
        (_, Permission::Emergency) | (None, _) => {}
        (Some(line), _) => fact(told, "limits", &line.limits)?,
    }
    let Some(trunk) = way_out(told, config, &number, permission, line)? else {
        return Ok(());
    };
    let rules = trunk.rules().map_err(run::problems)?;
    match permission {
        Permission::Emergency => fact(told, "rules", "none is tried: it is an emergency number")?,
        _ => tried(
            told,
            "dial",
            &rules.dial,
            &trunk.rule_lines().dial,
            number.as_str(),
        )?,
    }
    sent(told, trunk, &rules, directory, &number)
}

/// Which trunk takes the call, and which are there for when that is down or full.
fn way_out<'a>(
    told: &mut String,
    config: &'a Config,
    number: &Number,
    permission: Permission<'_>,
    line: Option<&Line>,
) -> anyhow::Result<Option<&'a Trunk>> {
    let routes = config.routes();
    let for_help = matches!(permission, Permission::Emergency);
    let account = line.and_then(|line| line.account.as_ref());
    let ways = routes.ways(account, number.as_str(), for_help);
    let Some((first, others)) = ways.split_first() else {
        fact(
            told,
            "trunk",
            "none: the number begins with none of the prefixes of any [[trunk]]",
        )?;
        fact(
            told,
            "outcome",
            "refused: the person reads that it cannot be called",
        )?;
        return Ok(None);
    };
    let route = routes.0.iter().find(|route| route.trunk == **first);
    let why = match route.and_then(|route| route.fits(number.as_str())) {
        _ if account.is_some() => "the line registers there, and calls as a desk phone does".into(),
        Some("") => "it takes every number".to_owned(),
        Some(prefix) => format!("of its prefixes {prefix:?} fits, and none is longer"),
        None => "a call for help may take any".to_owned(),
    };
    fact(told, "trunk", format!("{:?}: {why}", first.0))?;
    for other in others {
        fact(
            told,
            "",
            format!("{:?} where that is down or full", other.0),
        )?;
    }
    named(config, &first.0).map(Some)
}

fn sent(
    told: &mut String,
    trunk: &Trunk,
    rules: &TrunkRules,
    directory: &Directory,
    number: &Number,
) -> anyhow::Result<()> {
    let plan = directory.plan();
    let to = rules.dialled(plan, number);
    let config = trunk
        .for_sip()
        .map_err(|problem| run::problems(vec![problem]))?;
    let uri = config.request_uri(&to);
    let uri = uri.context("the trunk has no target")?;
    fact(told, "sent", format!("INVITE {uri}"))?;
    if plan.is_emergency(&to) && !plan.is_emergency(number.as_str()) {
        fact(
            told,
            "",
            "that is an emergency number: the call is let past every limit",
        )?;
    }
    Ok(())
}

fn calling(
    told: &mut String,
    directory: &Directory,
    trunk: &Trunk,
    raw: &str,
) -> anyhow::Result<()> {
    writeln!(told, "{raw}, calling over trunk {:?}", trunk.name)?;
    let rules = trunk.rules().map_err(run::problems)?;
    let bare = strip(raw).unwrap_or_default();
    match directory.plan().is_emergency(raw) {
        true => fact(told, "rules", "none is tried: it is an emergency number")?,
        false => tried(
            told,
            "caller",
            &rules.caller,
            &trunk.rule_lines().caller,
            &bare,
        )?,
    }
    match rules.caller(directory.plan(), raw) {
        Some((number, form)) => {
            fact(told, "read as", format!("{number}: {}", meaning(form)))?;
            fact(told, "shown as", directory.display_name(number.as_str()))
        }
        None => fact(told, "read as", "no number: Element shows \"Anonymous\""),
    }
}

fn called(
    told: &mut String,
    directory: &Directory,
    trunk: &Trunk,
    raw: &str,
) -> anyhow::Result<()> {
    writeln!(told, "{raw}, called over trunk {:?}", trunk.name)?;
    match directory.line_called(raw) {
        Some(line) => fact(told, "rings", &line.user),
        None => fact(
            told,
            "rings",
            "nobody: no [[line]] has it; the trunk hears 404",
        ),
    }
}

/// Each rule that is tried, with where it stands, and what it does.
fn tried(
    told: &mut String,
    key: &str,
    rules: &Rules,
    lines: &[usize],
    number: &str,
) -> anyhow::Result<()> {
    let mut fits = false;
    for (n, (rule, outcome)) in rules.tried(number).enumerate() {
        let does = match outcome {
            Outcome::OtherPrefix => "the number begins otherwise".to_owned(),
            Outcome::OtherPattern => "what follows the prefix does not match".to_owned(),
            Outcome::Unusable(made) => format!("passed over: {made:?} would be no number"),
            Outcome::Rewritten(made) => {
                fits = true;
                format!("fits, and makes {made} of it")
            }
        };
        let line = lines
            .get(n)
            .map_or_else(String::new, |line| format!(" (line {line})"));
        fact(told, "rule", format!("{key} {}{line}: {rule}", n + 1))?;
        fact(told, "", format!("  {does}"))?;
    }
    let rest = match (rules.0.is_empty(), fits) {
        (true, _) => format!("there is no {key} rule: it stays as it is"),
        (false, false) => "no rule fits: it stays as it is".to_owned(),
        (false, true) => return Ok(()),
    };
    fact(told, "rules", rest)
}

fn meaning(form: Form) -> &'static str {
    match form {
        Form::Emergency => "an emergency number",
        Form::International => "an outside number, written internationally",
        Form::National => "an outside number of this country, written nationally",
        Form::Extension => "an extension: it has no more digits than extension_digits allows",
        Form::CodeOrName => "a feature code or a name",
        Form::Unchanged => {
            "too long for an extension, and without the prefixes of an outside number; it stays as it is"
        }
    }
}
