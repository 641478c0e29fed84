//! The CSV file: a heading that names the keys of a `[[line]]`, and one line for each person.

use std::collections::BTreeMap;
use std::path::Path;

use super::Row;
use crate::config::Problem;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, Vec<Problem>> {
    let place = format!("directory.csv: {}", path.display());
    let unreadable = |error: std::io::Error| {
        let mend = "see that the file exists and that this user may read it";
        vec![Problem::new(
            &place,
            format!("cannot be read: {error}"),
            mend,
        )]
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > LARGEST {
        let wrong = format!("has {length} bytes, more than {LARGEST}");
        return Err(vec![Problem::new(&place, wrong, "is it the right file?")]);
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        vec![Problem::new(
            &place,
            "is not written in UTF-8",
            "save it as CSV in UTF-8",
        )]
    })?;
    parse(&text).map_err(|(line, wrong)| {
        let mend =
            "the first line names the columns (user, extension, …), each further one is a person's";
        vec![Problem::new(format!("{place}, line {line}"), wrong, mend)]
    })
}

/// The rows of a text, or in which line it is broken and how.
fn parse(text: &str) -> Result<Vec<Row>, (u64, String)> {
    // What some spreadsheets begin a file with.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Else the lines are counted wrong.
    let text = text.replace("\r\n", "\n");
    let heading = text.lines().next().unwrap_or_default();
    // Where a comma stands in numbers, spreadsheets put semicolons between cells.
    let delimiter = match heading.contains(';') && !heading.contains(',') {
        true => b';',
        false => b',',
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let headings = reader
        .headers()
        .map_err(|error| (1, error.to_string()))?
        .clone();
    for needed in ["user", "extension"] {
        if !headings.iter().any(|heading| heading == needed) {
            return Err((1, format!("names no column {needed}")));
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            (line, in_short(&error))
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let cells: BTreeMap<String, String> = headings
            .iter()
            .zip(&record)
            .filter(|(heading, cell)| !heading.is_empty() && !cell.is_empty())
            .map(|(heading, cell)| (heading.to_owned(), cell.to_owned()))
            .collect();
        // A spreadsheet leaves empty lines behind.
        if !cells.is_empty() {
            rows.push(Row::of_csv(line, cells));
        }
    }
    Ok(rows)
}

fn in_short(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("has {len} cells, and the heading has {expected_len}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_semicolons_quotes_and_what_spreadsheets_leave_behind_are_read() {
        let plain = "user,extension,name\n@alice:x,2001,\"Alice, first\"\n";
        let french = "\u{feff}user;extension;name\r\n@alice:x;2001;Alice, first\r\n;;\r\n";
        for text in [plain, french] {
            let rows = parse(text).expect("sound");
            assert_eq!(rows.len(), 1, "{text:?}");
            assert_eq!(rows[0], parse(plain).expect("sound")[0]);
            assert!(rows[0].line().is_ok());
        }
    }

    #[test]
    fn a_broken_file_says_in_which_line_it_is() {
        for (text, line, why) in [
            ("user,name\n@alice:x,Alice\n", 1, "no column extension"),
            ("", 1, "no column user"),
            ("user,extension\n@alice:x,2001\n@bob:x\n", 3, "has 1 cells"),
        ] {
            let (at, said) = parse(text).expect_err("broken");
            assert_eq!(at, line, "{said}");
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_not_in_utf_8_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"user,extension\n@a:x,\xe9\n").expect("written");
        let said = read(file.path()).expect_err("not UTF-8")[0].to_string();
        assert!(said.contains("UTF-8"), "{said}");
        let said = read(Path::new("/nowhere/lines.csv")).expect_err("not there");
        assert!(said[0].to_string().contains("/nowhere/lines.csv"));
    }
}
