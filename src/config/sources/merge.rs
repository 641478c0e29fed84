//! Three lists become one. A person's line is the sum of what the sources say: `gateway.toml` goes before the CSV file,
//! and that before the HTTP directory, key by key. Twice in one source is a mistake.

use std::collections::HashMap;

use super::Found;
use crate::config::Problem;
use crate::config::lines::Line;

pub(super) fn merge(own: &[Line], found: Found) -> Result<Vec<Line>, Vec<Problem>> {
    let mut all: Vec<Line> = Vec::new();
    let mut by_user: HashMap<String, usize> = HashMap::new();
    let mut problems = Vec::new();
    for source in [own.to_vec(), found.csv, found.http] {
        let mut within: HashMap<String, String> = HashMap::new();
        for line in source {
            let place = line.place();
            if let Some(first) = within.insert(line.user.clone(), place.clone()) {
                problems.push(Problem::new(
                    format!("line {:?}", line.user),
                    format!("stands twice: {first} and {place}"),
                    "keep one: each person has one line",
                ));
                continue;
            }
            match by_user.get(&line.user) {
                Some(at) => all[*at].fill_from(line),
                None => {
                    by_user.insert(line.user.clone(), all.len());
                    all.push(line);
                }
            }
        }
    }
    match problems.is_empty() {
        true => Ok(all),
        false => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::{Place, Row};

    fn line(place: Place, cells: &[(&str, &str)]) -> Line {
        let cells = cells
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut line = Row::of_csv(2, cells.collect()).line().expect("a test line");
        line.places = vec![place];
        line
    }

    #[test]
    fn what_an_earlier_source_says_wins_and_a_later_one_fills_what_is_missing() {
        let own = [line(Place::Config, &[("user", "@a:x"), ("name", "Alice")])];
        let csv = line(
            Place::Csv { line: 2 },
            &[("user", "@a:x"), ("extension", "2001"), ("name", "A.")],
        );
        let http = [
            line(
                Place::Http { entry: 1 },
                &[("user", "@a:x"), ("extension", "9"), ("did", "+331")],
            ),
            line(
                Place::Http { entry: 2 },
                &[("user", "@b:x"), ("extension", "2002")],
            ),
        ];
        let found = Found {
            csv: vec![csv],
            http: http.to_vec(),
        };
        let merged = merge(&own, found).expect("sound");
        let said = format!("{:?}", merged[0]);
        for part in ["Alice", "2001", "+331"] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        assert_eq!(merged[0].source(), "gateway.toml + csv + http");
        assert_eq!(merged[1].user, "@b:x");
    }

    #[test]
    fn a_person_who_stands_twice_in_one_source_is_a_clash_that_names_both_places() {
        let row = |n| {
            line(
                Place::Csv { line: n },
                &[("user", "@a:x"), ("extension", "1")],
            )
        };
        let found = Found {
            csv: vec![row(2), row(7)],
            http: Vec::new(),
        };
        let said = merge(&[], found).expect_err("twice")[0].to_string();
        assert!(said.contains("line 2 of the CSV file"), "{said}");
        assert!(said.contains("line 7 of the CSV file"), "{said}");
    }
}
