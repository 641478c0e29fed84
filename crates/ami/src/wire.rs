//! Messages as they stand on the wire: lines of `Name: value`, an empty one at the end.

/// The longest line that is read, in bytes; a longer one is passed over.
pub const LONGEST_LINE: usize = 8 * 1024;
/// The most fields of a message that are kept; further ones are passed over.
pub const MOST_FIELDS: usize = 256;

/// A message, whichever way it goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message(Vec<(String, String)>);

impl Message {
    /// The first field of this name, in whatever case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Message {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields = fields.into_iter();
        Message(
            fields
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// A value with a line end in it would be more than one field, or a second message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of {0} cannot be written in one line")]
pub struct NotOneLine(pub String);

/// Writes a request.
///
/// # Errors
/// [`NotOneLine`].
pub fn request(action: &str, id: u64, fields: &[(&str, &str)]) -> Result<Vec<u8>, NotOneLine> {
    let mut text = format!("Action: {action}\r\nActionID: {id}\r\n");
    for (name, value) in fields {
        let is_one_line = |text: &str| !text.contains(['\r', '\n', '\0']);
        if !is_one_line(name) || !is_one_line(value) {
            return Err(NotOneLine((*name).to_owned()));
        }
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// Makes messages of bytes. What it keeps is bounded, whatever the other end sends.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    is_too_long: bool,
    banner: Option<String>,
    message: Message,
}

/// What a byte may complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The first line, which says what speaks.
    Banner(String),
    /// A message.
    Message(Message),
}

impl Reader {
    /// Takes bytes, and gives what they complete to `read`.
    pub fn take(&mut self, bytes: &[u8], mut read: impl FnMut(Read)) {
        for byte in bytes {
            if *byte != b'\n' {
                match self.line.len() < LONGEST_LINE {
                    true => self.line.push(*byte),
                    false => self.is_too_long = true,
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.is_too_long) {
                continue;
            }
            if let Some(done) = self.end_line(&line) {
                read(done);
            }
        }
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Read> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = String::from_utf8_lossy(line);
        if self.banner.is_none() {
            self.banner = Some(line.to_string());
            return Some(Read::Banner(line.into_owned()));
        }
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return (!message.0.is_empty()).then_some(Read::Message(message));
        }
        // Output of commands comes without a name; nobody here asks for any.
        if let Some((name, value)) = line.split_once(':')
            && self.message.0.len() < MOST_FIELDS
        {
            let field = (name.trim().to_owned(), value.trim().to_owned());
            self.message.0.push(field);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut Reader, bytes: &[u8]) -> Vec<Read> {
        let mut all = Vec::new();
        reader.take(bytes, |read| all.push(read));
        all
    }

    const HELLO: &[u8] = b"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\nMessage: Authentication accepted: yes\r\n\r\n";

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let whole = read(&mut Reader::default(), HELLO);
        assert_eq!(
            whole[0],
            Read::Banner("Asterisk Call Manager/11.0.0".into())
        );
        let Read::Message(message) = &whole[1] else {
            panic!("{whole:?}");
        };
        assert_eq!(message.field("response"), Some("Success"));
        assert_eq!(
            message.field("Message"),
            Some("Authentication accepted: yes")
        );
        let (mut reader, mut by_byte) = (Reader::default(), Vec::new());
        for byte in HELLO {
            by_byte.extend(read(&mut reader, &[*byte]));
        }
        assert_eq!(by_byte, whole);
    }

    #[test]
    fn what_is_too_much_is_passed_over_and_never_kept() {
        let mut reader = Reader::default();
        read(&mut reader, b"Asterisk Call Manager/11.0.0\r\n");
        for _ in 0..100 {
            assert_eq!(read(&mut reader, &[b'x'; 4096]), []);
        }
        assert!(reader.line.capacity() <= 2 * LONGEST_LINE);
        assert_eq!(read(&mut reader, b": y\r\n"), []);
        for n in 0..10 * MOST_FIELDS {
            read(&mut reader, format!("F{n}: v\r\n").as_bytes());
        }
        let done = read(&mut reader, b"\r\n\r\n\r\n");
        let [Read::Message(message)] = done.as_slice() else {
            panic!("{done:?}");
        };
        assert_eq!(message.0.len(), MOST_FIELDS);
        assert_eq!(message.0[0].0, "F0");
        assert_eq!(read(&mut reader, &[0xff, 0, b'\n', b'\n']), []);
    }

    #[test]
    fn a_value_cannot_bring_in_a_request_of_its_own() {
        let written = request("DBPut", 7, &[("Family", "CF"), ("Val", "2002")]);
        let text = "Action: DBPut\r\nActionID: 7\r\nFamily: CF\r\nVal: 2002\r\n\r\n";
        assert_eq!(written, Ok(text.as_bytes().to_vec()));
        for evil in ["1\r\n\r\nAction: Command", "1\n", "1\r", "1\0"] {
            assert!(request("DBPut", 7, &[("Val", evil)]).is_err(), "{evil:?}");
            assert!(request("DBPut", 7, &[(evil, "1")]).is_err(), "{evil:?}");
        }
    }
}
