//! `dial` and `caller` of a `[[trunk]]`: how it writes numbers.

use mxtrunk_signaling::{Rule, Rules};
use serde::Deserialize;
use toml::Spanned;

use super::Problem;

/// One rule, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRule {
    #[serde(default)]
    prefix: String,
    pattern: Option<String>,
    replace: String,
}

/// The rules of one direction; `lines` says where in the file each stands.
pub(super) fn build(
    place: &str,
    key: &str,
    written: &[Spanned<WrittenRule>],
    lines: &[usize],
) -> Result<Rules, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rules = Vec::new();
    for (n, rule) in written.iter().map(Spanned::get_ref).enumerate() {
        match Rule::new(&rule.prefix, rule.pattern.as_deref(), &rule.replace) {
            Ok(rule) => rules.push(rule),
            Err(error) => {
                let line = lines.get(n).map(|line| format!("line {line}, "));
                problems.push(Problem::new(
                    format!("{}{place}: {key} rule {}", line.unwrap_or_default(), n + 1),
                    error.to_string(),
                    "gateway.toml in the source shows rules for a French, a German and a US site; \
                     mxtrunk number shows what one does",
                ));
            }
        }
    }
    if problems.is_empty() {
        Ok(Rules(rules))
    } else {
        Err(problems)
    }
}
